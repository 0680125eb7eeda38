// The functions that library.cpp registers; their schemas stand in gpgan/ops/.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "torch/tensors.h"

namespace gpgan::bindings {

Tensor interpolate(Tensor real, Tensor fake, Tensor alpha);
std::tuple<Tensor, Tensor, Tensor> interpolate_backward(Tensor grad, Tensor real, Tensor fake, Tensor alpha,
                                                        std::vector<bool> output_mask);
std::tuple<Tensor, Tensor> gradient_norm_penalty(Tensor grads, double weight, double target, bool one_sided,
                                                 std::string reduction);
std::tuple<Tensor, Tensor, Tensor> gradient_norm_penalty_with_direction(Tensor grads, double weight, double target,
                                                                        bool one_sided, std::string reduction);
Tensor gradient_norm_penalty_backward(std::optional<Tensor> grad_penalty, std::optional<Tensor> grad_norms,
                                      Tensor grads, Tensor norms, double weight, double target, bool one_sided,
                                      std::string reduction);

}  // namespace gpgan::bindings
