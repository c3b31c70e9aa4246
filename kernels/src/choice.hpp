// Which instruction set is used.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace tonewheel {

// What this processor runs and this build has, best first.
std::vector<std::string> available_kernels();

// The best one, or the one that the environment variable TONEWHEEL_KERNELS_CPU names. Throws std::invalid_argument where
// that is not available.
const Kernels* chosen_kernels();

}  // namespace tonewheel
