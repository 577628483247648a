#include <tiervec/graph_index/record_writer.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace tiervec::graph_index {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

/// A file that is written once from start to end.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) fail(errno);
    buffer_.reserve(kBufferBytes);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() { ::close(descriptor_); }

  /// Room for `bytes` more, to be filled before the next call.
  std::byte* append(std::size_t bytes) {
    if (buffer_.size() + bytes > kBufferBytes) flush();
    buffer_.resize(buffer_.size() + bytes);
    return buffer_.data() + buffer_.size() - bytes;
  }
  void flush() {
    const std::byte* from = buffer_.data();
    for (std::size_t left = buffer_.size(); left > 0;) {
      const ssize_t written = ::write(descriptor_, from, left);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(errno);
      from += written;
      left -= static_cast<std::size_t>(written);
    }
    buffer_.clear();
  }

 private:
  [[noreturn]] void fail(int error) const {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
                "cannot write " + path_ + ": " + std::generic_category().message(error));
  }

  std::string path_;
  int descriptor_;
  std::vector<std::byte> buffer_;
};

std::uint32_t largest_degree(const Graph& graph) {
  std::uint32_t largest = 0;
  for (std::uint32_t v = 0; v < graph.count(); ++v) largest = std::max(largest, graph.degree(v));
  return largest;
}

}  // namespace

WrittenRecords write_records(const Graph& graph, const VectorSpace& space, std::span<const std::int64_t> labels,
                             const std::string& path, WorkMonitor* monitor) {
  const std::uint32_t count = graph.count();
  std::uint64_t largest_label = 0;
  for (std::int64_t label : labels) largest_label = std::max(largest_label, static_cast<std::uint64_t>(label));
  const std::uint32_t max_degree = largest_degree(graph);
  if (max_degree > RecordLayout::kMaxDegree) {
    throw Error(ErrorCode::kInvalidArgument,
                "a vertex has " + std::to_string(max_degree) + " neighbours; a record holds at most 255");
  }
  WrittenRecords written;
  // A single label of zero still needs a byte: no label means "equal to the vertex".
  written.layout = RecordLayout::fit(space.dim(), space.dtype(), count,
                                     labels.empty() ? 0 : std::max<std::uint64_t>(largest_label, 1), max_degree);
  written.locator.resize((count + LocatorGroup::kRecords - 1) / LocatorGroup::kRecords);
  OutputFile file(path);
  for (std::uint32_t v = 0; v < count; ++v) {
    if (v % 4096 == 0 && monitor != nullptr && monitor->cancelled.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::kCancelled, "stopped by request");
    }
    const std::uint32_t degree = graph.degree(v);
    const std::uint32_t units = written.layout.edge_units(degree);
    LocatorGroup& group = written.locator[v / LocatorGroup::kRecords];
    if (v % LocatorGroup::kRecords == 0) group.start = written.bytes;
    group.units[v % LocatorGroup::kRecords] = static_cast<std::uint8_t>(units);
    const std::uint32_t bytes = written.layout.record_bytes(units);
    const std::uint64_t label = labels.empty() ? v : static_cast<std::uint64_t>(labels[v]);
    written.layout.encode(v, space.vector(v), label, {graph.neighbors(v), degree}, file.append(bytes));
    written.bytes += bytes;
    written.edges += degree;
  }
  std::memset(file.append(RecordLayout::kOverread), 0, RecordLayout::kOverread);
  written.bytes += RecordLayout::kOverread;
  file.flush();
  return written;
}

}  // namespace tiervec::graph_index
