// The kernels as a Python module on NumPy arrays, for tests: backend "cpu", and backend "cuda" run on the CPU. Arrays
// are passed as they are, outputs included, so that a test chooses their alignment and the memory around them. None is
// a null pointer.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"
#ifdef GPGAN_HOST_CUDA
#include "testing/cuda_on_host.h"
#include "testing/shim_cases.h"
#endif

namespace py = pybind11;

namespace {

using gpgan::Dtype;
using gpgan::Penalty;
using gpgan::Reduction;
using gpgan::Rows;

// Into how many pieces work is cut and in which order they run; results must not depend on it. "cuda" ignores pieces.
struct Schedule {
  int pieces = 1;
  std::string order = "forward";  // "forward", "reversed" or "threads": one thread per piece
};
Schedule schedule;

void run_pieces(int64_t count, int64_t grain, gpgan::cpu::Body body, void* state) {
  const int64_t size = std::max(grain, (count + schedule.pieces - 1) / schedule.pieces);
  std::vector<int64_t> begins;
  for (int64_t begin = 0; begin < count; begin += size) begins.push_back(begin);
  if (schedule.order == "reversed") std::reverse(begins.begin(), begins.end());
  std::vector<std::thread> threads;
  for (int64_t begin : begins) {
    const auto piece = [=] { body(begin, std::min(begin + size, count), state); };
    if (schedule.order == "threads") {
      threads.emplace_back(piece);
    } else {
      piece();
    }
  }
  for (std::thread& thread : threads) thread.join();
}

void set_schedule(int pieces, const std::string& order) {
  if (pieces < 1) throw py::value_error("pieces is " + std::to_string(pieces) + "; expected 1 or more");
  if (order != "forward" && order != "reversed" && order != "threads") {
    throw py::value_error("order is '" + order + "'; expected forward, reversed or threads");
  }
  schedule = {pieces, order};
#ifdef GPGAN_HOST_CUDA
  gpgan::cuda::on_host::simulator.reversed = order == "reversed";
#endif
}

struct Call {
  bool cuda;
  Rows rows;
  py::ssize_t size, acc_size;  // bytes of an element and of a sum

  Call(const std::string& backend, const std::string& dtype, int64_t count, int64_t length) : cuda(backend == "cuda") {
    static const std::map<std::string, Dtype> dtypes = {{"float32", Dtype::kFloat32},
                                                        {"float16", Dtype::kFloat16},
                                                        {"bfloat16", Dtype::kBFloat16},
                                                        {"float64", Dtype::kFloat64}};
    if (!cuda && backend != "cpu") throw py::value_error("backend is '" + backend + "'; expected cpu or cuda");
#ifndef GPGAN_HOST_CUDA
    if (cuda) throw std::runtime_error("gpgan_host was built without CUDA's headers");
#endif
    const auto found = dtypes.find(dtype);
    if (found == dtypes.end()) throw py::value_error("dtype is '" + dtype + "'");
    rows = {count, length, found->second};
    size = rows.dtype == Dtype::kFloat64 ? 8 : rows.dtype == Dtype::kFloat32 ? 4 : 2;
    acc_size = rows.dtype == Dtype::kFloat64 ? 8 : 4;
  }

  int64_t elements() const { return rows.count * rows.length; }
};

// The array's own memory; None is null.
void* pointer(const char* name, const py::object& value, int64_t count, py::ssize_t size, bool writes) {
  if (value.is_none()) return nullptr;
  if (!py::isinstance<py::array>(value)) throw py::type_error(std::string(name) + " is not an array");
  const auto array = py::reinterpret_borrow<py::array>(value);
  if (array.size() != count || array.itemsize() != size || !(array.flags() & py::array::c_style)) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(count) + " contiguous elements of " +
                          std::to_string(size) + " bytes, got " + std::to_string(array.size()) + " of " +
                          std::to_string(array.itemsize()));
  }
  if (writes && !array.writeable()) throw py::value_error(std::string(name) + " is not writeable");
  return const_cast<void*>(array.data());
}

Penalty penalty_of(double weight, double target, bool one_sided, const std::string& reduction) {
  static const std::map<std::string, Reduction> reductions = {
      {"mean", Reduction::kMean}, {"sum", Reduction::kSum}, {"none", Reduction::kNone}};
  return {weight, target, one_sided, reductions.at(reduction)};
}

#ifdef GPGAN_HOST_CUDA
// Exactly the bytes that the kernel asks for, all NaN, followed by a sentinel that must stay unchanged.
class Workspace {
 public:
  explicit Workspace(const Rows& rows) : size_(static_cast<size_t>(gpgan::cuda::workspace_bytes(rows))) {
    memory_.assign(size_ / sizeof(double) + kSentinel, 0);
    std::memset(memory_.data(), 0xff, size_);
    std::memset(bytes() + size_, kByte, memory_.size() * sizeof(double) - size_);
  }
  void* data() { return memory_.data(); }
  void verify() {
    const unsigned char* end = bytes() + memory_.size() * sizeof(double);
    if (std::any_of(bytes() + size_, const_cast<unsigned char*>(end),
                    [](unsigned char byte) { return byte != kByte; })) {
      throw std::runtime_error("the workspace was written past its " + std::to_string(size_) + " bytes");
    }
  }

 private:
  static constexpr size_t kSentinel = 64;
  static constexpr unsigned char kByte = 0x5a;
  unsigned char* bytes() { return reinterpret_cast<unsigned char*>(memory_.data()); }
  size_t size_;
  std::vector<double> memory_;
};
#endif

void interpolate(const std::string& backend, const std::string& dtype, int64_t count, int64_t length,
                 const py::object& real, const py::object& fake, const py::object& alpha, const py::object& x) {
  const Call call(backend, dtype, count, length);
  const int64_t n = call.elements();
  const gpgan::InterpolateArgs args{
      call.rows, pointer("real", real, n, call.size, false), pointer("fake", fake, n, call.size, false),
      pointer("alpha", alpha, count, call.acc_size, false), pointer("x", x, n, call.size, true)};
  if (!call.cuda) return gpgan::cpu::interpolate(args, {schedule.pieces, run_pieces});
#ifdef GPGAN_HOST_CUDA
  gpgan::cuda::interpolate(args, nullptr);
#endif
}

void interpolate_backward(const std::string& backend, const std::string& dtype, int64_t count, int64_t length,
                          const py::object& grad, const py::object& real, const py::object& fake,
                          const py::object& alpha, const py::object& grad_real, const py::object& grad_fake,
                          const py::object& grad_alpha) {
  const Call call(backend, dtype, count, length);
  const int64_t n = call.elements();
  const gpgan::InterpolateBackwardArgs args{call.rows,
                                            pointer("grad", grad, n, call.size, false),
                                            pointer("real", real, n, call.size, false),
                                            pointer("fake", fake, n, call.size, false),
                                            pointer("alpha", alpha, count, call.acc_size, false),
                                            pointer("grad_real", grad_real, n, call.size, true),
                                            pointer("grad_fake", grad_fake, n, call.size, true),
                                            pointer("grad_alpha", grad_alpha, count, call.acc_size, true)};
  if (!call.cuda) return gpgan::cpu::interpolate_backward(args, {schedule.pieces, run_pieces});
#ifdef GPGAN_HOST_CUDA
  Workspace workspace(call.rows);
  gpgan::cuda::interpolate_backward(args, workspace.data(), nullptr);
  workspace.verify();
#endif
}

void gradient_norm_penalty(const std::string& backend, const std::string& dtype, int64_t count, int64_t length,
                           const py::object& grads, const py::object& value, const py::object& norms,
                           const py::object& direction, double weight, double target, bool one_sided,
                           const std::string& reduction) {
  const Call call(backend, dtype, count, length);
  const Penalty penalty = penalty_of(weight, target, one_sided, reduction);
  const int64_t values = penalty.reduction == Reduction::kNone ? count : 1;
  const gpgan::GradientNormPenaltyArgs args{call.rows,
                                            penalty,
                                            pointer("grads", grads, call.elements(), call.size, false),
                                            pointer("value", value, values, call.acc_size, true),
                                            pointer("norms", norms, count, call.acc_size, true),
                                            pointer("direction", direction, call.elements(), call.size, true)};
  if (!call.cuda) return gpgan::cpu::gradient_norm_penalty(args, {schedule.pieces, run_pieces});
#ifdef GPGAN_HOST_CUDA
  Workspace workspace(call.rows);
  gpgan::cuda::gradient_norm_penalty(args, workspace.data(), nullptr);
  workspace.verify();
#endif
}

void gradient_norm_penalty_backward(const std::string& backend, const std::string& dtype, int64_t count, int64_t length,
                                    const py::object& grad_value, const py::object& grad_norms, const py::object& grads,
                                    const py::object& norms, const py::object& grad_grads, double weight, double target,
                                    bool one_sided, const std::string& reduction) {
  const Call call(backend, dtype, count, length);
  const Penalty penalty = penalty_of(weight, target, one_sided, reduction);
  const int64_t values = penalty.reduction == Reduction::kNone ? count : 1;
  const gpgan::GradientNormPenaltyBackwardArgs args{
      call.rows,
      penalty,
      pointer("grad_value", grad_value, values, call.acc_size, false),
      pointer("grad_norms", grad_norms, count, call.acc_size, false),
      pointer("grads", grads, call.elements(), call.size, false),
      pointer("norms", norms, count, call.acc_size, false),
      pointer("grad_grads", grad_grads, call.elements(), call.size, true)};
  if (!call.cuda) return gpgan::cpu::gradient_norm_penalty_backward(args, {schedule.pieces, run_pieces});
#ifdef GPGAN_HOST_CUDA
  gpgan::cuda::gradient_norm_penalty_backward(args, nullptr);
#endif
}

#ifdef GPGAN_HOST_CUDA
int64_t workspace_bytes(const std::string& dtype, int64_t count, int64_t length) {
  return gpgan::cuda::workspace_bytes(Call("cuda", dtype, count, length).rows);
}

void shim_case(const std::string& name, gpgan::testing::Dim grid, gpgan::testing::Dim block, const py::array& in,
               py::array& out) {
  gpgan::testing::run_shim_case(name, grid, block, in.data(), out.mutable_data());
}
#endif

}  // namespace

PYBIND11_MODULE(gpgan_host, module) {
  using py::arg;
  module.def("set_schedule", &set_schedule, arg("pieces") = 1, arg("order") = "forward",
             "cpu: the number of pieces and their order. cuda: with the order reversed, the last blocks and threads "
             "run first.");
  module.def("interpolate", &interpolate, arg("backend"), arg("dtype"), arg("count"), arg("length"), py::kw_only(),
             arg("real"), arg("fake"), arg("alpha"), arg("x"));
  module.def("interpolate_backward", &interpolate_backward, arg("backend"), arg("dtype"), arg("count"), arg("length"),
             py::kw_only(), arg("grad"), arg("real"), arg("fake"), arg("alpha"), arg("grad_real"), arg("grad_fake"),
             arg("grad_alpha"));
  module.def("gradient_norm_penalty", &gradient_norm_penalty, arg("backend"), arg("dtype"), arg("count"), arg("length"),
             py::kw_only(), arg("grads"), arg("value"), arg("norms"), arg("direction"), arg("weight"), arg("target"),
             arg("one_sided"), arg("reduction"));
  module.def("gradient_norm_penalty_backward", &gradient_norm_penalty_backward, arg("backend"), arg("dtype"),
             arg("count"), arg("length"), py::kw_only(), arg("grad_value"), arg("grad_norms"), arg("grads"),
             arg("norms"), arg("grad_grads"), arg("weight"), arg("target"), arg("one_sided"), arg("reduction"));
#ifdef GPGAN_HOST_CUDA
  module.attr("has_cuda") = true;
  module.def("workspace_bytes", &workspace_bytes, arg("dtype"), arg("count"), arg("length"));
  module.def("shim_case", &shim_case, arg("name"), arg("grid"), arg("block"), arg("input"), arg("output"));
#else
  module.attr("has_cuda") = false;
#endif
}
