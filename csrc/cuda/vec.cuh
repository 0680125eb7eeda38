// Element types of the CUDA kernels and 16-byte access to them.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "cuda/platform.cuh"

namespace gpgan::cuda {

struct HalfTypes {
  using float16 = __half;
  using bfloat16 = __nv_bfloat16;
};

constexpr int kPackBytes = 16;

__device__ __forceinline__ float to_acc(float x) { return x; }
__device__ __forceinline__ double to_acc(double x) { return x; }
__device__ __forceinline__ float to_acc(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_acc(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ __forceinline__ void from_acc(float x, float& out) { out = x; }
__device__ __forceinline__ void from_acc(double x, double& out) { out = x; }
__device__ __forceinline__ void from_acc(float x, __half& out) { out = __float2half_rn(x); }
__device__ __forceinline__ void from_acc(float x, __nv_bfloat16& out) { out = __float2bfloat16_rn(x); }

// kSize adjacent elements, read or written by one instruction.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];

  static __device__ __forceinline__ Pack at(const T* pointer) { return *reinterpret_cast<const Pack*>(pointer); }
  __device__ __forceinline__ void put(T* pointer) const { *reinterpret_cast<Pack*>(pointer) = *this; }
};

inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % kPackBytes == 0; }

// Calls f(T{}, the pack size as an integral constant): 16 bytes if the row length and every pointer allow it, otherwise
// one element.
template <typename F, typename... Pointers>
void dispatch_pack(const Rows& rows, F&& f, Pointers... pointers) {
  dispatch<HalfTypes>(rows.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kPackBytes / static_cast<int>(sizeof(T));
    if (rows.length % kWide == 0 && (aligned(pointers) && ...)) {
      f(type, std::integral_constant<int, kWide>{});
    } else {
      f(type, std::integral_constant<int, 1>{});
    }
  });
}

}  // namespace gpgan::cuda
