// Each kernel shows one behaviour of cuda_on_host.h; many come in pairs, a wrong kernel and its correct version.
#include "testing/shim_cases.h"

#include <map>
#include <stdexcept>

#include "testing/cuda_on_host.h"

namespace gpgan::testing {

namespace {

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
// Thread 0 skips one of several barriers, so it waits at another one or returns while the rest wait.
__global__ void skipped_barrier(const int*, int* out) {
  for (int i = 0; i < 3; ++i) {
    if (i == 1 && threadIdx.x == 0) continue;
    __syncthreads();
  }
  out[linear_thread()] = 1;
}
// Shuffles

__global__ void missing_lanes(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 < 16) out[i] = __shfl_xor_sync(kAll, in[i], 1);
}
__global__ void named_lanes(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 < 16) out[i] = __shfl_xor_sync(0x0000ffff, in[i], 1);
}
__global__ void missing_lane(const int* in, int* out) {
  const int i = linear_thread();
  if (i == 7) return;
  out[i] = __shfl_xor_sync(kAll, in[i], 1);
}
__global__ void lane_at_barrier(const int* in, int* out) {
  if (threadIdx.x == 3) {
    __syncthreads();
  } else {
    __shfl_xor_sync(kAll, in[linear_thread()], 1);
    __syncthreads();
  }
  out[linear_thread()] = 1;
}
__global__ void unnamed_caller(const int* in, int* out) {
  const int i = linear_thread();
  out[i] = __shfl_xor_sync(0x7fffffff, in[i], 0);
}
__global__ void unnamed_source(const int* in, int* out) {
  const int i = linear_thread();
  if (i % 32 == 0) out[i] = __shfl_xor_sync(0x00000001, in[i], 16);
}
__global__ void different_masks(const int* in, int* out) {
  const int i = linear_thread();
  out[i] = __shfl_xor_sync(i % 2 == 0 ? kAll : 0xfffffffe, in[i], 2);
}
// The halves of a warp work independently, with separate masks and in either order.
__global__ void apart(const int* in, int* out) {
  const int i = linear_thread();
  const unsigned mask = i % 32 < 16 ? 0x0000ffff : 0xffff0000;
  int value = in[i];
  const int rounds = i % 32 < 16 ? 5 : 2;
  for (int round = 0; round < rounds; ++round) value += __shfl_xor_sync(mask, value, 1 << round % 4);
  out[i] = value;
}

// in: values, and in[threads] is the distance.
template <class T>
__global__ void shuffles(const T* in, T* out) {
  const int i = linear_thread();
  out[i] = __shfl_xor_sync(kAll, in[i], static_cast<int>(in[threads()]));
}

// Shared memory

__global__ void unwritten(const float*, float* out) {
  __shared__ SharedArray<float, 64> values;
  if (threadIdx.x != 5) values[linear_thread()] = 1;
  __syncthreads();
  out[linear_thread()] = values[linear_thread()];
}
// The first block writes; later blocks only read what it left behind.
__global__ void left_over(const float*, float* out) {
  __shared__ SharedArray<float, 64> values;
  if (blockIdx.x == 0) values[linear_thread()] = 1;
  __syncthreads();
  out[global_thread()] = values[linear_thread()];
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
// A shuffle does not order the lanes of a warp.
__global__ void shift_after_shuffle(const float* in, float* out) {
  __shared__ SharedArray<float, 64> values;
  const int i = linear_thread();
  values[i] = in[i];
  __shfl_xor_sync(kAll, 0, 1);
  out[i] = values[i ^ 1];
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
// The usual block reduction, twice on the same array; without kSafe its second round overtakes the first.
template <bool kSafe>
__global__ void block_sums(const float* in, float* out) {
  __shared__ SharedArray<float, 32> sums;
  const int i = linear_thread(), warps = threads() / 32;
  float value = in[global_thread()];
  for (int round = 0; round < 2; ++round) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAll, value, offset);
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
  const void* in;
  void* out;

  template <class T, class U>
  void operator()(void (*kernel)(const T*, U*)) const {
    cuda::launch(name, kernel, dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), nullptr,
                 static_cast<const T*>(in), static_cast<U*>(out));
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
    {"missing_lanes", run<&missing_lanes>},
    {"named_lanes", run<&named_lanes>},
    {"missing_lane", run<&missing_lane>},
    {"lane_at_barrier", run<&lane_at_barrier>},
    {"unnamed_caller", run<&unnamed_caller>},
    {"unnamed_source", run<&unnamed_source>},
    {"different_masks", run<&different_masks>},
    {"apart", run<&apart>},
    {"shuffles_int", run<&shuffles<int>>},
    {"shuffles_double", run<&shuffles<double>>},
    {"unwritten", run<&unwritten>},
    {"left_over", run<&left_over>},
    {"shift_without_barrier", run<&shift_without_barrier>},
    {"shift", run<&shift>},
    {"write_after_read", run<&write_after_read>},
    {"write_after_write", run<&write_after_write>},
    {"shift_after_shuffle", run<&shift_after_shuffle>},
    {"out_of_bounds", run<&out_of_bounds>},
    {"below_bounds", run<&below_bounds>},
    {"block_sums", run<&block_sums<true>>},
    {"block_sums_overtaking", run<&block_sums<false>>},
    {"two_large_arrays", run<&two_large_arrays>},
    {"large_array", run<&large_array>},
    {"indices", run<&indices>},
    {"wide_load", run<&wide_load>},
    {"throws", run<&throws>},
};

}  // namespace

void run_shim_case(const std::string& name, Dim grid, Dim block, const void* in, void* out) {
  const auto found = kCases.find(name);
  if (found == kCases.end()) throw std::invalid_argument("no shim case is named " + name);
  found->second({name.c_str(), grid, block, in, out});
}

}  // namespace gpgan::testing
