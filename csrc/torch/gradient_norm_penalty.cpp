// The operators gradient_norm_penalty, gradient_norm_penalty_with_direction and gradient_norm_penalty_backward; their
// schemas are in gpgan/ops/gradient_norm_penalty.py.
#include <torch/csrc/stable/library.h>

#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "torch/tensors.h"

namespace gpgan::bindings {

namespace {

// value, norms and, if asked for, direction.
std::tuple<Tensor, Tensor, Tensor> run(Tensor grads, const Penalty& penalty, bool with_direction) {
  const Rows rows = rows_of(grads, "grads");
  grads = dense(grads);
  const ScalarType acc = acc_scalar_type(grads);
  Tensor norms = torch::stable::new_empty(grads, {rows.count}, acc);
  Tensor value = penalty.reduction == Reduction::kNone ? torch::stable::new_empty(grads, {rows.count}, acc)
                                                       : torch::stable::new_empty(grads, {}, acc);
  Tensor direction = with_direction ? torch::stable::empty_like(grads) : none_of(grads);
  if (rows.count == 0 && penalty.reduction != Reduction::kNone) {
    // Nothing is launched: an empty sum is zero and an empty mean is NaN, as in torch.
    torch::stable::fill_(value, penalty.reduction == Reduction::kSum ? 0 : std::numeric_limits<double>::quiet_NaN());
  }
  const GradientNormPenaltyArgs args{rows,
                                     penalty,
                                     grads.const_data_ptr(),
                                     value.mutable_data_ptr(),
                                     norms.mutable_data_ptr(),
                                     with_direction ? direction.mutable_data_ptr() : nullptr};
  on_device_of(
      grads, [&] { cpu::gradient_norm_penalty(args, threads()); },
      [&](void* stream) {
        const Tensor workspace = workspace_for(rows, grads);
        cuda::gradient_norm_penalty(args, workspace.mutable_data_ptr(), stream);
      });
  return {value, norms, direction};
}

std::tuple<Tensor, Tensor> gradient_norm_penalty(Tensor grads, double weight, double target, bool one_sided,
                                                 std::string reduction) {
  auto [value, norms, direction] = run(grads, penalty_of(weight, target, one_sided, reduction), false);
  return {value, norms};
}

std::tuple<Tensor, Tensor, Tensor> gradient_norm_penalty_with_direction(Tensor grads, double weight, double target,
                                                                        bool one_sided, std::string reduction) {
  return run(grads, penalty_of(weight, target, one_sided, reduction), true);
}

Tensor gradient_norm_penalty_backward(std::optional<Tensor> grad_penalty, std::optional<Tensor> grad_norms,
                                      Tensor grads, Tensor norms, double weight, double target, bool one_sided,
                                      std::string reduction) {
  const Rows rows = rows_of(grads, "grads");
  const Penalty penalty = penalty_of(weight, target, one_sided, reduction);
  check_per_sample(norms, "norms", grads);
  norms = torch::stable::contiguous(norms);
  if (grad_penalty && penalty.reduction == Reduction::kNone) {
    check_per_sample(*grad_penalty, "grad_penalty", grads);
    grad_penalty = torch::stable::contiguous(*grad_penalty);
  } else if (grad_penalty) {
    STD_TORCH_CHECK(grad_penalty->numel() == 1 && grad_penalty->scalar_type() == norms.scalar_type() &&
                        grad_penalty->device() == grads.device(),
                    "grad_penalty is not one number in the dtype and on the device of norms");
  }
  if (grad_norms) {
    check_per_sample(*grad_norms, "grad_norms", grads);
    grad_norms = torch::stable::contiguous(*grad_norms);
  }
  grads = dense(grads);
  Tensor grad_grads = torch::stable::empty_like(grads);
  const GradientNormPenaltyBackwardArgs args{rows,
                                             penalty,
                                             pointer_or_null(grad_penalty),
                                             pointer_or_null(grad_norms),
                                             grads.const_data_ptr(),
                                             norms.const_data_ptr(),
                                             grad_grads.mutable_data_ptr()};
  on_device_of(
      grads, [&] { cpu::gradient_norm_penalty_backward(args, threads()); },
      [&](void* stream) { cuda::gradient_norm_penalty_backward(args, stream); });
  return grad_grads;
}

void implement(torch::stable::detail::StableLibrary& m) {
  m.impl("gradient_norm_penalty", TORCH_BOX(&gradient_norm_penalty));
  m.impl("gradient_norm_penalty_with_direction", TORCH_BOX(&gradient_norm_penalty_with_direction));
  m.impl("gradient_norm_penalty_backward", TORCH_BOX(&gradient_norm_penalty_backward));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gpgan, CPU, m) { implement(m); }

#ifdef GPGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(gpgan, CUDA, m) { implement(m); }
#endif

}  // namespace gpgan::bindings
