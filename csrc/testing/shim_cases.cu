// Each kernel shows one behaviour of cuda_on_host.h. The pairs: a wrong kernel, and beside it the right one.
#include "testing/shim_cases.h"

#include <map>
#include <stdexcept>

#include "testing/cuda_on_host.h"

namespace gpgan::testing {

namespace {

using cuda::dynamic_shared;
using cuda::SharedArray;

constexpr unsigned kAll = 0xffffffff;

__device__ __forceinline__ int linear_thread() {
  return static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
}
__device__ __forceinline__ int linear_block() {
  return static_cast<int>((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
}
__device__ __forceinline__ int threads() { return static_cast<int>(blockDim.x * blockDim.y * blockDim.z); }
__device__ __forceinline__ int global_thread() { return linear_block() * threads() + linear_thread(); }

// Barriers

__global__ void return_before_barrier(const int*, int* out) {
  if (threadIdx.x == blockDim.x - 1) return;
  __syncthreads();
  out[linear_thread()] = 1;
}
__global__ void return_after_barrier(const int*, int* out) {
  __syncthreads();
  if (threadIdx.x == blockDim.x - 1) return;
  out[linear_thread()] = 1;
}
__global__ void two_barriers(const int*, int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[linear_thread()] = 1;
}
// Thread 0 skips one of several barriers, and so waits at another one or returns while the rest wait.
__global__ void skipped_barrier(const int*, int* out) {
  for (int i = 0; i < 3; ++i) {
    if (i == 1 && threadIdx.x == 0) continue;
    __syncthreads();
  }
  out[linear_thread()] = 1;
}
__global__ void barrier_votes(const int* in, int* out) {
  const int mine = in[linear_thread()];
  const int i = linear_thread() * 3;
  out[i] = __syncthreads_count(mine);
  out[i + 1] = __syncthreads_or(mine);
  out[i + 2] = __syncthreads_and(mine);
}

// Warp collectives

__global__ void missing_lanes(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 < 16) out[i] = __shfl_xor_sync(kAll, in[i], 1);
}
__global__ void named_lanes(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 < 16) out[i] = __shfl_xor_sync(0x0000ffff, in[i], 1);
}
__global__ void missing_voter(const int* in, int* out) {
  const int i = linear_thread();
  if (i == 7) return;
  out[i] = __any_sync(kAll, in[i]);
}
__global__ void missing_at_syncwarp(const int*, int* out) {
  if (threadIdx.x == 3) {
    __syncthreads();
  } else {
    __syncwarp();
    __syncthreads();
  }
  out[linear_thread()] = 1;
}
__global__ void unnamed_caller(const int* in, int* out) {
  const int i = linear_thread();
  out[i] = __shfl_sync(0x7fffffff, in[i], 0);
}
__global__ void unnamed_source(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 < 16) out[i] = __shfl_sync(0x0000ffff, in[i], 16);
}
__global__ void different_masks(const int* in, int* out) {
  const int i = linear_thread();
  out[i] = __ballot_sync(i % 2 == 0 ? kAll : 0xfffffffe, in[i]) != 0;
}
// Halves of a warp work apart, on masks of their own and in either order.
__global__ void apart(const int* in, int* out) {
  const int i = linear_thread();
  const unsigned mask = i % 32 < 16 ? 0x0000ffff : 0xffff0000;
  int value = in[i];
  const int rounds = i % 32 < 16 ? 5 : 2;
  for (int round = 0; round < rounds; ++round) value += __shfl_xor_sync(mask, value, 1 << round % 4);
  out[i] = value;
}

// in: values, and at in[threads] the width and the delta. out: the four shuffles of each thread.
template <class T>
__global__ void shuffles(const T* in, T* out) {
  const int i = linear_thread(), n = threads();
  const int width = static_cast<int>(in[n]), delta = static_cast<int>(in[n + 1]);
  out[i] = __shfl_sync(kAll, in[i], delta, width);
  out[n + i] = __shfl_up_sync(kAll, in[i], delta, width);
  out[2 * n + i] = __shfl_down_sync(kAll, in[i], delta, width);
  out[3 * n + i] = __shfl_xor_sync(kAll, in[i], delta, width);
}
__global__ void votes(const int* in, unsigned* out) {
  const int i = linear_thread(), n = threads();
  out[i] = __ballot_sync(kAll, in[i]);
  out[n + i] = static_cast<unsigned>(__any_sync(kAll, in[i]));
  out[2 * n + i] = static_cast<unsigned>(__all_sync(kAll, in[i]));
}
// The idiom that adds once for all lanes that are here together.
__global__ void aggregated(const int* in, unsigned* out) {
  if (in[global_thread()] == 0) return;
  const unsigned mask = __activemask();
  const int leader = __builtin_ctz(mask), lane = linear_thread() % 32;
  unsigned base = 0;
  if (lane == leader) base = atomicAdd(out, static_cast<unsigned>(__builtin_popcount(mask)));
  base = __shfl_sync(mask, base, leader);
  out[1 + base + static_cast<unsigned>(__builtin_popcount(mask & ((1u << lane) - 1)))] = 1;
}

// Shared memory

__global__ void unwritten(const float*, float* out) {
  __shared__ SharedArray<float, 64> values;
  if (threadIdx.x != 5) values[linear_thread()] = 1;
  __syncthreads();
  out[linear_thread()] = values[linear_thread()];
}
// The first block writes, later blocks only read what it left.
__global__ void left_over(const float*, float* out) {
  __shared__ SharedArray<float, 64> values;
  if (blockIdx.x == 0) values[linear_thread()] = 1;
  __syncthreads();
  out[global_thread()] = values[linear_thread()];
}
__global__ void unwritten_dynamic(const float*, float* out) {
  auto values = dynamic_shared<float>();
  if (threadIdx.x != 5) values[linear_thread()] = 1;
  __syncthreads();
  out[linear_thread()] = values[linear_thread()];
}
__global__ void shift_without_barrier(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread();
  values[i] = 0;
  __syncthreads();
  values[i] = in[i];
  out[i] = values[i == 0 ? 0 : i - 1];
}
__global__ void shift(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread();
  values[i] = in[i];
  __syncthreads();
  out[i] = values[i == 0 ? 0 : i - 1];
}
__global__ void write_after_read(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread(), n = threads();
  values[i] = in[i];
  __syncthreads();
  out[i] = values[n - 1 - i];
  values[i] = 0;
}
__global__ void write_after_write(const float* in, float* out) {
  __shared__ SharedArray<float, 1> value;
  value[0] = in[linear_thread()];
  __syncthreads();
  out[linear_thread()] = value[0];
}
// Lanes of a warp, ordered by __syncwarp or, wrongly, by a shuffle.
template <bool kOrdered>
__global__ void within_warp(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread();
  values[i] = in[i];
  if (kOrdered) {
    __syncwarp();
  } else {
    __shfl_sync(kAll, 0, 0);
  }
  const float left = values[i ^ 1];
  if (kOrdered) __syncwarp();
  values[i] = left * 2;
  out[i] = values[i];
}
// __syncwarp of each warp does not order warps.
__global__ void across_warps(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread();
  values[i] = 0;
  __syncthreads();
  values[i] = in[i];
  __syncwarp();
  out[i] = values[i ^ 32];
}
// __syncwarp of one half does not order the other.
template <bool kOrdered>
__global__ void half_warps(const float* in, float* out) {
  __shared__ SharedArray<float, 32> values;
  const int i = linear_thread();
  values[i] = 0;
  __syncthreads();
  values[i] = in[i];
  __syncwarp(i < 16 ? 0x0000ffff : 0xffff0000);
  out[i] = values[i ^ (kOrdered ? 8 : 16)];
}
__global__ void out_of_bounds(const float*, float* out) {
  __shared__ SharedArray<float, 32> values;
  values[linear_thread() + 1] = 1;
  out[linear_thread()] = 1;
}
__global__ void below_bounds(const float*, float* out) {
  __shared__ SharedArray<float, 32> values;
  values[linear_thread() - 1] = 1;
  out[linear_thread()] = 1;
}
// In dynamic memory: floats by thread, then one double for each warp behind them.
__global__ void dynamic_sum(const float* in, double* out) {
  auto values = dynamic_shared<float>();
  auto sums = dynamic_shared<double>() + threads() / 2;
  const int i = linear_thread();
  values[i] = in[i];
  __syncthreads();
  double sum = 0;
  if (i % 32 == 0) {
    for (int k = 0; k < 32; ++k) sum += values[i + k];
    sums[i / 32] = sum;
  }
  __syncthreads();
  sum = 0;
  for (int k = 0; k < threads() / 32; ++k) sum += sums[k];
  out[i] = sum;
}
// The usual block reduction, twice over the same array; without kSafe its second round overtakes the first.
template <bool kSafe>
__global__ void block_sums(const float* in, float* out) {
  __shared__ SharedArray<float, 32> sums;
  const int i = linear_thread(), warps = threads() / 32;
  float value = in[global_thread()];
  for (int round = 0; round < 2; ++round) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(kAll, value, offset);
    if (i % 32 == 0) sums[i / 32] = value;
    __syncthreads();
    value = i % 32 < warps ? static_cast<float>(sums[i % 32]) : 0.0f;
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAll, value, offset);
    if (kSafe) __syncthreads();
  }
  out[global_thread()] = value;
}
__global__ void two_large_arrays(const float*, float* out) {
  __shared__ SharedArray<float, 8192> a;
  __shared__ SharedArray<float, 4097> b;
  a[0] = 1;
  b[0] = 1;
  out[0] = 1;
}
__global__ void large_array(const float*, float* out) {
  __shared__ SharedArray<float, 8192> a;
  a[linear_thread()] = 1;
  out[0] = 1;
}

// Atomics

// out: eight results, the old values of the additions behind them.
template <class T>
__global__ void atomic_sums(const T* in, T* out) {
  __shared__ SharedArray<T, 1> sum;
  if (linear_thread() == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(&sum[0], in[global_thread()]);
  __syncthreads();
  if (linear_thread() == 0) atomicAdd(out, sum[0]);
  out[2 + global_thread()] = atomicAdd(&out[1], in[global_thread()]);
}
__global__ void atomic_race(const int* in, int* out) {
  __shared__ SharedArray<int, 1> sum;
  if (linear_thread() == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(&sum[0], in[linear_thread()]);
  out[linear_thread()] = sum[0];
}
__global__ void other_atomics(const int* in, int* out) {
  const int mine = in[global_thread()];
  atomicMax(&out[0], mine);
  atomicInc(reinterpret_cast<unsigned*>(&out[1]), 6);
  for (int seen = out[2], wanted = 0; wanted != seen;) {  // a product, by compare and swap
    wanted = seen;
    seen = atomicCAS(&out[2], wanted, wanted * 3 % 1009);
  }
  out[4 + global_thread()] = atomicExch(&out[3], mine);
}
// The last block to finish adds up what all wrote, as a sum over blocks in one launch does.
__global__ void last_block(const int* in, int* out) {
  __shared__ SharedArray<int, 1> is_last;
  auto* done = reinterpret_cast<unsigned*>(out);
  const int blocks = static_cast<int>(gridDim.x);
  if (linear_thread() == 0) {
    out[2 + linear_block()] = in[linear_block()];
    __threadfence();
    is_last[0] = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last[0] && linear_thread() == 0) {
    int sum = 0;
    for (int i = 0; i < blocks; ++i) sum += __ldg(out + 2 + i);
    out[1] = sum;
  }
}

// The rest

// The indices and sizes that each thread sees.
__global__ void indices(const int*, int* out) {
  const uint3 thread = threadIdx, block = blockIdx;
  const dim3 threads = blockDim, blocks = gridDim;
  int* mine = out + int64_t{12} * global_thread();
  for (uint3 at : {thread, block, uint3{threads.x, threads.y, threads.z}, uint3{blocks.x, blocks.y, blocks.z}}) {
    *mine++ = static_cast<int>(at.x);
    *mine++ = static_cast<int>(at.y);
    *mine++ = static_cast<int>(at.z);
  }
}
__global__ void wide_load(const float* in, float* out) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in);
}
__global__ void throws(const int*, int*) { throw std::out_of_range("thrown by a kernel"); }

struct Case {
  const char* name;
  Dim grid, block;
  size_t shared_bytes;
  const void* in;
  void* out;

  template <class T, class U>
  void operator()(void (*kernel)(const T*, U*)) const {
    cuda::launch(name, kernel, dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), shared_bytes,
                 nullptr, static_cast<const T*>(in), static_cast<U*>(out));
  }
};

template <auto kKernel>
void run(const Case& call) {
  call(kKernel);
}

const std::map<std::string, void (*)(const Case&)> kCases = {
    {"return_before_barrier", run<&return_before_barrier>},
    {"return_after_barrier", run<&return_after_barrier>},
    {"two_barriers", run<&two_barriers>},
    {"skipped_barrier", run<&skipped_barrier>},
    {"barrier_votes", run<&barrier_votes>},
    {"missing_lanes", run<&missing_lanes>},
    {"named_lanes", run<&named_lanes>},
    {"missing_voter", run<&missing_voter>},
    {"missing_at_syncwarp", run<&missing_at_syncwarp>},
    {"unnamed_caller", run<&unnamed_caller>},
    {"unnamed_source", run<&unnamed_source>},
    {"different_masks", run<&different_masks>},
    {"apart", run<&apart>},
    {"shuffles_int", run<&shuffles<int>>},
    {"shuffles_double", run<&shuffles<double>>},
    {"votes", run<&votes>},
    {"aggregated", run<&aggregated>},
    {"unwritten", run<&unwritten>},
    {"left_over", run<&left_over>},
    {"unwritten_dynamic", run<&unwritten_dynamic>},
    {"shift_without_barrier", run<&shift_without_barrier>},
    {"shift", run<&shift>},
    {"write_after_read", run<&write_after_read>},
    {"write_after_write", run<&write_after_write>},
    {"within_warp_syncwarp", run<&within_warp<true>>},
    {"within_warp_shuffle", run<&within_warp<false>>},
    {"across_warps", run<&across_warps>},
    {"inside_half_warps", run<&half_warps<true>>},
    {"across_half_warps", run<&half_warps<false>>},
    {"out_of_bounds", run<&out_of_bounds>},
    {"below_bounds", run<&below_bounds>},
    {"dynamic_sum", run<&dynamic_sum>},
    {"block_sums", run<&block_sums<true>>},
    {"block_sums_overtaking", run<&block_sums<false>>},
    {"two_large_arrays", run<&two_large_arrays>},
    {"large_array", run<&large_array>},
    {"atomic_sums_int", run<&atomic_sums<int>>},
    {"atomic_sums_unsigned", run<&atomic_sums<unsigned>>},
    {"atomic_sums_long", run<&atomic_sums<unsigned long long>>},
    {"atomic_sums_float", run<&atomic_sums<float>>},
    {"atomic_sums_double", run<&atomic_sums<double>>},
    {"atomic_race", run<&atomic_race>},
    {"other_atomics", run<&other_atomics>},
    {"last_block", run<&last_block>},
    {"indices", run<&indices>},
    {"wide_load", run<&wide_load>},
    {"throws", run<&throws>},
};

}  // namespace

void run_shim_case(const std::string& name, Dim grid, Dim block, size_t shared_bytes, const void* in, void* out) {
  const auto found = kCases.find(name);
  if (found == kCases.end()) throw std::invalid_argument("no shim case is named " + name);
  found->second({name.c_str(), grid, block, shared_bytes, in, out});
}

}  // namespace gpgan::testing
