// Rows times a weight, shared out among a crew.
#pragma once

#include <algorithm>
#include <vector>

#include "crew.hpp"
#include "kernels.hpp"

namespace tonewheel {

// Rows as weights of 4 and 8 bits take them, and the room for it.
class QuantisedRows {
  public:
    // For `count` rows of a weight of at most `inputs` inputs, in groups of at least 32 and at most 1024.
    void make_room(size_t count, size_t inputs) {
        const size_t padded = inputs + 1024;  // to a whole group
        values_.resize(count * padded);
        scales_.resize(count * (padded / 32));
        sums_.resize(count * (padded / 32));
    }

    // Row `at` of what goes into `w`; nothing to do with 32 bits.
    void put(const Kernels& kernels, const Weights& w, const float* row, int at) {
        if (w.bits == 32) return;
        kernels.quantise(row, w.inputs, w.group, w.groups, &values_[size_t(at) * w.groups * w.group],
                         &scales_[size_t(at) * w.groups], &sums_[size_t(at) * w.groups]);
    }

    Rows view(int count) const { return {values_.data(), scales_.data(), sums_.data(), count}; }

  private:
    std::vector<int8_t> values_;
    std::vector<float> scales_;
    std::vector<int32_t> sums_;
};

// Blocks of 16 outputs that are handed out together: small enough to share evenly, large enough to read straight on.
inline int blocks_an_item(const Weights& w) {
    const long some = (64L << 10) / w.block_bytes();
    return some < 2 ? 2 : some > 16 ? 16 : int(some);
}

// From inside a run of the crew: y (+)= rows · w, of `floats` [count, inputs] with 32 bits, else of `rows`. `after` hears of
// the outputs first … last - 1 of all rows as soon as they are there.
template <typename F>
void multiply(Crew& crew, const Kernels& kernels, const Weights& w, const Rows& rows, const float* floats, float* y,
              long stride, bool add, F&& after) {
    const int some = blocks_an_item(w);
    crew.share_in_order((w.blocks() + some - 1) / some, [&](int item) {
        const int first = item * some, last = std::min(first + some, w.blocks());
        if (w.bits == 32) kernels.multiply_floats(w, floats, rows.count, first, last, y, stride, add);
        else kernels.multiply(w, rows, first, last, y, stride, add);
        after(first * 16, std::min(last * 16, w.outputs));
    });
}

}  // namespace tonewheel
