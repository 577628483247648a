#include <tiervec/core/codes/nearest_hits.h>

#include <algorithm>
#include <bit>

namespace tiervec::codes {
namespace {

// Integers in the order of the floats; bijective.
std::int32_t key_of(float distance) noexcept {
  const auto bits = std::bit_cast<std::int32_t>(distance);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
float distance_of(std::int32_t key) noexcept {
  return std::bit_cast<float>(key ^ ((key >> 31) & 0x7fffffff));
}

std::uint32_t count_portable(const float* distances, std::uint32_t count, std::int32_t key) noexcept {
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < count; ++i) found += key_of(distances[i]) <= key ? 1U : 0U;
  return found;
}

void range_portable(const float* distances, std::uint32_t count, std::int32_t& least, std::int32_t& most) noexcept {
  least = most = key_of(distances[0]);
  for (std::uint32_t i = 1; i < count; ++i) {
    least = std::min(least, key_of(distances[i]));
    most = std::max(most, key_of(distances[i]));
  }
}

std::uint32_t compact_portable(ScanHits& hits, std::int32_t key) noexcept {
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < hits.count; ++i) {
    const float distance = hits.distances[i];
    hits.distances[kept] = distance;
    hits.rows[kept] = hits.rows[i];
    kept += key_of(distance) <= key ? 1U : 0U;
  }
  return kept;
}

// Among hits at the farthest distance, the last ones are dropped until `most` are left.
void drop_equals(ScanHits& hits, float farthest, std::uint32_t most) noexcept {
  const auto is_farthest = [&](float distance) { return key_of(distance) == key_of(farthest); };
  const auto equals =
      static_cast<std::uint32_t>(std::count_if(hits.distances, hits.distances + hits.count, is_farthest));
  std::uint32_t allowed = most - (hits.count - equals);
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < hits.count; ++i) {
    if (is_farthest(hits.distances[i]) && allowed-- == 0) {
      allowed = 0;
      continue;
    }
    hits.distances[kept] = hits.distances[i];
    hits.rows[kept++] = hits.rows[i];
  }
  hits.count = kept;
}

const HitKernels& hit_kernels(SimdLevel level) noexcept {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) return kHitKernelsAvx512;
  if (level == SimdLevel::kAvx2) return kHitKernelsAvx2;
#endif
  (void)level;
  return kHitKernelsPortable;
}

}  // namespace

const HitKernels kHitKernelsPortable = {range_portable, count_portable, compact_portable};

// A search for the distance that enough are up to: a handful of passes over a few cache lines, without a branch per
// hit. Every other step halves the range, the others guess from how many lie on either side.
void keep_nearest(ScanHits& hits, std::uint32_t least, std::uint32_t most, SimdLevel level) noexcept {
  if (hits.count <= most || most == 0) {
    hits.count = std::min(hits.count, most);
    return;
  }
  const HitKernels& kernels = hit_kernels(level);
  std::int32_t nearest;
  std::int32_t farthest;
  kernels.range(hits.distances, hits.count, nearest, farthest);
  std::int64_t low = std::int64_t{nearest} - 1;  // too few are up to here
  std::int64_t high = farthest;                  // enough are up to here
  std::uint32_t below = 0;
  std::uint32_t kept = hits.count;
  const std::uint32_t wanted = least + (most - least) / 2;
  for (bool guess = true; kept > most && high - low > 1; guess = !guess) {
    std::int64_t middle = low + (high - low) / 2;
    if (guess) middle = std::clamp(low + (high - low) * (wanted - below) / (kept - below), low + 1, high - 1);
    const std::uint32_t count = kernels.count(hits.distances, hits.count, static_cast<std::int32_t>(middle));
    if (count >= least) {
      high = middle;
      kept = count;
    } else {
      low = middle;
      below = count;
    }
  }
  hits.count = kernels.compact(hits, static_cast<std::int32_t>(high));
  if (hits.count > most) drop_equals(hits, distance_of(static_cast<std::int32_t>(high)), most);
  hits.bound = distance_of(static_cast<std::int32_t>(high));
}

}  // namespace tiervec::codes
