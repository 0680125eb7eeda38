// One fault for each tool of compute-sanitizer, to show that the tool would find such a fault in driver.cu.
//
//   planted memcheck | initcheck | racecheck | synccheck
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

namespace {

constexpr int kThreads = 64;

__global__ void past_the_end(int* out) { out[threadIdx.x + 1] = 1; }

__global__ void uninitialised(const int* in, int* out) { out[threadIdx.x] = in[threadIdx.x]; }

__global__ void race(int* out) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  out[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
}

__global__ void divergent_barrier(int* out) {
  if (threadIdx.x % 2) {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

}  // namespace

int main(int argc, char** argv) {
  const char* tool = argc > 1 ? argv[1] : "";
  int* in = nullptr;
  int* out = nullptr;
  if (cudaMalloc(&in, kThreads * sizeof(int)) != cudaSuccess ||
      cudaMalloc(&out, kThreads * sizeof(int)) != cudaSuccess) {
    std::fprintf(stderr, "planted: cudaMalloc failed\n");
    return 2;
  }
  if (std::strcmp(tool, "memcheck") == 0) {
    past_the_end<<<1, kThreads>>>(out);
  } else if (std::strcmp(tool, "initcheck") == 0) {
    uninitialised<<<1, kThreads>>>(in, out);
  } else if (std::strcmp(tool, "racecheck") == 0) {
    race<<<1, kThreads>>>(out);
  } else if (std::strcmp(tool, "synccheck") == 0) {
    divergent_barrier<<<1, kThreads>>>(out);
  } else {
    std::fprintf(stderr, "planted: the tool is %s; expected memcheck, initcheck, racecheck or synccheck\n", tool);
    return 2;
  }
  return cudaDeviceSynchronize() == cudaSuccess && cudaFree(in) == cudaSuccess && cudaFree(out) == cudaSuccess ? 0 : 1;
}
