// What the kernels in csrc/cuda use of CUDA, for g++: included in place of cuda_runtime.h, it lets a .cu file compile
// as C++ and run on the CPU. It needs CUDA's headers, but neither its compiler nor a GPU.
#pragma once

// CUDA's own headers come first: for host compilers they define these names to something useless.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>
#include <vector_types.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

#include <math.h>  // CUDA has the overloads of sqrt and others outside std

#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "testing/simulator.h"

using cudaStream_t = struct CUstream_st*;

inline uint3& threadIdx = gpgan::cuda::on_host::simulator.thread_index;
inline uint3& blockIdx = gpgan::cuda::on_host::simulator.block_index;
inline dim3& blockDim = gpgan::cuda::on_host::simulator.block_dim;
inline dim3& gridDim = gpgan::cuda::on_host::simulator.grid_dim;
constexpr int warpSize = gpgan::cuda::on_host::kWarp;

namespace gpgan::cuda {

// One element of shared memory; it checks every read and write.
template <class T>
class SharedElement {
 public:
  SharedElement(T& value, on_host::Mark& mark, int64_t index) : value_(value), mark_(mark), index_(index) {}
  SharedElement(const SharedElement&) = default;

  operator T() const { return on_host::simulator.access(mark_, on_host::Use::kRead, index_), value_; }
  SharedElement& operator=(T value) {
    return on_host::simulator.access(mark_, on_host::Use::kWrite, index_), value_ = value, *this;
  }
  SharedElement& operator=(const SharedElement& other) { return *this = static_cast<T>(other); }

 private:
  T& value_;
  on_host::Mark& mark_;
  int64_t index_;
};

template <class T, int N>
struct SharedArray {
  SharedElement<T> operator[](int64_t i) {
    on_host::simulator.use_array(launch_, sizeof(values_));
    if (i < 0 || i >= N) {
      on_host::simulator.fail("uses element " + std::to_string(i) + " of a shared array of " + std::to_string(N));
    }
    return {values_[i], marks_[i], i};
  }

 private:
  T values_[N];
  on_host::Mark marks_[N];
  uint64_t launch_ = 0;
};

// Runs kernel(args...) to completion: one block after another, each thread with its own copy of the arguments.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t /*stream*/, A&&... args) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> args;
  } call{kernel, {static_cast<P>(args)...}};
  static_assert(sizeof(call.args) <= 4096, "a kernel's parameters are at most 4 KiB");
  on_host::simulator.launch(
      name, grid, block,
      [](void* state) {
        const auto& call = *static_cast<const Call*>(state);
        std::apply(call.kernel, call.args);
      },
      &call);
}

}  // namespace gpgan::cuda

// The source location of the call identifies a barrier or shuffle.

inline void __syncthreads(std::source_location site = std::source_location::current()) {
  gpgan::cuda::on_host::simulator.barrier(site);
}

// Does not order memory accesses, as in CUDA's programming guide.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, std::source_location site = std::source_location::current()) {
  using gpgan::cuda::on_host::simulator;
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = simulator.shuffle({"__shfl_xor_sync", site, mask, bits, simulator.lane() ^ (lanes & (warpSize - 1))});
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// With -fsanitize=null,alignment the compiler calls this instead of a load or store at which a GPU would fault. The
// sanitizer defines the layout of the first argument, which begins with file and line.
extern "C" [[gnu::used]] inline void __ubsan_handle_type_mismatch_v1(void* data, void* pointer) {
  const char* file = *static_cast<const char* const*>(data);
  const uint32_t line = *reinterpret_cast<const uint32_t*>(static_cast<const char*>(data) + sizeof(file));
  char what[128];
  const std::string_view path(file);
  std::snprintf(what, sizeof(what), "uses the address %p at %.60s:%u, which is null or not aligned to its type",
                pointer, file + path.rfind('/') + 1, line);
  gpgan::cuda::on_host::simulator.fail(what);
}
