#include "verbs_library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <system_error>

#include <tiervec/core/process.h>
#include <tiervec/core/system_error.h>
#include <tiervec/rdma/rdma_tier.h>

namespace tiervec::rdma {

namespace verbs {

namespace {

class SharedObject {
 public:
  SharedObject(const char* name, const char* version, const char* package) : name_(name), version_(version) {
    handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      throw Error(ErrorCode::kUnsupported,
                  std::string("RDMA needs ") + name + ", which cannot be loaded; apt-get install " + package);
    }
  }

  template <class Function>
  void find(Function*& function, const char* symbol) const {
    function = reinterpret_cast<Function*>(::dlvsym(handle_, symbol, version_));
    if (function == nullptr) {
      throw Error(ErrorCode::kUnsupported,
                  name_ + " has no " + symbol + " of version " + version_ + ", which RDMA reads need");
    }
  }

 private:
  std::string name_;
  const char* version_;
  void* handle_;
};

VerbsLibrary load() {
  VerbsLibrary library{};
  const SharedObject verbs("libibverbs.so.1", abi::kVerbsVersion, "libibverbs1 ibverbs-providers");
  verbs.find(library.alloc_pd, "ibv_alloc_pd");
  verbs.find(library.dealloc_pd, "ibv_dealloc_pd");
  verbs.find(library.reg_mr, "ibv_reg_mr");
  verbs.find(library.dereg_mr, "ibv_dereg_mr");
  verbs.find(library.create_cq, "ibv_create_cq");
  verbs.find(library.destroy_cq, "ibv_destroy_cq");
  verbs.find(library.query_device, "ibv_query_device");
  verbs.find(library.device_name, "ibv_get_device_name");

  const SharedObject cm("librdmacm.so.1", abi::kManagerVersion, "librdmacm1");
  cm.find(library.create_event_channel, "rdma_create_event_channel");
  cm.find(library.destroy_event_channel, "rdma_destroy_event_channel");
  cm.find(library.get_cm_event, "rdma_get_cm_event");
  cm.find(library.ack_cm_event, "rdma_ack_cm_event");
  cm.find(library.create_id, "rdma_create_id");
  cm.find(library.destroy_id, "rdma_destroy_id");
  cm.find(library.set_option, "rdma_set_option");
  cm.find(library.bind_addr, "rdma_bind_addr");
  cm.find(library.listen, "rdma_listen");
  cm.find(library.src_port, "rdma_get_src_port");
  cm.find(library.resolve_addr, "rdma_resolve_addr");
  cm.find(library.resolve_route, "rdma_resolve_route");
  cm.find(library.connect, "rdma_connect");
  cm.find(library.accept, "rdma_accept");
  cm.find(library.reject, "rdma_reject");
  cm.find(library.disconnect, "rdma_disconnect");
  cm.find(library.create_qp, "rdma_create_qp");
  cm.find(library.destroy_qp, "rdma_destroy_qp");
  cm.find(library.get_devices, "rdma_get_devices");
  cm.find(library.free_devices, "rdma_free_devices");
  return library;
}

// Asked of the kernel: librdmacm remembers how many devices there were when it was first asked.
std::vector<std::string> device_names() {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", failure)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

constexpr const char* kNoDevice =
    "this machine has no RDMA device (/sys/class/infiniband is empty); `tiervec doctor` lists what was looked at";

}  // namespace

const VerbsLibrary& verbs_library() {
  static const VerbsLibrary library = load();
  return library;
}

void refuse_inherited_devices(const std::string& what) {
  // The generation in which RDMA was first used, plus 1. No static initialiser: its lock may be taken at a fork.
  static std::atomic<std::uint64_t> first_use{0};
  std::uint64_t expected = 0;
  const std::uint64_t now = process_generation() + 1;
  if (!first_use.compare_exchange_strong(expected, now) && expected != now) {
    throw Error(ErrorCode::kUnsupported, what +
                                             " cannot be read in a process that was forked after RDMA was used; start "
                                             "it with multiprocessing's spawn or forkserver, and open the index there");
  }
}

const VerbsLibrary& require_device(const std::string& what) {
  try {
    const VerbsLibrary& library = verbs_library();
    if (!device_names().empty()) {
      refuse_inherited_devices(what);
      return library;
    }
  } catch (const Error& error) {
    throw Error(error.code(), what + ": " + error.what());
  }
  throw Error(ErrorCode::kUnsupported, what + ": " + kNoDevice);
}

void EndIdentifier::operator()(abi::Identifier* identifier) const noexcept {
  if (!origin_.here()) {
    return;  // the parent's, as with GiveBack
  }
  const VerbsLibrary& library = verbs_library();
  if (identifier->queue_pair != nullptr) {
    (void)library.disconnect(identifier);  // so that the other side need not find out
    library.destroy_qp(identifier);
  }
  library.destroy_id(identifier);
}

ChannelHandle make_event_channel(const VerbsLibrary& library) noexcept {
  ChannelHandle channel(library.create_event_channel());
  if (channel == nullptr) {
    return nullptr;
  }
  const int flags = ::fcntl(channel->file, F_GETFL);  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (flags < 0 ||
      ::fcntl(channel->file, F_SETFL, flags | O_NONBLOCK) != 0) {  // NOLINT(cppcoreguidelines-pro-type-vararg)
    return nullptr;
  }
  return channel;
}

IdentifierHandle make_identifier(const VerbsLibrary& library, abi::EventChannel& channel) noexcept {
  abi::Identifier* identifier = nullptr;
  return IdentifierHandle(library.create_id(&channel, &identifier, nullptr, abi::PortSpace::kTcp) == 0 ? identifier
                                                                                                       : nullptr);
}

EventHandle next_event(const VerbsLibrary& library, abi::EventChannel& channel) noexcept {
  abi::Event* event = nullptr;
  return EventHandle(library.get_cm_event(&channel, &event) == 0 ? event : nullptr);
}

ErrorCode manager_failure(int error) noexcept {
  const ErrorCode code = code_of_errno(error);
  return code == ErrorCode::kResourceExhausted ? code : ErrorCode::kUnavailable;
}

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

std::string registration_failure(int error, std::uint64_t bytes) {
  std::string text =
      "registering " + std::to_string(bytes) + " bytes with the RDMA device failed: " + errno_text(error);
  rlimit limit{};
  if ((error == ENOMEM || error == EPERM || error == EAGAIN) && ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
      limit.rlim_cur != RLIM_INFINITY) {
    text += "; this process may lock " + std::to_string(limit.rlim_cur) +
            " bytes: raise that with `ulimit -l unlimited` or LimitMEMLOCK=infinity of its service";
  }
  return text;
}

}  // namespace verbs

VerbsStatus verbs_status() {
  VerbsStatus status;
  status.devices = verbs::device_names();
  try {
    (void)verbs::verbs_library();
    status.available = !status.devices.empty();
    status.reason = status.available ? "" : verbs::kNoDevice;
  } catch (const Error& error) {
    status.reason = error.what();
  }
  return status;
}

}  // namespace tiervec::rdma
