// The CPU kernels' half-precision types, stored as bits. They are converted by integer arithmetic without branches,
// which compilers vectorise for any instruction set.
#pragma once

#include <bit>
#include <cstdint>

namespace gpgan::cpu {

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

struct HalfTypes {
  using float16 = Float16;
  using bfloat16 = BFloat16;
};

[[gnu::always_inline]] inline float load(float x) { return x; }

[[gnu::always_inline]] inline double load(double x) { return x; }

[[gnu::always_inline]] inline float load(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// A normal number gets the new exponent bias, a subnormal one is a multiple of 2^-24, and Inf and NaN get an exponent
// of all ones.
[[gnu::always_inline]] inline float load(Float16 x) {
  const uint32_t sign = (uint32_t{x.bits} & 0x8000u) << 16;
  const uint32_t magnitude = uint32_t{x.bits} & 0x7fffu;
  const uint32_t small = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  uint32_t bits = (magnitude << 13) + (112u << 23);
  bits = magnitude < 0x0400u ? small : bits;
  bits = magnitude >= 0x7c00u ? (magnitude << 13) | 0x7f800000u : bits;
  return std::bit_cast<float>(sign | bits);
}

[[gnu::always_inline]] inline void store(float x, float& out) { out = x; }

[[gnu::always_inline]] inline void store(double x, double& out) { out = x; }

// Rounds to nearest even: adds half of the last kept place, minus one if the kept part is even.
[[gnu::always_inline]] inline void store(float x, BFloat16& out) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  out.bits = static_cast<uint16_t>(nan ? 0x7fc0u : rounded);
}

// Numbers that are normal in float16 are rounded as above. Smaller ones are rounded by adding 0.5, whose last place in
// float32 is 2^-24, float16's smallest step. From 65520 the result is Inf.
[[gnu::always_inline]] inline void store(float x, Float16& out) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t small =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  uint32_t result = magnitude < (113u << 23) ? small : normal;
  result = magnitude >= 0x477ff000u ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  out.bits = static_cast<uint16_t>(sign | result);
}

}  // namespace gpgan::cpu
