#pragma once

#include <algorithm>
#include <cstdint>

#include <tiervec/core/codes/code.h>
#include <tiervec/core/simd.h>

namespace tiervec::codes {

/// Keeps the nearest hits, at least `least` and at most `most` of them (all when there are no more than `most`), and
/// lowers the bound: not below the farthest kept, not above the nearest dropped. Of equal distances the first ones
/// stay. Leaves hits.distances and hits.rows up to a block behind the kept ones undefined. Not stable when least <
/// most: how many are kept depends on the distances only.
void keep_nearest(ScanHits& hits, std::uint32_t least, std::uint32_t most, SimdLevel level = simd_level()) noexcept;

/// Puts the hits of `more` behind those of `hits`, which has room for them. The bound stays.
inline void append(ScanHits& hits, const ScanHits& more) noexcept {
  std::copy_n(more.distances, more.count, hits.distances + hits.count);
  std::copy_n(more.rows, more.count, hits.rows + hits.count);
  hits.count += more.count;
}

// The loops of keep_nearest, on keys, integers in the order of the distances: the least and the most key of `count`
// distances, one at least; how many have keys up to `key`; moving these to the front.
struct HitKernels {
  void (*range)(const float* distances, std::uint32_t count, std::int32_t& least, std::int32_t& most) noexcept;
  std::uint32_t (*count)(const float* distances, std::uint32_t count, std::int32_t key) noexcept;
  std::uint32_t (*compact)(ScanHits& hits, std::int32_t key) noexcept;
};
extern const HitKernels kHitKernelsPortable;
extern const HitKernels kHitKernelsAvx2;
extern const HitKernels kHitKernelsAvx512;

}  // namespace tiervec::codes
