// The penalty of one sample as a function of the norm n of its gradient, for both backends.
//
//   value(n) = k excess(n)^2        k = weight / B for a mean, otherwise weight
//   excess(n) = n - target          one-sided: 0 below the target
//   slope(n) = d value / d n = 2 k excess(n)
//
// With g the gradient, n = |g| and so dn/dg = g / n, the gradient of p * value + q * n with respect to g is c g,
//   c = (p slope(n) + q) / n, and 0 at n = 0, the subgradient that vector_norm uses.
// Comparisons are written so that a NaN propagates.
#pragma once

#include "kernels.h"

#ifdef __CUDACC__
#define GPGAN_HOST_DEVICE __host__ __device__
#else
#define GPGAN_HOST_DEVICE
#endif

namespace gpgan {

template <typename acc_t>
struct Formula {
  acc_t scale;
  acc_t target;
  bool one_sided;

  Formula(const Penalty& penalty, int64_t batch)
      : scale(static_cast<acc_t>(penalty.reduction == Reduction::kMean ? penalty.weight / static_cast<double>(batch)
                                                                       : penalty.weight)),
        target(static_cast<acc_t>(penalty.target)),
        one_sided(penalty.one_sided) {}

  GPGAN_HOST_DEVICE acc_t excess(acc_t norm) const {
    const acc_t over = norm - target;
    return one_sided && over < acc_t(0) ? acc_t(0) : over;
  }

  GPGAN_HOST_DEVICE acc_t value(acc_t norm) const { return scale * excess(norm) * excess(norm); }

  GPGAN_HOST_DEVICE acc_t coefficient(acc_t norm, acc_t grad_value, acc_t grad_norm) const {
    return norm == acc_t(0) ? acc_t(0) : (grad_value * (2 * scale * excess(norm)) + grad_norm) / norm;
  }
};

}  // namespace gpgan
