// From a dtype at run time to a type at compile time.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "kernels.h"

namespace gpgan {

// The type of sums.
template <typename T>
using acc_type = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Calls f with a value of the type for dtype. Types has the members float16 and bfloat16, the backend's half types.
template <typename Types, typename F>
void dispatch(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::kFloat32:
      return f(float{});
    case Dtype::kFloat64:
      return f(double{});
    case Dtype::kFloat16:
      return f(typename Types::float16{});
    case Dtype::kBFloat16:
      return f(typename Types::bfloat16{});
  }
  throw std::invalid_argument("gpgan: unknown dtype");
}

}  // namespace gpgan
