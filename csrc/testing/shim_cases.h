// Small kernels that show what cuda_on_host.h does and what it refuses; see shim_cases.cu.
#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace gpgan::testing {

using Dim = std::array<unsigned, 3>;

// Runs the kernel of this name. What in and out hold is the kernel's affair.
void run_shim_case(const std::string& name, Dim grid, Dim block, size_t shared_bytes, const void* in, void* out);

}  // namespace gpgan::testing
