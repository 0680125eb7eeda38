// What the kernels need from CUDA. Compiled by nvcc, this is CUDA itself. Compiled as host C++, to test the kernels
// without a GPU, testing/cuda_on_host.h defines the same names.
#pragma once

#ifndef __CUDACC__
#include "testing/cuda_on_host.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <array>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace gpgan::cuda {

// Shared memory of a block, e.g. `__shared__ SharedArray<float, 32> sums;`
template <typename T, int kSize>
struct SharedArray {
  T values[kSize];
  __device__ T& operator[](int i) { return values[i]; }
};

// kernel<<<grid, block, 0, stream>>>(args...); throws if the launch fails.
template <typename... P, typename... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A&&... args) {
  std::tuple<P...> values(std::forward<A>(args)...);
  auto pointers = std::apply([](auto&... value) { return std::array<void*, sizeof...(P)>{&value...}; }, values);
  const cudaError_t error = cudaLaunchKernel(kernel, grid, block, pointers.data(), 0, stream);
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("gpgan: launch of ") + name + " failed: " + cudaGetErrorString(error));
  }
}

}  // namespace gpgan::cuda

#endif
