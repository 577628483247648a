#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include <tiervec/graph_index/candidate_list.h>

namespace tiervec::graph_index {
namespace {

std::uint32_t count_up_to(const CandidateList& list, float distance, std::uint32_t blocks) noexcept {
  const __m512 value = _mm512_set1_ps(distance);
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const __mmask16 le = _mm512_cmp_ps_mask(_mm512_loadu_ps(list.distances + 16 * i), value, _CMP_LE_OQ);
    count += static_cast<std::uint32_t>(__builtin_popcount(le));
  }
  return count;
}

// Moves [at, size) one place up, last block first; the block behind the capacity takes what falls off.
void shift_up(CandidateList& list, std::uint32_t at, std::uint32_t blocks) noexcept {
  for (std::uint32_t i = blocks; i-- > at / 16;) {
    const __m512 distances = _mm512_loadu_ps(list.distances + 16 * i);
    const __m512i entries = _mm512_loadu_si512(list.entries + 16 * i);
    const __mmask16 mask = i == at / 16 ? static_cast<__mmask16>(0xffffu << (at % 16)) : static_cast<__mmask16>(0xffff);
    _mm512_mask_storeu_ps(list.distances + 16 * i + 1, mask, distances);
    _mm512_mask_storeu_epi32(list.entries + 16 * i + 1, mask, entries);
  }
}

std::uint32_t insert_one(CandidateList& list, float distance, std::uint32_t id) noexcept {
  if (!(distance < list.bound())) {
    return list.capacity;
  }
  const std::uint32_t blocks = (std::min(list.size + 1, list.capacity) + 15) / 16;
  const std::uint32_t at = count_up_to(list, distance, blocks);
  for (std::uint32_t i = at; i > 0 && list.distances[i - 1] == distance; --i) {
    if (list.id(i - 1) == id) {
      return list.capacity;
    }
  }
  shift_up(list, at, blocks);
  list.distances[at] = distance;
  list.entries[at] = id << 1;
  list.size = std::min(list.size + 1, list.capacity);
  return at;
}

std::uint32_t insert(CandidateList& list, const float* distances, const std::uint32_t* ids,
                     std::uint32_t count) noexcept {
  std::uint32_t lowest = list.capacity;
  for (std::uint32_t i = 0; i < count; i += 16) {
    const __mmask16 exists =
        count - i >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << (count - i)) - 1);
    unsigned nearer = _mm512_mask_cmp_ps_mask(exists, _mm512_maskz_loadu_ps(exists, distances + i),
                                              _mm512_set1_ps(list.bound()), _CMP_LT_OQ);
    for (; nearer != 0; nearer &= nearer - 1) {
      const std::uint32_t j = i + static_cast<std::uint32_t>(__builtin_ctz(nearer));
      lowest = std::min(lowest, insert_one(list, distances[j], ids[j]));
    }
  }
  return lowest;
}

void unpack_wide(const std::byte* bits, std::uint32_t count, std::uint32_t width, std::uint32_t* out) noexcept {
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t from = std::uint64_t{i} * width;
    std::uint64_t window;
    std::memcpy(&window, bits + from / 8, sizeof window);
    out[i] = static_cast<std::uint32_t>((window >> (from % 8)) & mask);
  }
}

// Sixteen ids a step: four lanes of four ids. A lane starts at a byte, 0 or 4 bits before its first id; a byte shuffle
// brings the four bytes that hold each id into a word, a variable shift drops the bits before it.
void unpack(const std::byte* bits, std::uint32_t count, std::uint32_t width, std::uint32_t* out) noexcept {
  if (width > 25) {  // an id and seven bits before it must fit a word
    unpack_wide(bits, count, width, out);
    return;
  }
  alignas(64) std::uint8_t shuffle[64];
  alignas(64) std::uint32_t shift[16];
  std::size_t lane_byte[4];
  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    lane_byte[lane] = std::size_t{lane} * 4 * width / 8;
    for (std::uint32_t j = 0; j < 4; ++j) {
      const std::uint32_t bit = (lane * 4 * width) % 8 + j * width;
      shift[lane * 4 + j] = bit % 8;
      for (std::uint32_t b = 0; b < 4; ++b) {
        shuffle[lane * 16 + j * 4 + b] = static_cast<std::uint8_t>(bit / 8 + b);
      }
    }
  }
  const __m512i bytes = _mm512_load_si512(shuffle);
  const __m512i shifts = _mm512_load_si512(shift);
  const __m512i mask = _mm512_set1_epi32(static_cast<int>((1u << width) - 1));
  const auto load = [&](std::size_t lane) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bits + lane_byte[lane]));
  };
  for (std::uint32_t i = 0; i < count; i += 16, bits += 2 * width) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load(0)), load(1), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load(2)), load(3), 1);
    const __m512i lanes = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    const __m512i words = _mm512_srlv_epi32(_mm512_shuffle_epi8(lanes, bytes), shifts);
    _mm512_storeu_si512(out + i, _mm512_and_si512(words, mask));
  }
}

}  // namespace

const HopKernels kHopKernelsAvx512 = {insert, unpack};

}  // namespace tiervec::graph_index
