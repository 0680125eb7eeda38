#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "kernels.h"

namespace gpgan::cuda {

namespace {

template <typename T, int kSize>
struct Interpolate {
  using acc_t = acc_type<T>;
  using Packed = Pack<T, kSize>;

  const T* real;
  const T* fake;
  const acc_t* alpha;
  T* x;
  int64_t length;

  struct Row {
    static constexpr int kPack = kSize;
    static constexpr int kInputs = 2;
    struct Loaded {
      Packed real, fake;
    };
    const T* real;
    const T* fake;
    T* x;
    acc_t alpha;

    __device__ __forceinline__ Loaded load(int64_t i) const { return {Packed::at(real + i), Packed::at(fake + i)}; }

    __device__ __forceinline__ acc_t use(const Loaded& in, int64_t i) const {
      Packed out;
#pragma unroll
      for (int k = 0; k < kSize; ++k) {
        from_acc(alpha * to_acc(in.real.values[k]) + (1 - alpha) * to_acc(in.fake.values[k]), out.values[k]);
      }
      out.put(x + i);
      return acc_t(0);
    }
  };

  __device__ __forceinline__ Row row(int64_t i) const {
    return {real + i * length, fake + i * length, x + i * length, alpha[i]};
  }
};

// x = alpha real + (1 - alpha) fake, and with grad = dL/dx
//   dL/dreal  = alpha grad
//   dL/dfake  = (1 - alpha) grad
//   dL/dalpha = <grad, real - fake>
// An output whose pointer is null is skipped; all threads take the same branches.
template <typename T, int kSize>
struct InterpolateBackward {
  using acc_t = acc_type<T>;
  using Packed = Pack<T, kSize>;

  const T* grad;
  const T* real;
  const T* fake;
  const acc_t* alpha;
  T* grad_real;
  T* grad_fake;
  bool want_alpha;
  int64_t length;

  struct Row {
    static constexpr int kPack = kSize;
    static constexpr int kInputs = 3;
    struct Loaded {
      Packed grad, real, fake;
    };
    InterpolateBackward at;
    int64_t begin;
    acc_t alpha;

    __device__ __forceinline__ Loaded load(int64_t i) const {
      Loaded out;
      out.grad = Packed::at(at.grad + begin + i);
      if (at.want_alpha) {
        out.real = Packed::at(at.real + begin + i);
        out.fake = Packed::at(at.fake + begin + i);
      }
      return out;
    }

    __device__ __forceinline__ void scaled(const Packed& in, acc_t factor, T* pointer) const {
      Packed out;
#pragma unroll
      for (int k = 0; k < kSize; ++k) {
        from_acc(factor * to_acc(in.values[k]), out.values[k]);
      }
      out.put(pointer);
    }

    __device__ __forceinline__ acc_t use(const Loaded& in, int64_t i) const {
      if (at.grad_real) {
        scaled(in.grad, alpha, at.grad_real + begin + i);
      }
      if (at.grad_fake) {
        scaled(in.grad, 1 - alpha, at.grad_fake + begin + i);
      }
      acc_t sum = 0;
      if (at.want_alpha) {
#pragma unroll
        for (int k = 0; k < kSize; ++k) {
          sum += to_acc(in.grad.values[k]) * (to_acc(in.real.values[k]) - to_acc(in.fake.values[k]));
        }
      }
      return sum;
    }
  };

  __device__ __forceinline__ Row row(int64_t i) const { return {*this, i * length, alpha[i]}; }
};

template <typename acc_t>
__global__ void __launch_bounds__(kThreads, kBlocks)
    add_chunks_kernel(const acc_t* __restrict__ sums, int64_t rows, int64_t chunks, acc_t* __restrict__ out) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const acc_t sum = chunks_sum(sums, row, rows, chunks);
  if (row < rows && threadIdx.x % kWarp == 0) {
    out[row] = sum;
  }
}

}  // namespace

void interpolate(const InterpolateArgs& args, Stream stream) {
  const Geometry geometry = geometry_of(args.rows);
  if (geometry.rows * geometry.length == 0) {
    return;
  }
  dispatch_pack(
      args.rows,
      [&](auto type, auto pack) {
        using T = decltype(type);
        using acc_t = acc_type<T>;
        using OpOf = Interpolate<T, decltype(pack)::value>;
        const OpOf op_of{static_cast<const T*>(args.real), static_cast<const T*>(args.fake),
                         static_cast<const acc_t*>(args.alpha), static_cast<T*>(args.x), geometry.length};
        launch("interpolate", elementwise_kernel<acc_t, OpOf>, blocks_for(geometry.items(), geometry.lanes), kThreads,
               static_cast<cudaStream_t>(stream), geometry, op_of);
      },
      args.real, args.fake, args.x);
}

void interpolate_backward(const InterpolateBackwardArgs& args, void* workspace, Stream stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const Geometry geometry = geometry_of(args.rows);
  if (geometry.rows == 0) {
    return;
  }
  dispatch_pack(
      args.rows,
      [&](auto type, auto pack) {
        using T = decltype(type);
        using acc_t = acc_type<T>;
        using OpOf = InterpolateBackward<T, decltype(pack)::value>;
        const OpOf op_of{static_cast<const T*>(args.grad), static_cast<const T*>(args.real),
                         static_cast<const T*>(args.fake), static_cast<const acc_t*>(args.alpha),
                         static_cast<T*>(args.grad_real),  static_cast<T*>(args.grad_fake),
                         args.grad_alpha != nullptr,       geometry.length};
        const unsigned blocks = blocks_for(geometry.items(), geometry.lanes);
        if (!args.grad_alpha) {
          launch("interpolate_backward", elementwise_kernel<acc_t, OpOf>, blocks, kThreads, stream, geometry, op_of);
          return;
        }
        auto* out = static_cast<acc_t*>(args.grad_alpha);
        auto* sums = geometry.chunks == 1 ? out : static_cast<acc_t*>(workspace);
        launch("interpolate_backward", item_sums_kernel<acc_t, OpOf>, blocks, kThreads, stream, geometry, op_of, sums);
        if (geometry.chunks > 1) {
          launch("interpolate_backward (sums)", add_chunks_kernel<acc_t>, blocks_for(geometry.rows, kWarp), kThreads,
                 stream, sums, geometry.rows, geometry.chunks, out);
        }
      },
      args.grad, args.real, args.fake, args.grad_real, args.grad_fake);
}

}  // namespace gpgan::cuda
