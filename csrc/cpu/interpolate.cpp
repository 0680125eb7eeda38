#include "cpu/loops.h"
#include "cpu/rows.h"
#include "kernels.h"

namespace gpgan::cpu {

namespace {

template <typename T>
void interpolate_rows(const InterpolateArgs& args, const Threads& threads) {
  using acc_t = acc_type<T>;
  const int64_t n = args.rows.length;
  const auto* real = static_cast<const T*>(args.real);
  const auto* fake = static_cast<const T*>(args.fake);
  const auto* alpha = static_cast<const acc_t*>(args.alpha);
  auto* x = static_cast<T*>(args.x);
  for_each_span(args.rows, threads, [&](int64_t row, int64_t begin, int64_t length) {
    const int64_t at = row * n + begin;
    combine(alpha[row], real + at, 1 - alpha[row], fake + at, x + at, length);
  });
}

// x = alpha real + (1 - alpha) fake, and with grad = dL/dx
//   dL/dreal  = alpha grad
//   dL/dfake  = (1 - alpha) grad
//   dL/dalpha = <grad, real - fake>
template <typename T>
void interpolate_backward_rows(const InterpolateBackwardArgs& args, const Threads& threads) {
  using acc_t = acc_type<T>;
  const int64_t n = args.rows.length;
  const auto* grad = static_cast<const T*>(args.grad);
  const auto* real = static_cast<const T*>(args.real);
  const auto* fake = static_cast<const T*>(args.fake);
  const auto* alpha = static_cast<const acc_t*>(args.alpha);
  auto* grad_real = static_cast<T*>(args.grad_real);
  auto* grad_fake = static_cast<T*>(args.grad_fake);
  auto* grad_alpha = static_cast<acc_t*>(args.grad_alpha);
  const auto elements = [&](int64_t row, int64_t begin, int64_t length) {
    const int64_t at = row * n + begin;
    if (grad_real) {
      scale(grad + at, alpha[row], grad_real + at, length);
    }
    if (grad_fake) {
      scale(grad + at, 1 - alpha[row], grad_fake + at, length);
    }
  };
  if (!grad_alpha) {
    for_each_span(args.rows, threads, elements);
    return;
  }
  reduce_rows<T>(
      args.rows, threads,
      [&](int64_t row, int64_t begin, int64_t length) {
        const int64_t at = row * n + begin;
        elements(row, begin, length);
        return dot_difference(grad + at, real + at, fake + at, length);
      },
      [&](int64_t row, acc_t sum) { grad_alpha[row] = sum; }, nullptr);
}

}  // namespace

void interpolate(const InterpolateArgs& args, const Threads& threads) {
  dispatch<HalfTypes>(args.rows.dtype, [&](auto type) { interpolate_rows<decltype(type)>(args, threads); });
}

void interpolate_backward(const InterpolateBackwardArgs& args, const Threads& threads) {
  dispatch<HalfTypes>(args.rows.dtype, [&](auto type) { interpolate_backward_rows<decltype(type)>(args, threads); });
}

}  // namespace gpgan::cpu
