// What every operator does with tensors before and after its kernel: checks against memory errors, dense rows, results,
// the caller's threads and the current stream. Python checks arguments with helpful messages; the checks here only keep
// a direct call of torch.ops.gpgan from accessing invalid memory.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels.h"

// torch's shim.h declares it only if torch was built with CUDA; it is null if the running torch was not.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index,
                                                                                   void** ret_stream);

namespace gpgan::bindings {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline Dtype dtype_of(const Tensor& samples, const char* name) {
  switch (samples.scalar_type()) {
    case ScalarType::Float:
      return Dtype::kFloat32;
    case ScalarType::Half:
      return Dtype::kFloat16;
    case ScalarType::BFloat16:
      return Dtype::kBFloat16;
    case ScalarType::Double:
      return Dtype::kFloat64;
    default:
      STD_TORCH_CHECK(false, name,
                      " has a dtype without a gpgan kernel; expected float32, float16, bfloat16 or float64");
  }
}

// The dtype of sums, norms and alpha.
inline ScalarType acc_scalar_type(const Tensor& samples) {
  return samples.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Rows rows_of(const Tensor& samples, const char* name) {
  STD_TORCH_CHECK(samples.dim() > 0, name, " is a scalar; expected shape [B, ...]");
  const int64_t count = samples.size(0);
  return {count, count ? samples.numel() / count : 0, dtype_of(samples, name)};
}

inline void check_like(const Tensor& value, const char* name, const Tensor& samples, const char* samples_name) {
  const auto sizes = value.sizes();
  const auto expected = samples.sizes();
  STD_TORCH_CHECK(sizes.size() == expected.size() && std::equal(sizes.begin(), sizes.end(), expected.begin()) &&
                      value.scalar_type() == samples.scalar_type() && value.device() == samples.device(),
                  name, " and ", samples_name, " differ in shape, dtype or device; expected the same");
}

// One number per sample, [B], in the dtype of sums.
inline void check_per_sample(const Tensor& value, const char* name, const Tensor& samples) {
  STD_TORCH_CHECK(value.dim() == 1 && value.size(0) == samples.size(0) &&
                      value.scalar_type() == acc_scalar_type(samples) && value.device() == samples.device(),
                  name, " is not one number per sample, [B], float32 (float64 for float64), on the samples' device");
}

// Whether each sample is one row without gaps and rows are adjacent; the order inside a row does not matter.
// gpgan/ops/_layout.py has the same function for tracing.
inline bool is_row_dense(const Tensor& samples) {
  if (samples.is_contiguous()) {
    return true;
  }
  std::vector<std::pair<int64_t, int64_t>> inner;  // stride, size
  for (int64_t d = 1; d < samples.dim(); ++d) {
    inner.emplace_back(samples.stride(d), samples.size(d));
  }
  std::sort(inner.begin(), inner.end());
  int64_t expected = 1;
  for (const auto& [stride, size] : inner) {
    if (size != 1) {
      if (stride != expected) {
        return false;
      }
      expected *= size;
    }
  }
  return samples.size(0) <= 1 || samples.stride(0) == expected;
}

inline Tensor dense(const Tensor& samples) {
  return is_row_dense(samples) ? samples : torch::stable::contiguous(samples);
}

// value in the element order of samples, which is dense.
inline Tensor dense_like(const Tensor& value, const Tensor& samples) {
  const auto strides = value.strides();
  const auto expected = samples.strides();
  if (std::equal(strides.begin(), strides.end(), expected.begin()) ||
      (value.is_contiguous() && samples.is_contiguous())) {
    return value;
  }
  Tensor copy = torch::stable::empty_like(samples);
  return torch::stable::copy_(copy, value);
}

inline Tensor none_of(const Tensor& like) { return torch::stable::new_empty(like, {0}, like.scalar_type()); }

inline Penalty penalty_of(double weight, double target, bool one_sided, const std::string& reduction) {
  STD_TORCH_CHECK(reduction == "mean" || reduction == "sum" || reduction == "none", "reduction is '", reduction,
                  "'; expected 'mean', 'sum' or 'none'");
  const Reduction how = reduction == "mean"  ? Reduction::kMean
                        : reduction == "sum" ? Reduction::kSum
                                             : Reduction::kNone;
  return {weight, target, one_sided, how};
}

inline const void* pointer_or_null(const std::optional<Tensor>& value) {
  return value ? value->const_data_ptr() : nullptr;
}

// torch's threads, for the CPU kernels.
inline cpu::Threads threads() {
  return {torch::stable::get_num_threads(), [](int64_t count, int64_t grain, cpu::Body body, void* state) {
            TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, grain, body, state));
          }};
}

// Calls on_cpu() or on_cuda(stream), depending on the device of samples, with that device as the current one.
template <typename OnCpu, typename OnCuda>
void on_device_of(const Tensor& samples, OnCpu&& on_cpu, [[maybe_unused]] OnCuda&& on_cuda) {
  if (!samples.is_cuda()) {
    return on_cpu();
  }
#ifdef GPGAN_WITH_CUDA
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream, "the running torch was built without CUDA");
  const torch::stable::accelerator::DeviceGuard guard(samples.get_device_index());
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(samples.get_device_index(), &stream));
  on_cuda(stream);
#else
  STD_TORCH_CHECK(false, "gpgan was built without CUDA; rebuild it with GPGAN_CUDA=1");
#endif
}

// Scratch memory for a kernel's partial sums, on the device of samples.
inline Tensor workspace_for(const Rows& rows, const Tensor& samples) {
  return torch::stable::new_empty(samples, {cuda::workspace_bytes(rows)}, ScalarType::Byte);
}

}  // namespace gpgan::bindings
