#include <cmath>

#include "common/formula.h"
#include "cpu/loops.h"
#include "cpu/rows.h"
#include "kernels.h"

namespace gpgan::cpu {

namespace {

// value = sum_i value(n_i), n_i = |g_i|. The one-pass form scales a row by c(n_i) with p = 1 and q = 0 (formula.h)
// while the row is still in the cache.
template <typename T>
void penalty_rows(const GradientNormPenaltyArgs& args, const Threads& threads) {
  using acc_t = acc_type<T>;
  const int64_t n = args.rows.length;
  const Formula<acc_t> formula(args.penalty, args.rows.count);
  const auto* grads = static_cast<const T*>(args.grads);
  auto* norms = static_cast<acc_t*>(args.norms);
  auto* value = static_cast<acc_t*>(args.value);
  auto* direction = static_cast<T*>(args.direction);
  const auto squares = [&](int64_t row, int64_t begin, int64_t length) {
    return sum_squares(grads + row * n + begin, length);
  };
  const auto root = [&](int64_t row, acc_t sum) { norms[row] = std::sqrt(sum); };
  const auto scaled = [&](int64_t row, int64_t begin, int64_t length) {
    const int64_t at = row * n + begin;
    scale(grads + at, formula.coefficient(norms[row], 1, 0), direction + at, length);
  };
  if (direction) {
    reduce_rows<T>(args.rows, threads, squares, root, scaled);
  } else {
    reduce_rows<T>(args.rows, threads, squares, root, nullptr);
  }
  double total = 0;
  for (int64_t row = 0; row < args.rows.count; ++row) {
    const acc_t of_row = formula.value(norms[row]);
    if (args.penalty.reduction == Reduction::kNone) {
      value[row] = of_row;
    }
    total += static_cast<double>(of_row);
  }
  if (args.penalty.reduction != Reduction::kNone) {
    *value = static_cast<acc_t>(total);
  }
}

// dL/dg_i = c(n_i) g_i with p = dL/dvalue and q = dL/dn_i (formula.h)
template <typename T>
void penalty_backward_rows(const GradientNormPenaltyBackwardArgs& args, const Threads& threads) {
  using acc_t = acc_type<T>;
  const int64_t n = args.rows.length;
  const bool each = args.penalty.reduction == Reduction::kNone;
  const Formula<acc_t> formula(args.penalty, args.rows.count);
  const auto* grad_value = static_cast<const acc_t*>(args.grad_value);
  const auto* grad_norms = static_cast<const acc_t*>(args.grad_norms);
  const auto* grads = static_cast<const T*>(args.grads);
  const auto* norms = static_cast<const acc_t*>(args.norms);
  auto* grad_grads = static_cast<T*>(args.grad_grads);
  for_each_span(args.rows, threads, [&](int64_t row, int64_t begin, int64_t length) {
    const int64_t at = row * n + begin;
    const acc_t p = grad_value ? grad_value[each ? row : 0] : 0;
    const acc_t q = grad_norms ? grad_norms[row] : 0;
    scale(grads + at, formula.coefficient(norms[row], p, q), grad_grads + at, length);
  });
}

}  // namespace

void gradient_norm_penalty(const GradientNormPenaltyArgs& args, const Threads& threads) {
  if (args.rows.count > 0) {
    dispatch<HalfTypes>(args.rows.dtype, [&](auto type) { penalty_rows<decltype(type)>(args, threads); });
  }
}

void gradient_norm_penalty_backward(const GradientNormPenaltyBackwardArgs& args, const Threads& threads) {
  if (args.rows.count > 0) {
    dispatch<HalfTypes>(args.rows.dtype, [&](auto type) { penalty_backward_rows<decltype(type)>(args, threads); });
  }
}

}  // namespace gpgan::cpu
