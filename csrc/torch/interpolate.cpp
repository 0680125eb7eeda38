// The operators interpolate and interpolate_backward; their schemas are in gpgan/ops/interpolate.py.
#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "torch/tensors.h"

namespace gpgan::bindings {

namespace {

Tensor interpolate(Tensor real, Tensor fake, Tensor alpha) {
  const Rows rows = rows_of(real, "real");
  check_like(fake, "fake", real, "real");
  check_per_sample(alpha, "alpha", real);
  real = dense(real);
  fake = dense_like(fake, real);
  alpha = torch::stable::contiguous(alpha);
  Tensor x = torch::stable::empty_like(real);
  const InterpolateArgs args{rows, real.const_data_ptr(), fake.const_data_ptr(), alpha.const_data_ptr(),
                             x.mutable_data_ptr()};
  on_device_of(
      real, [&] { cpu::interpolate(args, threads()); }, [&](void* stream) { cuda::interpolate(args, stream); });
  return x;
}

std::tuple<Tensor, Tensor, Tensor> interpolate_backward(Tensor grad, Tensor real, Tensor fake, Tensor alpha,
                                                        std::vector<bool> output_mask) {
  const Rows rows = rows_of(grad, "grad");
  check_like(real, "real", grad, "grad");
  check_like(fake, "fake", grad, "grad");
  check_per_sample(alpha, "alpha", grad);
  STD_TORCH_CHECK(output_mask.size() == 3, "output_mask has ", output_mask.size(), " entries; expected 3");
  grad = dense(grad);
  if (output_mask[2]) {
    real = dense_like(real, grad);
    fake = dense_like(fake, grad);
  }
  alpha = torch::stable::contiguous(alpha);
  Tensor grad_real = output_mask[0] ? torch::stable::empty_like(grad) : none_of(grad);
  Tensor grad_fake = output_mask[1] ? torch::stable::empty_like(grad) : none_of(grad);
  Tensor grad_alpha = output_mask[2] ? torch::stable::empty_like(alpha) : none_of(alpha);
  const InterpolateBackwardArgs args{rows,
                                     grad.const_data_ptr(),
                                     real.const_data_ptr(),
                                     fake.const_data_ptr(),
                                     alpha.const_data_ptr(),
                                     output_mask[0] ? grad_real.mutable_data_ptr() : nullptr,
                                     output_mask[1] ? grad_fake.mutable_data_ptr() : nullptr,
                                     output_mask[2] ? grad_alpha.mutable_data_ptr() : nullptr};
  on_device_of(
      grad, [&] { cpu::interpolate_backward(args, threads()); },
      [&](void* stream) {
        const Tensor workspace = workspace_for(rows, grad);
        cuda::interpolate_backward(args, workspace.mutable_data_ptr(), stream);
      });
  return {grad_real, grad_fake, grad_alpha};
}

void implement(torch::stable::detail::StableLibrary& m) {
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&interpolate_backward));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gpgan, CPU, m) { implement(m); }

#ifdef GPGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(gpgan, CUDA, m) { implement(m); }
#endif

}  // namespace gpgan::bindings
