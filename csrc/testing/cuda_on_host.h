// What a CUDA kernel is written in, for g++: included in place of cuda_runtime.h, it lets a .cu file compile as C++ and
// run on the CPU. Needs CUDA's headers, neither its compiler nor a GPU.
#pragma once

// CUDA's own headers first: they define these names for host compilers, to nothing of use.
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

#include <math.h>  // CUDA has the overloads of sqrt and others outside of std

#include <bit>
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

// One element of shared memory: reads and writes go through it to be checked.
template <class T>
class SharedElement {
 public:
  SharedElement(T* value, on_host::Mark* marks, size_t count, size_t index)
      : value_(value), marks_(marks), count_(count), index_(index) {}
  SharedElement(const SharedElement&) = default;

  operator T() const { return check(on_host::Use::kRead), *value_; }
  SharedElement& operator=(T value) { return check(on_host::Use::kWrite), *value_ = value, *this; }
  SharedElement& operator=(const SharedElement& other) { return *this = static_cast<T>(other); }
  SharedElement& operator+=(T value) { return *this = static_cast<T>(*this) + value; }
  SharedElement& operator-=(T value) { return *this = static_cast<T>(*this) - value; }
  SharedElement& operator*=(T value) { return *this = static_cast<T>(*this) * value; }

  // Its address is good for atomics alone.
  SharedElement operator&() const { return *this; }
  T* atomic() const { return check(on_host::Use::kAtomic), value_; }

 private:
  void check(on_host::Use use) const {
    on_host::simulator.access(marks_, count_, use,
                              [this] { return "element " + std::to_string(index_) + " of shared memory"; });
  }
  T* value_;
  on_host::Mark* marks_;
  size_t count_, index_;
};

template <class T, int N>
struct SharedArray {
  SharedElement<T> operator[](int64_t i) {
    on_host::simulator.use_static(launch_, sizeof(values_));
    if (i < 0 || i >= N) {
      on_host::simulator.fail("uses element " + std::to_string(i) + " of a shared array of " + std::to_string(N));
    }
    return {&values_[i], &marks_[i], 1, static_cast<size_t>(i)};
  }

 private:
  T values_[N];
  on_host::Mark marks_[N];
  uint64_t launch_ = 0;
};

// A T* into the launch's dynamic shared memory. Bytes carry the marks, so that parts of it may hold other types.
template <class T>
class SharedPointer {
 public:
  explicit SharedPointer(int64_t first) : first_(first) {}
  SharedPointer operator+(int64_t i) const { return SharedPointer(first_ + i); }
  SharedElement<T> operator*() const { return (*this)[0]; }
  SharedElement<T> operator[](int64_t i) const {
    on_host::Simulator& simulator = on_host::simulator;
    const int64_t at = first_ + i, end = static_cast<int64_t>(simulator.dynamic_bytes() / sizeof(T));
    if (at < 0 || at >= end) {
      simulator.fail("uses element " + std::to_string(at) + " of dynamic shared memory for " + std::to_string(end));
    }
    auto* value = reinterpret_cast<T*>(simulator.dynamic()) + at;
    return {value, simulator.dynamic_marks() + at * sizeof(T), sizeof(T), static_cast<size_t>(at)};
  }

 private:
  int64_t first_;
};

template <class T>
auto dynamic_shared() {
  return SharedPointer<T>(0);
}

// Runs kernel(args...) to its end: blocks one after another, each thread with its own copy of the arguments.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t /*stream*/,
            A&&... args) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> args;
  } call{kernel, {static_cast<P>(args)...}};
  static_assert(sizeof(call.args) <= 4096, "a kernel's parameters are at most 4 KiB");
  on_host::simulator.launch(
      name, grid, block, shared_bytes,
      [](void* state) {
        const auto& call = *static_cast<const Call*>(state);
        std::apply(call.kernel, call.args);
      },
      &call);
}

}  // namespace gpgan::cuda

// Barriers. The place of the call tells one from another.

inline void __syncthreads(std::source_location site = std::source_location::current()) {
  gpgan::cuda::on_host::simulator.barrier("__syncthreads", false, site);
}
inline int __syncthreads_count(int predicate, std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::simulator.barrier("__syncthreads_count", predicate != 0, site);
}
inline int __syncthreads_or(int predicate, std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::simulator.barrier("__syncthreads_or", predicate != 0, site) != 0;
}
inline int __syncthreads_and(int predicate, std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::simulator.barrier("__syncthreads_and", predicate == 0, site) == 0;
}

// One thread runs at a time, and stores are seen at once.
inline void __threadfence() {}
inline void __threadfence_block() {}

// Warp collectives. Of these __syncwarp alone orders memory, as CUDA's programming guide has it.

namespace gpgan::cuda::on_host {

inline uint64_t vote(const char* name, unsigned mask, bool predicate, const std::source_location& site) {
  return simulator.collective({name, site, mask, Collective::kVote, predicate});
}

// source(lane, first, last): the lane to take from, first and last being those of the lane's group of width lanes.
template <class T, class Source>
T shuffle(const char* name, unsigned mask, T value, int width, const std::source_location& site, const Source& source) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  if (width < 1 || width > kWarp || !std::has_single_bit(static_cast<unsigned>(width))) {
    simulator.fail("calls " + std::string(name) + " with width " + std::to_string(width) +
                   "; expected 1, 2, 4, 8, 16 or 32");
  }
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const int lane = simulator.lane(), first = lane & ~(width - 1);
  bits = simulator.collective({name, site, mask, Collective::kShuffle, bits, source(lane, first, first + width - 1)});
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace gpgan::cuda::on_host

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::shuffle("__shfl_sync", mask, value, width, site,
                                       [&](int, int first, int) { return first + (source & (width - 1)); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::shuffle("__shfl_up_sync", mask, value, width, site, [&](int lane, int first, int) {
    return delta > static_cast<unsigned>(lane - first) ? lane : lane - static_cast<int>(delta);
  });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::shuffle("__shfl_down_sync", mask, value, width, site, [&](int lane, int, int last) {
    return delta > static_cast<unsigned>(last - lane) ? lane : lane + static_cast<int>(delta);
  });
}
// Lanes of an earlier group can be read, those of a later one not.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize,
                  std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::shuffle("__shfl_xor_sync", mask, value, width, site, [&](int lane, int, int last) {
    const int source = lane ^ (lanes & (warpSize - 1));
    return source > last ? lane : source;
  });
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location site = std::source_location::current()) {
  return static_cast<unsigned>(gpgan::cuda::on_host::vote("__ballot_sync", mask, predicate != 0, site));
}
inline int __any_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::vote("__any_sync", mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return gpgan::cuda::on_host::vote("__all_sync", mask, predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffff, std::source_location site = std::source_location::current()) {
  using gpgan::cuda::on_host::Collective;
  gpgan::cuda::on_host::simulator.collective({"__syncwarp", site, mask, Collective::kSync, 0, 0});
}
// CUDA promises no lane but the caller's own.
inline unsigned __activemask() { return 1u << gpgan::cuda::on_host::simulator.lane(); }

template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}

// Atomics, on global memory (T*) and on &shared[i]: the old value comes back.

namespace gpgan::cuda::on_host {

template <class T>
T* atomic_place(T* pointer) {
  return pointer;
}
template <class T>
T* atomic_place(const SharedElement<T>& element) {
  return element.atomic();
}
template <class P>
using Atomic = std::remove_reference_t<decltype(*atomic_place(std::declval<P>()))>;

template <class T, class... Allowed>
concept OneOf = (std::is_same_v<T, Allowed> || ...);
template <class T>
concept AtomicInteger = OneOf<T, int, unsigned, unsigned long long>;

template <class P, class F>
auto update(const P& pointer, const F& f) {
  auto* place = atomic_place(pointer);
  const auto old = *place;
  *place = f(old);
  return old;
}

}  // namespace gpgan::cuda::on_host

template <class P, class T = gpgan::cuda::on_host::Atomic<P>>
  requires gpgan::cuda::on_host::AtomicInteger<T> || std::is_floating_point_v<T>
T atomicAdd(P pointer, std::type_identity_t<T> value) {
  return gpgan::cuda::on_host::update(pointer, [&](T old) { return static_cast<T>(old + value); });
}
template <class P, class T = gpgan::cuda::on_host::Atomic<P>>
  requires gpgan::cuda::on_host::AtomicInteger<T>
T atomicMax(P pointer, std::type_identity_t<T> value) {
  return gpgan::cuda::on_host::update(pointer, [&](T old) { return old < value ? value : old; });
}
template <class P, class T = gpgan::cuda::on_host::Atomic<P>>
  requires gpgan::cuda::on_host::AtomicInteger<T>
T atomicCAS(P pointer, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return gpgan::cuda::on_host::update(pointer, [&](T old) { return old == compare ? value : old; });
}
template <class P, class T = gpgan::cuda::on_host::Atomic<P>>
  requires gpgan::cuda::on_host::AtomicInteger<T> || std::is_same_v<T, float>
T atomicExch(P pointer, std::type_identity_t<T> value) {
  return gpgan::cuda::on_host::update(pointer, [&](T) { return value; });
}
template <class P>
  requires std::is_same_v<gpgan::cuda::on_host::Atomic<P>, unsigned>
unsigned atomicInc(P pointer, unsigned limit) {
  return gpgan::cuda::on_host::update(pointer, [&](unsigned old) { return old >= limit ? 0 : old + 1; });
}

// With -fsanitize=null,alignment the compiler calls this in place of a load or store that a GPU faults on. The layout
// of the first argument is the sanitizer's; its file and line come first.
extern "C" [[gnu::used]] inline void __ubsan_handle_type_mismatch_v1(void* data, void* pointer) {
  const char* file = *static_cast<const char* const*>(data);
  const uint32_t line = *reinterpret_cast<const uint32_t*>(static_cast<const char*>(data) + sizeof(file));
  char what[128];
  const std::string_view path(file);
  std::snprintf(what, sizeof(what), "uses the address %p at %.60s:%u, which is null or not aligned to its type",
                pointer, file + path.rfind('/') + 1, line);
  gpgan::cuda::on_host::simulator.fail(what);
}
