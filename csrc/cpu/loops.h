// The inner loops of the CPU kernels: over one span of a row, vectorised, without threads.
//
// On x86-64 every loop is compiled for three instruction sets and the loader picks one (target_clones), so that one
// binary runs everywhere. A reduction's lanes and their order depend on the span's length alone.
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

// Sum of x^2. A single vector of sums would wait for each addition: there are kLanes sums side by side.
template <typename T>
GPGAN_CLONES acc_type<T> sum_squares(const T* __restrict__ x, int64_t length) {
  acc_type<T> lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) {
      const auto value = load(x[i + k]);
      lanes[k] += value * value;
    }
  }
  acc_type<T> sum = 0;
  for (; i < length; ++i) {
    const auto value = load(x[i]);
    sum += value * value;
  }
  for (int64_t k = 0; k < kLanes; ++k) {
    sum += lanes[k];
  }
  return sum;
}

// Sum of grad * (real - fake).
template <typename T>
GPGAN_CLONES acc_type<T> dot_difference(const T* __restrict__ grad, const T* __restrict__ real,
                                        const T* __restrict__ fake, int64_t length) {
  acc_type<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) {
    sum += load(grad[i]) * (load(real[i]) - load(fake[i]));
  }
  return sum;
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
