// The inner loops of the CPU kernels: over one span of a row, vectorised, single-threaded.
//
// On x86-64 every loop is compiled for three instruction sets and the loader picks one (target_clones), so that one
// binary runs everywhere. The order of additions in a reduction depends only on the span's length.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "cpu/convert.h"

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define GPGAN_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GPGAN_CLONES
#endif

namespace gpgan::cpu {

constexpr int64_t kLanes = 64;

// Sum of term(i) for i < length, in kLanes independent partial sums: with a single vector, each addition would wait for
// the previous one.
template <typename acc_t, typename Term>
[[gnu::always_inline]] inline acc_t sum_in_lanes(int64_t length, const Term& term) {
  acc_t lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) {
      lanes[k] += term(i + k);
    }
  }
  acc_t sum = 0;
  for (; i < length; ++i) {
    sum += term(i);
  }
  for (int64_t k = 0; k < kLanes; ++k) {
    sum += lanes[k];
  }
  return sum;
}

// Sum of x^2.
template <typename T>
GPGAN_CLONES acc_type<T> sum_squares(const T* __restrict__ x, int64_t length) {
  return sum_in_lanes<acc_type<T>>(length, [x](int64_t i) __attribute__((always_inline)) {
    const auto value = load(x[i]);
    return value * value;
  });
}

// Sum of grad * (real - fake).
template <typename T>
GPGAN_CLONES acc_type<T> dot_difference(const T* __restrict__ grad, const T* __restrict__ real,
                                        const T* __restrict__ fake, int64_t length) {
  return sum_in_lanes<acc_type<T>>(length, [=](int64_t i) __attribute__((always_inline)) {
    return load(grad[i]) * (load(real[i]) - load(fake[i]));
  });
}

// out = factor * x
template <typename T>
GPGAN_CLONES void scale(const T* __restrict__ x, acc_type<T> factor, T* __restrict__ out, int64_t length) {
#pragma omp simd
  for (int64_t i = 0; i < length; ++i) {
    store(factor * load(x[i]), out[i]);
  }
}

// out = a * x + b * y
template <typename T>
GPGAN_CLONES void combine(acc_type<T> a, const T* __restrict__ x, acc_type<T> b, const T* __restrict__ y,
                          T* __restrict__ out, int64_t length) {
#pragma omp simd
  for (int64_t i = 0; i < length; ++i) {
    store(a * load(x[i]) + b * load(y[i]), out[i]);
  }
}

}  // namespace gpgan::cpu
