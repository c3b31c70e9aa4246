// Products of many rows in float32 by bfloat16 tiles; split.inc has how.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "crew.hpp"
#include "kernels.hpp"

namespace tonewheel {

struct Room;

class SplitWeight {
  public:
    // From floats [outputs, inputs].
    SplitWeight(const float* from, int outputs, int inputs, const float* bias);
    ~SplitWeight();

    const SplitWeights& view() const { return view_; }
    size_t memory() const { return size_t(view_.pairs() * view_.pair_values()) * 2 + bias_.size() * 4; }

  private:
    SplitWeights view_{};
    std::unique_ptr<Room> parts_;
    std::vector<float> bias_;
};

// y [rows, outputs] = x [rows, inputs] · w, with the bias, and `kind` of it where one is given. `crew`: who does it;
// null: the caller alone. Every row has the same bits whatever stands beside it.
void multiply_split(const Kernels& kernels, Crew* crew, const SplitWeights& w, const Activation* kind, const float* x,
                    int rows, float* y);
// The same of two in a row, kind(x · up) · down: what lies between them never leaves the cache.
void feed_split(const Kernels& kernels, Crew* crew, const SplitWeights& up, Activation kind, const SplitWeights& down,
                const float* x, int rows, float* y);

}  // namespace tonewheel
