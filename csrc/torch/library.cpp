// Registration alone: the kernels under the schemas that gpgan/ops/ defines.
#include <torch/csrc/stable/library.h>

#include "torch/operators.h"

namespace {

void implement(torch::stable::detail::StableLibrary& m) {
  m.impl("interpolate", TORCH_BOX(&gpgan::bindings::interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&gpgan::bindings::interpolate_backward));
  m.impl("gradient_norm_penalty", TORCH_BOX(&gpgan::bindings::gradient_norm_penalty));
  m.impl("gradient_norm_penalty_with_direction", TORCH_BOX(&gpgan::bindings::gradient_norm_penalty_with_direction));
  m.impl("gradient_norm_penalty_backward", TORCH_BOX(&gpgan::bindings::gradient_norm_penalty_backward));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gpgan, CPU, m) { implement(m); }

#ifdef GPGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(gpgan, CUDA, m) { implement(m); }
#endif

// Space-separated compute capabilities that the library holds CUDA code for, as setup.py passed them to nvcc.
extern "C" __attribute__((visibility("default"))) const char* gpgan_cuda_architectures() {
#ifdef GPGAN_WITH_CUDA
  return GPGAN_CUDA_ARCHITECTURES;
#else
  return "";
#endif
}
