#pragma once

// libibverbs and librdmacm, loaded when they are first needed: TierVec runs where they are not installed.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <sys/socket.h>

#include <tiervec/core/process.h>
#include <tiervec/core/status.h>

#include "verbs_abi.h"

namespace tiervec::rdma::verbs {

/// The functions used. Posting and polling go through the device's own table: verbs_abi.h.
struct VerbsLibrary {
  // libibverbs
  abi::ProtectionDomain* (*alloc_pd)(abi::Context*);
  int (*dealloc_pd)(abi::ProtectionDomain*);
  abi::Registration* (*reg_mr)(abi::ProtectionDomain*, void*, std::size_t, int);
  int (*dereg_mr)(abi::Registration*);
  abi::CompletionQueue* (*create_cq)(abi::Context*, int, void*, abi::CompletionChannel*, int);
  int (*destroy_cq)(abi::CompletionQueue*);
  int (*query_device)(abi::Context*, abi::DeviceLimits*);
  const char* (*device_name)(abi::Device*);

  // librdmacm
  abi::EventChannel* (*create_event_channel)();
  void (*destroy_event_channel)(abi::EventChannel*);
  int (*get_cm_event)(abi::EventChannel*, abi::Event**);
  int (*ack_cm_event)(abi::Event*);
  int (*create_id)(abi::EventChannel*, abi::Identifier**, void*, abi::PortSpace);
  int (*destroy_id)(abi::Identifier*);
  int (*set_option)(abi::Identifier*, int, int, void*, std::size_t);
  int (*bind_addr)(abi::Identifier*, sockaddr*);
  int (*listen)(abi::Identifier*, int);
  std::uint16_t (*src_port)(abi::Identifier*);  // in network order
  int (*resolve_addr)(abi::Identifier*, sockaddr*, sockaddr*, int);
  int (*resolve_route)(abi::Identifier*, int);
  int (*connect)(abi::Identifier*, abi::ConnectionParameters*);
  int (*accept)(abi::Identifier*, abi::ConnectionParameters*);
  int (*reject)(abi::Identifier*, const void*, std::uint8_t);
  int (*disconnect)(abi::Identifier*);
  int (*create_qp)(abi::Identifier*, abi::ProtectionDomain*, abi::QueuePairAttributes*);
  void (*destroy_qp)(abi::Identifier*);
  abi::Context** (*get_devices)(int*);
  void (*free_devices)(abi::Context**);
};

/// Throws Error(kUnsupported) saying which library is missing and how to get it. They stay loaded.
const VerbsLibrary& verbs_library();

/// Throws Error(kUnsupported) when the libraries or a device are missing, naming `what` needs them.
const VerbsLibrary& require_device(const std::string& what);

/// Throws Error(kUnsupported) in a child that was forked after RDMA was used: the devices that librdmacm holds open,
/// and all that was made with them, are the parent's.
void refuse_inherited_devices(const std::string& what);

/// Gives an object back to the library that made it. In a forked child it does nothing: the object is the parent's, and
/// what were destroyed here would be destroyed there.
template <auto kFunction>
class GiveBack {
 public:
  template <class Object>
  void operator()(Object* object) const noexcept {
    if (origin_.here()) {
      (void)(verbs_library().*kFunction)(object);
    }
  }

 private:
  Origin origin_;
};

/// Ends a connection, or a listener: says goodbye, then destroys the queue pair if there is one, then the identifier.
class EndIdentifier {
 public:
  void operator()(abi::Identifier* identifier) const noexcept;

 private:
  Origin origin_;
};

using ChannelHandle = std::unique_ptr<abi::EventChannel, GiveBack<&VerbsLibrary::destroy_event_channel>>;
using DomainHandle = std::unique_ptr<abi::ProtectionDomain, GiveBack<&VerbsLibrary::dealloc_pd>>;
using RegistrationHandle = std::unique_ptr<abi::Registration, GiveBack<&VerbsLibrary::dereg_mr>>;
using CompletionQueueHandle = std::unique_ptr<abi::CompletionQueue, GiveBack<&VerbsLibrary::destroy_cq>>;
using DeviceListHandle = std::unique_ptr<abi::Context*, GiveBack<&VerbsLibrary::free_devices>>;
using EventHandle = std::unique_ptr<abi::Event, GiveBack<&VerbsLibrary::ack_cm_event>>;
/// No event of the identifier may be held when it goes: acknowledge first.
using IdentifierHandle = std::unique_ptr<abi::Identifier, EndIdentifier>;

/// An event channel on which next_event does not wait; null when it cannot be had. An event that poll() announced is
/// gone again when its identifier was destroyed meanwhile, and waiting for the next one may take for ever.
ChannelHandle make_event_channel(const VerbsLibrary& library) noexcept;

/// An identifier whose events come to `channel`; null with errno set when it cannot be had.
IdentifierHandle make_identifier(const VerbsLibrary& library, abi::EventChannel& channel) noexcept;

/// Null when there is none now.
EventHandle next_event(const VerbsLibrary& library, abi::EventChannel& channel) noexcept;

/// What it means that the connection manager refuses a channel or an identifier: no descriptors, or no rdma_ucm.
ErrorCode manager_failure(int error) noexcept;

/// "Cannot allocate memory" and the like.
std::string errno_text(int error);

/// What to do when memory cannot be registered: names the limit of locked memory, when that may be why.
std::string registration_failure(int error, std::uint64_t bytes);

}  // namespace tiervec::rdma::verbs
