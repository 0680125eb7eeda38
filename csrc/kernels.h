// The interface between the kernels and their callers.
//
// There are B samples of N elements, one contiguous row per sample, and no gaps between rows. T is the dtype of the
// rows, acc_t the type of sums: double for float64, float for every other dtype. In namespace cuda, pointers are device
// pointers. A function returns at once for an empty batch (B = 0), and throws std::runtime_error if a launch fails.
#pragma once

#include <cstdint>

namespace gpgan {

enum class Dtype : int32_t { kFloat32, kFloat16, kBFloat16, kFloat64 };

enum class Reduction : int32_t { kMean, kSum, kNone };

struct Rows {
  int64_t count;   // B
  int64_t length;  // N
  Dtype dtype;     // T
};

// P = weight * reduce(excess(n)^2), n = |g|, excess(n) = n - target, and if one_sided 0 below the target.
struct Penalty {
  double weight;
  double target;
  bool one_sided;
  Reduction reduction;
};

struct InterpolateArgs {
  Rows rows;
  const void* real;   // [B, N] T
  const void* fake;   // [B, N] T
  const void* alpha;  // [B] acc_t
  void* x;            // [B, N] T, out
};

// An output that is null is not computed; real and fake are read only for grad_alpha.
struct InterpolateBackwardArgs {
  Rows rows;
  const void* grad;   // [B, N] T
  const void* real;   // [B, N] T
  const void* fake;   // [B, N] T
  const void* alpha;  // [B] acc_t
  void* grad_real;    // [B, N] T, out
  void* grad_fake;    // [B, N] T, out
  void* grad_alpha;   // [B] acc_t, out
};

// With direction, the one-pass form: value, norms and v = dP/dg together. Without it (null), value and norms.
struct GradientNormPenaltyArgs {
  Rows rows;
  Penalty penalty;
  const void* grads;  // [B, N] T
  void* value;        // [] acc_t, or [B] if the reduction is none, out
  void* norms;        // [B] acc_t, out
  void* direction;    // [B, N] T, out, or null
};

struct GradientNormPenaltyBackwardArgs {
  Rows rows;
  Penalty penalty;
  const void* grad_value;  // as value, or null for zero
  const void* grad_norms;  // [B] acc_t, or null for zero
  const void* grads;       // [B, N] T
  const void* norms;       // [B] acc_t
  void* grad_grads;        // [B, N] T, out
};

namespace cpu {

// The caller's threads. parallel_for runs body over disjoint ranges that cover [0, count); only the last may be shorter
// than grain. Results depend neither on the number of threads nor on the ranges.
using Body = void (*)(int64_t begin, int64_t end, void* state);

struct Threads {
  int64_t count;
  void (*parallel_for)(int64_t count, int64_t grain, Body body, void* state);
};

void interpolate(const InterpolateArgs& args, const Threads& threads);
void interpolate_backward(const InterpolateBackwardArgs& args, const Threads& threads);
void gradient_norm_penalty(const GradientNormPenaltyArgs& args, const Threads& threads);
void gradient_norm_penalty_backward(const GradientNormPenaltyBackwardArgs& args, const Threads& threads);

}  // namespace cpu

namespace cuda {

using Stream = void*;  // cudaStream_t

// Bytes of device memory that interpolate_backward and gradient_norm_penalty need for their partial sums.
int64_t workspace_bytes(const Rows& rows);

void interpolate(const InterpolateArgs& args, Stream stream);
void interpolate_backward(const InterpolateBackwardArgs& args, void* workspace, Stream stream);
void gradient_norm_penalty(const GradientNormPenaltyArgs& args, void* workspace, Stream stream);
void gradient_norm_penalty_backward(const GradientNormPenaltyBackwardArgs& args, Stream stream);

}  // namespace cuda

}  // namespace gpgan
