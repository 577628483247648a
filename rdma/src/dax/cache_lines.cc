#include "cache_lines.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <emmintrin.h>
#endif

namespace tiervec::rdma {

#if defined(__x86_64__)

namespace {

constexpr std::uint64_t kLineBytes = 64;

bool has_clwb() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & (1U << 24U)) != 0;
}

}  // namespace

bool can_write_back_cache_lines() noexcept {
  return true;
}

void write_back_cache_lines(const std::byte* from, std::uint64_t bytes) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(from) / kLineBytes * kLineBytes;
  const bool clwb = has_clwb();
  for (std::uintptr_t line = first; line < reinterpret_cast<std::uintptr_t>(from) + bytes; line += kLineBytes) {
    auto* at = reinterpret_cast<volatile char*>(line);  // NOLINT(performance-no-int-to-ptr)
    if (clwb) {
      asm volatile("clwb %0" : "+m"(*at));  // as an intrinsic it would need flags for the whole file
    } else {
      _mm_clflush(const_cast<const char*>(at));
    }
  }
  _mm_sfence();
}

#else

bool can_write_back_cache_lines() noexcept {
  return false;
}

void write_back_cache_lines(const std::byte*, std::uint64_t) noexcept {}

#endif

}  // namespace tiervec::rdma
