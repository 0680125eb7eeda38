// How rows are mapped to threads, and sums over rows. Everything follows from the shape, and from whether the rows that
// are summed begin at a 16-byte address, never from the device or from other arguments: the same input gives the same
// bits on every device. There are no atomics.
//
//   short rows   (to 4 KiB)   1 to 32 lanes of a warp per row
//   middle rows  (to 48 KiB)  one block per row
//   long rows                 one block per chunk of 32 KiB; a second launch adds the chunks' sums
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "common/dtype.h"
#include "cuda/platform.cuh"
#include "cuda/vec.cuh"
#include "kernels.h"

namespace gpgan::cuda {

constexpr int kThreads = 256;
constexpr int kBlocks = 4;  // blocks that must fit on a multiprocessor: at most 64 registers per thread, none spilled
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr int kInFlight = 4;  // packs that a thread loads before it uses one: 64 bytes
constexpr int64_t kShortBytes = 4 << 10;
constexpr int64_t kMiddleBytes = 48 << 10;
constexpr int64_t kChunkBytes = 32 << 10;
constexpr unsigned kAllLanes = 0xffffffffu;

// An item is a chunk of a row. `lanes` neighbouring threads of a block, a power of two, process it.
struct Geometry {
  int64_t rows;
  int64_t length;  // elements per row
  int64_t chunk;   // elements per item
  int64_t chunks;  // items per row
  int lanes;       // threads per item
  bool from_last;  // last item first: what the previous launch read last is still in the second-level cache

  int64_t items() const { return rows * chunks; }
};

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int64_t size_of(Dtype dtype) { return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2; }

inline Geometry geometry_of(const Rows& rows) {
  const int64_t bytes = rows.length * size_of(rows.dtype);
  Geometry geometry{rows.count, rows.length, rows.length, 1, kThreads, false};
  if (bytes <= kShortBytes) {
    geometry.lanes = 1;
    while (geometry.lanes < kWarp && geometry.lanes * kInFlight * kPackBytes < bytes) {
      geometry.lanes *= 2;
    }
  } else if (bytes > kMiddleBytes) {
    geometry.chunk = kChunkBytes / size_of(rows.dtype);
    geometry.chunks = divide_up(rows.length, geometry.chunk);
  }
  return geometry;
}

inline unsigned blocks_for(int64_t items, int lanes) {
  const int64_t blocks = divide_up(items * lanes, kThreads);
  if (blocks > INT32_MAX) {
    throw std::runtime_error("gpgan: the batch has more rows than one launch can process; split it");
  }
  return static_cast<unsigned>(blocks);
}

// The part of a row that a thread works on.
struct Place {
  int64_t row;
  int64_t chunk;
  int64_t begin;  // elements [begin, end) of the row
  int64_t end;
  int lane;
  bool inside;  // the last block may have threads without an item; they still take part in block-wide sums
};

__device__ __forceinline__ Place place_of(const Geometry& geometry) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t items = geometry.rows * geometry.chunks;
  int64_t item = thread / geometry.lanes;
  Place place;
  place.inside = item < items;
  item = geometry.from_last ? items - 1 - item : item;
  place.row = geometry.chunks == 1 ? item : item / geometry.chunks;
  place.chunk = item - place.row * geometry.chunks;
  place.begin = place.chunk * geometry.chunk;
  place.end = place.begin + geometry.chunk < geometry.length ? place.begin + geometry.chunk : geometry.length;
  place.lane = static_cast<int>(threadIdx.x) & (geometry.lanes - 1);
  return place;
}

// Sum over the packs in this thread's share of an item. Op has kPack, kInputs, Loaded, load(position) and
// use(loaded, position), which writes results and returns its contribution to the sum. Several loads are issued before
// the first is used.
template <typename acc_t, typename Op>
__device__ __forceinline__ acc_t over_item(const Place& place, int lanes, const Op& op) {
  if (!place.inside) {
    return acc_t(0);
  }
  constexpr int kUnroll = kInFlight / Op::kInputs;
  acc_t sum = 0;
  const int64_t stride = static_cast<int64_t>(lanes) * Op::kPack;
  int64_t i = place.begin + static_cast<int64_t>(place.lane) * Op::kPack;
  if constexpr (kUnroll > 1) {
    for (; i + (kUnroll - 1) * stride < place.end; i += kUnroll * stride) {
      typename Op::Loaded loaded[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        loaded[u] = op.load(i + u * stride);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        sum += op.use(loaded[u], i + u * stride);
      }
    }
  }
#pragma unroll 1
  for (; i < place.end; i += stride) {
    sum += op.use(op.load(i), i);
  }
  return sum;
}

// Sum over each group of `lanes` neighbouring lanes of a warp; every lane of the group gets it.
template <typename acc_t>
__device__ __forceinline__ acc_t warp_sum(acc_t value, int lanes = kWarp) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

// Sum over the block; every thread gets it. All threads must call it.
template <typename acc_t>
__device__ __forceinline__ acc_t block_sum(acc_t value) {
  __shared__ SharedArray<acc_t, kWarps> sums;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  value = warp_sum(value);
  if (lane == 0) {
    sums[static_cast<int>(threadIdx.x) / kWarp] = value;
  }
  __syncthreads();
  value = warp_sum(lane < kWarps ? static_cast<acc_t>(sums[lane]) : acc_t(0));
  __syncthreads();  // before the next call overwrites sums
  return value;
}

// Sum over the threads of an item; each of them gets it. All threads of the block must call it.
template <typename acc_t>
__device__ __forceinline__ acc_t item_sum(acc_t value, int lanes) {
  return lanes == kThreads ? block_sum(value) : warp_sum(value, lanes);
}

// op_of.row(row) is the Op for a row.
template <typename acc_t, typename OpOf>
__global__ void __launch_bounds__(kThreads, kBlocks) elementwise_kernel(Geometry geometry, OpOf op_of) {
  const Place place = place_of(geometry);
  if (place.inside) {
    over_item<acc_t>(place, geometry.lanes, op_of.row(place.row));
  }
}

// sums[row, chunk] is the sum over that item.
template <typename acc_t, typename OpOf>
__global__ void __launch_bounds__(kThreads, kBlocks)
    item_sums_kernel(Geometry geometry, OpOf op_of, acc_t* __restrict__ sums) {
  const Place place = place_of(geometry);
  const acc_t mine = over_item<acc_t>(place, geometry.lanes, op_of.row(place.inside ? place.row : 0));
  const acc_t sum = item_sum(mine, geometry.lanes);
  if (place.inside && place.lane == 0) {
    sums[place.row * geometry.chunks + place.chunk] = sum;
  }
}

// One warp per row: the sum over its chunks, in an order that depends only on their number. Every lane gets it.
template <typename acc_t>
__device__ __forceinline__ acc_t chunks_sum(const acc_t* __restrict__ sums, int64_t row, int64_t rows, int64_t chunks) {
  acc_t sum = 0;
  if (row < rows) {
    for (int64_t i = threadIdx.x % kWarp; i < chunks; i += kWarp) {
      sum += sums[row * chunks + i];
    }
  }
  return warp_sum(sum);
}

}  // namespace gpgan::cuda
