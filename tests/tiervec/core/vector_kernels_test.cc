#include <tiervec/core/vector_kernels.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/half.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec {
namespace {

constexpr Dtype kDtypes[] = {Dtype::kFloat32, Dtype::kFloat16, Dtype::kInt8, Dtype::kUint8};
constexpr std::size_t kLongest = 300;

/// Elements of `dtype` that start `shift` bytes behind an allocation's start and end where it ends, so that a sanitizer
/// sees a load beyond either end.
class Vector {
 public:
  Vector(Dtype dtype, std::size_t dim, std::size_t shift, std::mt19937& random, bool extreme = false)
      : dtype_(dtype), shift_(shift), bytes_(shift + dim * element_bytes(dtype)) {
    std::normal_distribution<float> normal(0.5F, 1.0F);
    for (std::size_t i = 0; i < dim; ++i) {
      const auto any = static_cast<std::uint32_t>(random());
      switch (dtype) {
        case Dtype::kFloat32:
          put(i, normal(random));
          break;
        case Dtype::kFloat16:
          put(i, float_to_half(normal(random)));
          break;
        case Dtype::kInt8:
          put(i, static_cast<std::int8_t>(extreme ? (any % 2 == 0 ? -128 : 127) : static_cast<int>(any % 256) - 128));
          break;
        case Dtype::kUint8:
          put(i, static_cast<std::uint8_t>(extreme ? (any % 2 == 0 ? 0 : 255) : any % 256));
          break;
      }
    }
  }

  [[nodiscard]] const void* data() const { return bytes_.data() + shift_; }
  [[nodiscard]] double at(std::size_t i) const {
    switch (dtype_) {
      case Dtype::kFloat32:
        return static_cast<double>(get<float>(i));
      case Dtype::kFloat16:
        return static_cast<double>(half_to_float(get<std::uint16_t>(i)));
      case Dtype::kInt8:
        return get<std::int8_t>(i);
      case Dtype::kUint8:
        break;
    }
    return get<std::uint8_t>(i);
  }

 private:
  template <class T>
  void put(std::size_t i, T value) {
    std::memcpy(bytes_.data() + shift_ + i * sizeof(T), &value, sizeof(T));
  }
  template <class T>
  [[nodiscard]] T get(std::size_t i) const {
    T value;
    std::memcpy(&value, bytes_.data() + shift_ + i * sizeof(T), sizeof(T));
    return value;
  }

  Dtype dtype_;
  std::size_t shift_;
  std::vector<std::byte> bytes_;
};

struct Expected {
  double l2 = 0;
  double dot = 0;
  double dot_of_magnitudes = 0;  // what the error of a sum of products grows with
};

Expected expected(const Vector& a, const Vector& b, std::size_t dim) {
  Expected sums;
  for (std::size_t i = 0; i < dim; ++i) {
    sums.l2 += (a.at(i) - b.at(i)) * (a.at(i) - b.at(i));
    sums.dot += a.at(i) * b.at(i);
    sums.dot_of_magnitudes += std::fabs(a.at(i) * b.at(i));
  }
  return sums;
}

void expect_distances(VectorKernels::Fn l2, VectorKernels::Fn dot, const Vector& a, const Vector& b, std::size_t dim,
                      bool exact, const std::string& what) {
  const Expected sums = expected(a, b, dim);
  const double found_l2 = static_cast<double>(l2(a.data(), b.data(), dim));
  const double found_dot = static_cast<double>(dot(a.data(), b.data(), dim));
  if (exact) {  // whole numbers; float32 rounds only above 2^24
    EXPECT_EQ(found_l2, static_cast<double>(static_cast<float>(sums.l2))) << what;
    EXPECT_EQ(found_dot, static_cast<double>(static_cast<float>(sums.dot))) << what;
  } else {
    EXPECT_NEAR(found_l2, sums.l2, 1e-5 * sums.l2 + 1e-12) << what;
    EXPECT_NEAR(found_dot, sums.dot, 1e-5 * sums.dot_of_magnitudes + 1e-12) << what;
  }
}

class VectorKernelsTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(VectorKernelsTest, AgreeWithTheDefinitionAtEveryDimension) {
  std::mt19937 random(2);
  for (const Dtype dtype : kDtypes) {
    const VectorKernels& kernels = vector_kernels(dtype, GetParam());
    for (std::size_t dim = 1; dim <= kLongest; dim += dim < 140 ? 1 : 37) {
      const std::string what = "dtype " + std::to_string(static_cast<int>(dtype)) + ", dim " + std::to_string(dim);
      const Vector a(dtype, dim, 0, random);
      const Vector b(dtype, dim, 0, random);
      expect_distances(kernels.pair_l2, kernels.pair_dot, a, b, dim, is_integer(dtype), what);
      const Vector query(query_dtype(dtype), dim, 0, random);
      expect_distances(kernels.query_l2, kernels.query_dot, query, b, dim, is_integer(dtype), "query, " + what);
    }
  }
}

TEST_P(VectorKernelsTest, ManyRowsHaveTheDistancesOfEach) {
  std::mt19937 random(5);
  for (const Dtype dtype : kDtypes) {
    const VectorKernels& kernels = vector_kernels(dtype, GetParam());
    for (const std::size_t dim : {1U, 31U, 32U, 33U, 64U, 100U, 128U, 300U}) {
      const Vector query(query_dtype(dtype), dim, 0, random);
      std::vector<Vector> vectors;
      for (std::size_t i = 0; i < 11; ++i) vectors.emplace_back(dtype, dim, i, random, i % 3 == 0);
      std::vector<const std::byte*> rows;
      for (const Vector& vector : vectors) rows.push_back(static_cast<const std::byte*>(vector.data()));
      for (std::size_t count = 0; count <= rows.size(); ++count) {
        std::vector<float> l2(count + 1, -7);
        std::vector<float> dot(count + 1, -7);
        kernels.query_l2_rows(query.data(), rows.data(), count, dim, l2.data());
        kernels.query_dot_rows(query.data(), rows.data(), count, dim, dot.data());
        for (std::size_t i = 0; i < count; ++i) {
          EXPECT_EQ(l2[i], kernels.query_l2(query.data(), rows[i], dim)) << static_cast<int>(dtype) << " " << dim;
          EXPECT_EQ(dot[i], kernels.query_dot(query.data(), rows[i], dim)) << static_cast<int>(dtype) << " " << dim;
        }
        EXPECT_EQ(l2[count], -7);
        EXPECT_EQ(dot[count], -7);
      }
    }
  }
}

TEST_P(VectorKernelsTest, TakeVectorsAtAnyByte) {
  std::mt19937 random(3);
  for (const Dtype dtype : kDtypes) {
    const VectorKernels& kernels = vector_kernels(dtype, GetParam());
    for (std::size_t shift = 1; shift < 16; ++shift) {
      const std::size_t dim = 33 + shift;
      const std::string what = "dtype " + std::to_string(static_cast<int>(dtype)) + ", shift " + std::to_string(shift);
      const Vector a(dtype, dim, shift, random);
      const Vector b(dtype, dim, 16 - shift, random);
      expect_distances(kernels.pair_l2, kernels.pair_dot, a, b, dim, is_integer(dtype), what);
      const Vector query(query_dtype(dtype), dim, 0, random);
      expect_distances(kernels.query_l2, kernels.query_dot, query, b, dim, is_integer(dtype), "query, " + what);
    }
  }
}

TEST_P(VectorKernelsTest, WholeNumbersAtTheEndsOfTheirRangeDoNotOverflow) {
  std::mt19937 random(4);
  constexpr std::size_t kDim = 16'384;  // the most that a graph index takes
  for (const Dtype dtype : {Dtype::kInt8, Dtype::kUint8}) {
    const VectorKernels& kernels = vector_kernels(dtype, GetParam());
    for (const std::size_t dim : {std::size_t{7}, std::size_t{64}, kDim}) {
      const Vector a(dtype, dim, 0, random, true);
      const Vector b(dtype, dim, 0, random, true);
      expect_distances(kernels.pair_l2, kernels.pair_dot, a, b, dim, true, std::to_string(dim));
      expect_distances(kernels.pair_l2, kernels.pair_dot, a, a, dim, true, "itself, " + std::to_string(dim));
    }
  }
}

TEST_P(VectorKernelsTest, AVectorIsAtDistanceZeroFromItself) {
  std::mt19937 random(5);
  for (const Dtype dtype : kDtypes) {
    const Vector a(dtype, 99, 1, random);
    EXPECT_EQ(vector_kernels(dtype, GetParam()).pair_l2(a.data(), a.data(), 99), 0.0F);
  }
}

TEST_P(VectorKernelsTest, BothWaysRoundIsTheSame) {
  std::mt19937 random(6);
  for (const Dtype dtype : kDtypes) {
    const VectorKernels& kernels = vector_kernels(dtype, GetParam());
    const Vector a(dtype, 131, 0, random);
    const Vector b(dtype, 131, 0, random);
    EXPECT_EQ(kernels.pair_l2(a.data(), b.data(), 131), kernels.pair_l2(b.data(), a.data(), 131));
    EXPECT_EQ(kernels.pair_dot(a.data(), b.data(), 131), kernels.pair_dot(b.data(), a.data(), 131));
  }
}

TEST_P(VectorKernelsTest, RotationIsTheMatrixTimesTheVector) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  constexpr std::pair<std::size_t, std::size_t> kShapes[] = {{16, 1},  {64, 1},    {64, 40},
                                                             {80, 33}, {112, 100}, {192, 384}};
  for (const auto& [out_dim, dim] : kShapes) {
    std::vector<std::uint16_t> columns(out_dim * dim);
    std::vector<float> x(dim);
    for (std::uint16_t& value : columns) value = float_to_half(normal(random));
    for (float& value : x) value = normal(random);
    std::vector<float> out(out_dim);
    rotate_kernel(GetParam())(columns.data(), out_dim, x.data(), dim, out.data());
    for (std::size_t row = 0; row < out_dim; ++row) {
      double sum = 0;
      double magnitude = 0;
      for (std::size_t i = 0; i < dim; ++i) {
        const double product =
            static_cast<double>(half_to_float(columns[i * out_dim + row])) * static_cast<double>(x[i]);
        sum += product;
        magnitude += std::fabs(product);
      }
      EXPECT_NEAR(static_cast<double>(out[row]), sum, 1e-5 * magnitude);
    }
  }
}

TIERVEC_ON_EVERY_SIMD_LEVEL(VectorKernelsTest);

TEST(Widen, KeepsEveryValue) {
  std::mt19937 random(8);
  for (const Dtype dtype : kDtypes) {
    const Vector vector(dtype, 77, 0, random);
    std::vector<float> wide(77);
    widen(dtype, vector.data(), 77, wide.data());
    for (std::size_t i = 0; i < 77; ++i) EXPECT_EQ(static_cast<double>(wide[i]), vector.at(i));
  }
}

}  // namespace
}  // namespace tiervec
