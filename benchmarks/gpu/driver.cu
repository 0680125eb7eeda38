// Calls the CUDA functions of kernels.h without torch and compares them with a double-precision reference on the host:
// every dtype, the three row regimes and their boundaries, odd lengths, misaligned pointers.
//
//   driver          guards around every buffer, and outputs filled with NaN beforehand
//   driver exact    neither: buffers end where their data ends and outputs stay uninitialised, so that
//                   compute-sanitizer finds accesses past the end and reads of uninitialised memory
//
//   nvcc -std=c++20 -lineinfo -arch=native -I csrc benchmarks/gpu/driver.cu csrc/cuda/*.cu -o driver
// or, to run the kernels on the CPU with testing/cuda_on_host.h,
//   g++ -std=c++20 -O2 -I csrc -isystem $CUDA_HOME/include -x c++ benchmarks/gpu/driver.cu csrc/cuda/*.cu -o driver
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "cuda/vec.cuh"
#include "kernels.h"

namespace {

using gpgan::Dtype;
using gpgan::Penalty;
using gpgan::Reduction;
using gpgan::Rows;
using Values = std::vector<double>;

#ifdef __CUDACC__

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "driver: %s failed: %s\n", what, cudaGetErrorString(error));
    std::exit(2);
  }
}

void* allocate(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "cudaMalloc");
  return memory;
}
void release(void* memory) { check(cudaFree(memory), "cudaFree"); }
void fill(void* memory, int byte, size_t bytes) { check(cudaMemset(memory, byte, bytes), "cudaMemset"); }
void copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}
void finish() {
  check(cudaGetLastError(), "a launch");
  check(cudaDeviceSynchronize(), "a kernel");
}

#else

void* allocate(size_t bytes) { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
void release(void* memory) { std::free(memory); }
void fill(void* memory, int byte, size_t bytes) { std::memset(memory, byte, bytes); }
void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void finish() {}

#endif

constexpr size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0x5a;

bool exact = false;
int checks = 0;
int failures = 0;
std::string current;  // the current case, for messages

void report(bool good, const std::string& what) {
  ++checks;
  if (!good) {
    ++failures;
    std::printf("FAILED %s: %s\n", current.c_str(), what.c_str());
  }
}

template <typename T>
double to_double(T value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

template <typename T>
T from_double(double value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return static_cast<T>(static_cast<float>(value));
  }
}

template <typename T>
Values rounded(Values values) {
  for (double& value : values) value = to_double(from_double<T>(value));
  return values;
}

// count elements of T on the device; the first one is shift elements past a 256-byte boundary.
template <typename T>
class Buffer {
 public:
  Buffer(size_t count, size_t shift)
      : count_(count), before_((exact ? 0 : kGuard) + shift * sizeof(T)), after_(exact ? 0 : kGuard) {
    memory_ = static_cast<unsigned char*>(allocate(std::max<size_t>(1, before_ + bytes() + after_)));
    if (!exact) {
      fill(memory_, kGuardByte, before_ + bytes() + after_);
      fill(memory_ + before_, 0xff, bytes());
    }
  }
  Buffer(const Values& values, size_t shift) : Buffer(values.size(), shift) {
    std::vector<T> host;
    for (double value : values) host.push_back(from_double<T>(value));
    copy(data(), host.data(), bytes());
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { release(memory_); }

  T* data() const { return reinterpret_cast<T*>(memory_ + before_); }

  std::vector<T> read(const char* name) const {
    finish();
    std::vector<T> host(count_);
    copy(host.data(), data(), bytes());
    check_guards(name);
    return host;
  }

  void check_guards(const char* name) const {
    finish();
    if (exact) return;
    std::vector<unsigned char> all(before_ + bytes() + after_);
    copy(all.data(), memory_, all.size());
    const auto untouched = [](unsigned char byte) { return byte == kGuardByte; };
    report(std::all_of(all.begin(), all.begin() + before_, untouched), std::string("written before ") + name);
    report(std::all_of(all.end() - after_, all.end(), untouched), std::string("written behind ") + name);
  }

  // Each element within its scale times the tolerance of T.
  void expect(const char* name, const Values& expected, const Values& scales, double tolerance) const {
    const std::vector<T> got = read(name);
    for (size_t i = 0; i < count_; ++i) {
      const double error = std::fabs(to_double(got[i]) - expected[i]);
      // 6e-8 is the smallest step of float16. Written so that a NaN fails.
      if (!(error <= tolerance * scales[i] + 6e-8)) {
        report(false, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(to_double(got[i])) +
                          ", expected " + std::to_string(expected[i]));
        return;
      }
    }
    report(true, name);
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  size_t count_, before_, after_;
  unsigned char* memory_;
};

Values magnitudes(Values values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

template <typename T>
struct Case {
  using acc_t = gpgan::acc_type<T>;

  Rows rows;
  size_t shift;
  std::mt19937 generator{17};
  double sum_tolerance = sizeof(acc_t) == 8 ? 1e-11 : 1e-5;
  double tolerance = sizeof(T) == 8 ? 1e-11 : sizeof(T) == 4 ? 1e-5 : std::is_same_v<T, __nv_bfloat16> ? 8e-3 : 1e-3;

  size_t count() const { return static_cast<size_t>(rows.count); }
  size_t length() const { return static_cast<size_t>(rows.length); }
  size_t elements() const { return count() * length(); }

  Values random(size_t size, double low, double high) {
    std::uniform_real_distribution<double> uniform(low, high);
    Values values(size);
    for (double& value : values) value = uniform(generator);
    return values;
  }

  Buffer<unsigned char> workspace() const {
    return Buffer<unsigned char>(static_cast<size_t>(gpgan::cuda::workspace_bytes(rows)), 0);
  }

  void interpolate() {
    const Values real = rounded<T>(random(elements(), -1, 1)), fake = rounded<T>(random(elements(), -1, 1));
    const Values grad = rounded<T>(random(elements(), -1, 1)), alpha = rounded<acc_t>(random(count(), 0, 1));
    const Buffer<T> real_(real, shift), fake_(fake, shift), grad_(grad, shift), x(elements(), shift);
    const Buffer<T> grad_real(elements(), shift), grad_fake(elements(), shift);
    const Buffer<acc_t> alpha_(alpha, 0), grad_alpha(count(), 0);
    Values mixed(elements()), to_real(elements()), to_fake(elements()), to_alpha(count()), scale(count());
    for (size_t i = 0; i < elements(); ++i) {
      const size_t row = i / length();
      mixed[i] = alpha[row] * real[i] + (1 - alpha[row]) * fake[i];
      to_real[i] = alpha[row] * grad[i];
      to_fake[i] = (1 - alpha[row]) * grad[i];
      to_alpha[row] += grad[i] * (real[i] - fake[i]);
      scale[row] += std::fabs(grad[i] * (real[i] - fake[i]));
    }
    const Values ones(elements(), 1);
    gpgan::cuda::interpolate({rows, real_.data(), fake_.data(), alpha_.data(), x.data()}, nullptr);
    x.expect("x", mixed, ones, tolerance);

    const auto backward = [&](T* real_out, T* fake_out, acc_t* alpha_out) {
      const auto space = workspace();
      gpgan::cuda::interpolate_backward(
          {rows, grad_.data(), real_.data(), fake_.data(), alpha_.data(), real_out, fake_out, alpha_out}, space.data(),
          nullptr);
      space.check_guards("the workspace of interpolate_backward");
    };
    backward(grad_real.data(), grad_fake.data(), nullptr);
    grad_real.expect("grad_real", to_real, ones, tolerance);
    grad_fake.expect("grad_fake", to_fake, ones, tolerance);
    backward(nullptr, grad_fake.data(), grad_alpha.data());
    grad_alpha.expect("grad_alpha", to_alpha, scale, sum_tolerance);
  }

  void penalty(Reduction reduction, bool one_sided) {
    const double root = std::sqrt(static_cast<double>(rows.length) / 3);  // about the norm of a row
    const Penalty spec{10, one_sided ? root : 1, one_sided, reduction};
    const bool each = reduction == Reduction::kNone;
    const double k = reduction == Reduction::kMean ? spec.weight / static_cast<double>(rows.count) : spec.weight;
    const Values grads = rounded<T>(random(elements(), -1, 1));
    const Values p = rounded<acc_t>(random(each ? count() : 1, -1, 1)), q = rounded<acc_t>(random(count(), -1, 1));

    Values norms(count()), value(each ? count() : 1), value_scale(value.size());
    for (size_t i = 0; i < elements(); ++i) norms[i / length()] += grads[i] * grads[i];
    Values slope(count()), slope_scale(count());
    for (size_t row = 0; row < count(); ++row) {
      norms[row] = std::sqrt(norms[row]);
      const double excess = one_sided ? std::max(0., norms[row] - spec.target) : norms[row] - spec.target;
      value[each ? row : 0] += k * excess * excess;
      value_scale[each ? row : 0] += k * (norms[row] + spec.target) * (norms[row] + spec.target);
      slope[row] = 2 * k * excess;
      slope_scale[row] = 2 * k * (norms[row] + spec.target);
    }
    // c g with c = (p slope + q) / n, and the size of its terms.
    const auto expect_scaled = [&](const Buffer<T>& out, const char* name, const Values* ps, const Values* qs) {
      Values expected(elements()), scale(elements());
      for (size_t i = 0; i < elements(); ++i) {
        const size_t row = i / length();
        const double pr = ps ? (*ps)[each ? row : 0] : 0, qr = qs ? (*qs)[row] : 0;
        const double g = norms[row] > 0 ? grads[i] / norms[row] : 0;
        expected[i] = (pr * slope[row] + qr) * g;
        // Rounding is relative to the result, cancellation to the terms.
        scale[i] = std::fabs(expected[i]) +
                   (std::fabs(pr) * slope_scale[row] + std::fabs(qr)) * std::fabs(g) * sum_tolerance / tolerance;
      }
      out.expect(name, expected, scale, tolerance);
    };

    const Buffer<T> grads_(grads, shift), direction(elements(), shift), grad_grads(elements(), shift);
    const Buffer<acc_t> p_(p, 0), q_(q, 0);
    const auto forward = [&](T* out, std::vector<T>* bits) {
      const Buffer<acc_t> value_(value.size(), 0), norms_(count(), 0);
      const auto space = workspace();
      gpgan::cuda::gradient_norm_penalty({rows, spec, grads_.data(), value_.data(), norms_.data(), out}, space.data(),
                                         nullptr);
      value_.expect("value", value, value_scale, sum_tolerance);
      norms_.expect("norms", norms, magnitudes(norms), sum_tolerance);
      space.check_guards("the workspace of gradient_norm_penalty");
      if (bits) *bits = direction.read("direction");
    };
    forward(nullptr, nullptr);
    std::vector<T> first, second;
    forward(direction.data(), &first);
    const Values ones(value.size(), 1);
    expect_scaled(direction, "direction", &ones, nullptr);
    forward(direction.data(), &second);
    report(first.empty() || std::memcmp(first.data(), second.data(), first.size() * sizeof(T)) == 0,
           "the direction's bits differ between two runs");

    const Buffer<acc_t> norms_(norms, 0);
    const auto backward = [&](const Values* ps, const Values* qs, const char* name) {
      gpgan::cuda::gradient_norm_penalty_backward({rows, spec, ps ? p_.data() : nullptr, qs ? q_.data() : nullptr,
                                                   grads_.data(), norms_.data(), grad_grads.data()},
                                                  nullptr);
      expect_scaled(grad_grads, name, ps, qs);
    };
    backward(&p, nullptr, "grad_grads of the value");
    backward(nullptr, &q, "grad_grads of the norms");
    backward(&p, &q, "grad_grads of both");
  }
};

template <typename T>
void run(Dtype dtype, const char* name) {
  const auto size = static_cast<int64_t>(sizeof(T));
  // Boundaries of the regimes at 4 and 48 KiB, chunks of 32 KiB.
  const int64_t lengths[] = {1,
                             7,
                             784,
                             4096 / size,
                             4096 / size + 1,
                             3072,
                             12000 / size + 1,
                             49152 / size,
                             49152 / size + 1,
                             98304 / size,
                             100000 / size + 1};
  const Reduction reductions[] = {Reduction::kMean, Reduction::kSum, Reduction::kNone};
  int turn = 0;
  for (const int64_t length : lengths) {
    for (const int64_t count : {int64_t{1}, int64_t{length < 1024 ? 67 : 3}}) {
      for (const size_t shift : {size_t{0}, size_t{1}}) {
        current = std::string(name) + " [" + std::to_string(count) + ", " + std::to_string(length) + "] shifted by " +
                  std::to_string(shift);
        Case<T> one{{count, length, dtype}, shift};
        one.interpolate();
        one.penalty(reductions[turn % 3], turn % 2 == 1);
        ++turn;
      }
    }
  }
  current = std::string(name) + " without rows";
  const Rows none{0, 8, dtype};
  gpgan::cuda::interpolate({none, nullptr, nullptr, nullptr, nullptr}, nullptr);
  gpgan::cuda::gradient_norm_penalty({none, {10, 1, false, Reduction::kNone}, nullptr, nullptr, nullptr, nullptr},
                                     nullptr, nullptr);
  finish();
}

}  // namespace

int main(int argc, char** argv) try {
  exact = argc > 1 && std::strcmp(argv[1], "exact") == 0;
  run<float>(Dtype::kFloat32, "float32");
  run<__half>(Dtype::kFloat16, "float16");
  run<__nv_bfloat16>(Dtype::kBFloat16, "bfloat16");
  run<double>(Dtype::kFloat64, "float64");
  std::printf("driver: %d checks, %d failed\n", checks, failures);
  return failures ? 1 : 0;
} catch (const std::exception& error) {
  std::printf("FAILED %s: %s\n", current.c_str(), error.what());
  return 2;
}
