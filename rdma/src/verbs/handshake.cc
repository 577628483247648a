#include "handshake.h"

#include <bit>
#include <cstring>

namespace tiervec::rdma::verbs {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers of the handshake are little-endian");

constexpr std::array<char, 4> kMagic = {'T', 'V', 'R', '1'};

/// Writes one field after the other; the sizes were counted by hand and are checked at the end.
template <std::size_t kBytes>
class Writer {
 public:
  Writer() { put(kMagic); }
  template <class T>
  Writer& put(const T& value) {
    std::memcpy(bytes_.data() + at_, &value, sizeof value);
    at_ += sizeof value;
    return *this;
  }
  [[nodiscard]] std::array<std::byte, kBytes> bytes() const noexcept { return bytes_; }

 private:
  std::array<std::byte, kBytes> bytes_{};
  std::size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(const std::byte* at) noexcept : at_(at + sizeof kMagic) {}
  template <class T>
  Reader& get(T& value) {
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return *this;
  }

 private:
  const std::byte* at_;
};

bool begins_right(std::span<const std::byte> data, std::size_t bytes) noexcept {
  return data.size() >= bytes && std::memcmp(data.data(), kMagic.data(), sizeof kMagic) == 0;
}

}  // namespace

std::array<std::byte, ConnectRequest::kBytes> encode(const ConnectRequest& request) noexcept {
  static_assert(sizeof kMagic + sizeof request.version + sizeof request.region_id + sizeof request.token ==
                ConnectRequest::kBytes);
  return Writer<ConnectRequest::kBytes>().put(request.version).put(request.region_id).put(request.token).bytes();
}

std::array<std::byte, ConnectAccept::kBytes> encode(const ConnectAccept& accept) noexcept {
  static_assert(sizeof kMagic + sizeof accept.version + sizeof accept.address + sizeof accept.size_bytes +
                    sizeof accept.key ==
                ConnectAccept::kBytes);
  return Writer<ConnectAccept::kBytes>()
      .put(accept.version)
      .put(accept.address)
      .put(accept.size_bytes)
      .put(accept.key)
      .bytes();
}

std::array<std::byte, ConnectReject::kBytes> encode(const ConnectReject& reject) noexcept {
  static_assert(sizeof kMagic + sizeof reject.version + sizeof reject.refusal == ConnectReject::kBytes);
  return Writer<ConnectReject::kBytes>().put(reject.version).put(reject.refusal).bytes();
}

std::optional<ConnectRequest> decode_request(std::span<const std::byte> data) noexcept {
  if (!begins_right(data, ConnectRequest::kBytes)) {
    return std::nullopt;
  }
  ConnectRequest request;
  Reader(data.data()).get(request.version).get(request.region_id).get(request.token);
  return request;
}

std::optional<ConnectAccept> decode_accept(std::span<const std::byte> data) noexcept {
  if (!begins_right(data, ConnectAccept::kBytes)) {
    return std::nullopt;
  }
  ConnectAccept accept;
  Reader(data.data()).get(accept.version).get(accept.address).get(accept.size_bytes).get(accept.key);
  return accept;
}

std::optional<ConnectReject> decode_reject(std::span<const std::byte> data) noexcept {
  if (!begins_right(data, ConnectReject::kBytes)) {
    return std::nullopt;
  }
  ConnectReject reject;
  Reader(data.data()).get(reject.version).get(reject.refusal);
  return reject;
}

bool same_token(const AttachToken& one, const AttachToken& other) noexcept {
  std::byte different{0};
  for (std::size_t i = 0; i < one.size(); ++i) {
    different |= one[i] ^ other[i];
  }
  // The compiler must not stop the loop early.
  const volatile std::byte kept = different;
  return kept == std::byte{0};
}

}  // namespace tiervec::rdma::verbs
