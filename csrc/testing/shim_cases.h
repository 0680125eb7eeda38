// Small kernels that show what cuda_on_host.h does and what it refuses; see shim_cases.cu.
#pragma once

#include <array>
#include <string>

namespace gpgan::testing {

using Dim = std::array<unsigned, 3>;

// Runs the kernel of this name. Each kernel says what in and out hold.
void run_shim_case(const std::string& name, Dim grid, Dim block, const void* in, void* out);

}  // namespace gpgan::testing
