#include "common/formula.h"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "kernels.h"

namespace gpgan::cuda {

namespace {

template <typename T, int kSize>
struct SumSquares {
  using acc_t = acc_type<T>;

  const T* grads;
  int64_t length;

  struct Row {
    static constexpr int kPack = kSize;
    static constexpr int kInputs = 1;
    using Loaded = Pack<T, kSize>;
    const T* grads;

    __device__ __forceinline__ Loaded load(int64_t i) const { return Loaded::at(grads + i); }

    __device__ __forceinline__ acc_t use(const Loaded& in, int64_t) const {
      acc_t sum = 0;
#pragma unroll
      for (int k = 0; k < kSize; ++k) {
        const acc_t value = to_acc(in.values[k]);
        sum += value * value;
      }
      return sum;
    }
  };

  __device__ __forceinline__ Row row(int64_t i) const { return {grads + i * length}; }
};

// out = factor g, the gradient of the penalty with respect to one row of g.
template <typename T, int kSize>
struct ScaleRow {
  static constexpr int kPack = kSize;
  static constexpr int kInputs = 1;
  using acc_t = acc_type<T>;
  using Loaded = Pack<T, kSize>;

  const T* grads;
  T* out;
  acc_t factor;

  __device__ __forceinline__ Loaded load(int64_t i) const { return Loaded::at(grads + i); }

  __device__ __forceinline__ acc_t use(const Loaded& in, int64_t i) const {
    Loaded result;
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      from_acc(factor * to_acc(in.values[k]), result.values[k]);
    }
    result.put(out + i);
    return acc_t(0);
  }
};

// dL/dg_i = c(n_i) g_i with p = dL/dvalue and q = dL/dn_i (formula.h). A null pointer means zero; unit_value means p =
// 1, for the direction of the one-pass form.
template <typename T, int kSize>
struct Backward {
  using acc_t = acc_type<T>;

  Formula<acc_t> formula;
  const acc_t* grad_value;
  const acc_t* grad_norms;
  const T* grads;
  const acc_t* norms;
  T* out;
  int64_t length;
  bool each;  // grad_value has one number per row
  bool unit_value;

  __device__ __forceinline__ ScaleRow<T, kSize> row(int64_t i) const {
    const acc_t p = unit_value ? acc_t(1) : grad_value ? grad_value[each ? i : 0] : acc_t(0);
    const acc_t q = grad_norms ? grad_norms[i] : acc_t(0);
    return {grads + i * length, out + i * length, formula.coefficient(norms[i], p, q)};
  }
};

// The outputs for a row once its norm is known. each: the values per row without a reduction, otherwise null.
template <typename acc_t>
struct Results {
  Formula<acc_t> formula;
  acc_t* norms;
  acc_t* each;
  acc_t* block_values;  // one sum of values per block, or null

  // One thread of the row writes its results; thread 0 writes the sum over the block's rows.
  __device__ __forceinline__ void finish(int64_t row, bool writes, acc_t norm) const {
    const acc_t value = writes ? formula.value(norm) : acc_t(0);
    if (writes) {
      norms[row] = norm;
      if (each) {
        each[row] = value;
      }
    }
    if (block_values) {
      const acc_t sum = block_sum(value);
      if (threadIdx.x == 0) {
        block_values[blockIdx.x] = sum;
      }
    }
  }
};

// value(n) of every row and n = |g|. If out is given, also out = c(n) g with p = 1 and q = 0, while g is in the cache.
template <typename T, int kSize>
__global__ void __launch_bounds__(kThreads, kBlocks)
    penalty_kernel(Geometry geometry, SumSquares<T, kSize> squares, Results<acc_type<T>> results, T* out) {
  using acc_t = acc_type<T>;
  const Place place = place_of(geometry);
  const auto row = squares.row(place.inside ? place.row : 0);
  const acc_t norm = sqrt(item_sum(over_item<acc_t>(place, geometry.lanes, row), geometry.lanes));
  results.finish(place.row, place.inside && place.lane == 0, norm);
  if (out) {
    const ScaleRow<T, kSize> scale{row.grads, out + place.row * geometry.length,
                                   results.formula.coefficient(norm, 1, 0)};
    over_item<acc_t>(place, geometry.lanes, scale);
  }
}

// The same from the sums of squares of a row's chunks, one warp per row.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads, kBlocks)
    finish_rows_kernel(const acc_t* __restrict__ sums, int64_t rows, int64_t chunks, Results<acc_t> results) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const acc_t norm = sqrt(chunks_sum(sums, row, rows, chunks));
  results.finish(row, row < rows && threadIdx.x % kWarp == 0, norm);
}

// One block: the sum over the blocks' sums, in an order that depends only on their number.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads, kBlocks)
    add_values_kernel(const acc_t* __restrict__ values, int64_t count, acc_t* __restrict__ out) {
  acc_t sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    sum += values[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *out = sum;
  }
}

template <typename T, int kSize>
void launch_backward(const Geometry& geometry, const Backward<T, kSize>& backward, cudaStream_t stream) {
  if (geometry.length > 0) {
    launch("gradient_norm_penalty_backward", elementwise_kernel<acc_type<T>, Backward<T, kSize>>,
           blocks_for(geometry.items(), geometry.lanes), kThreads, stream, geometry, backward);
  }
}

// The direction's alignment must not decide how the squares are added: where it alone forbids wide stores, the
// direction has a launch of its own.
template <typename T, int kSize>
void launch_penalty(const GradientNormPenaltyArgs& args, void* workspace, cudaStream_t stream) {
  using acc_t = acc_type<T>;
  Geometry geometry = geometry_of(args.rows);
  const Formula<acc_t> formula(args.penalty, args.rows.count);
  const SumSquares<T, kSize> squares{static_cast<const T*>(args.grads), geometry.length};
  auto* norms = static_cast<acc_t*>(args.norms);
  auto* value = static_cast<acc_t*>(args.value);
  auto* direction = static_cast<T*>(args.direction);
  auto* chunk_sums = static_cast<acc_t*>(workspace);
  auto* block_values = chunk_sums + (geometry.chunks > 1 ? geometry.items() : 0);
  const bool is_long = geometry.chunks > 1;
  const bool each = args.penalty.reduction == Reduction::kNone;
  const bool apart = is_long || (kSize > 1 && !aligned(direction));
  const unsigned blocks = is_long ? blocks_for(geometry.rows, kWarp) : blocks_for(geometry.rows, geometry.lanes);
  // With one block, its sum is the result.
  const Results<acc_t> results{formula, norms, each ? value : nullptr,
                               each          ? nullptr
                               : blocks == 1 ? value
                                             : block_values};
  if (is_long) {
    launch("gradient_norm_penalty (squares)", item_sums_kernel<acc_t, SumSquares<T, kSize>>,
           blocks_for(geometry.items(), geometry.lanes), kThreads, stream, geometry, squares, chunk_sums);
    launch("gradient_norm_penalty (rows)", finish_rows_kernel<acc_t>, blocks, kThreads, stream, chunk_sums,
           geometry.rows, geometry.chunks, results);
    geometry.from_last = true;
  } else {
    launch("gradient_norm_penalty", penalty_kernel<T, kSize>, blocks, kThreads, stream, geometry, squares, results,
           apart ? nullptr : direction);
  }
  if (direction && apart) {
    const auto write = [&](auto pack) {
      launch_backward(geometry,
                      Backward<T, decltype(pack)::value>{formula, nullptr, nullptr, squares.grads, norms, direction,
                                                         geometry.length, false, true},
                      stream);
    };
    if (aligned(direction)) {
      write(std::integral_constant<int, kSize>{});
    } else {
      write(std::integral_constant<int, 1>{});
    }
  }
  if (!each && blocks > 1) {
    launch("gradient_norm_penalty (value)", add_values_kernel<acc_t>, 1, kThreads, stream, block_values,
           static_cast<int64_t>(blocks), value);
  }
}

}  // namespace

// One sum per chunk if rows are long, and one per block of the launch that finishes rows.
int64_t workspace_bytes(const Rows& rows) {
  const Geometry geometry = geometry_of(rows);
  const bool is_long = geometry.chunks > 1;
  const int64_t blocks = blocks_for(rows.count, is_long ? kWarp : geometry.lanes);
  return ((is_long ? geometry.items() : 0) + blocks) * (rows.dtype == Dtype::kFloat64 ? 8 : 4);
}

void gradient_norm_penalty(const GradientNormPenaltyArgs& args, void* workspace, Stream stream) {
  if (args.rows.count == 0) {
    return;
  }
  dispatch_pack(
      args.rows,
      [&](auto type, auto pack) {
        launch_penalty<decltype(type), decltype(pack)::value>(args, workspace, static_cast<cudaStream_t>(stream));
      },
      args.grads);
}

void gradient_norm_penalty_backward(const GradientNormPenaltyBackwardArgs& args, Stream stream) {
  if (args.rows.count == 0) {
    return;
  }
  dispatch_pack(
      args.rows,
      [&](auto type, auto pack) {
        using T = decltype(type);
        using acc_t = acc_type<T>;
        const Geometry geometry = geometry_of(args.rows);
        const Backward<T, decltype(pack)::value> backward{Formula<acc_t>(args.penalty, args.rows.count),
                                                          static_cast<const acc_t*>(args.grad_value),
                                                          static_cast<const acc_t*>(args.grad_norms),
                                                          static_cast<const T*>(args.grads),
                                                          static_cast<const acc_t*>(args.norms),
                                                          static_cast<T*>(args.grad_grads),
                                                          geometry.length,
                                                          args.penalty.reduction == Reduction::kNone,
                                                          false};
        launch_backward(geometry, backward, static_cast<cudaStream_t>(stream));
      },
      args.grads, args.grad_grads);
}

}  // namespace gpgan::cuda
