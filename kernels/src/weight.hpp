// A weight matrix as it is kept: made from floats, or laid over memory that holds it already.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "crew.hpp"
#include "kernels.hpp"

namespace tonewheel {

inline float from_bfloat16(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float made;
    std::memcpy(&made, &bits, 4);
    return made;
}

// Memory for weights: whole huge pages where the system gives them, so that reading it straight through costs no walk
// of the page tables. It comes fresh from the system, many weights to a stretch: what an allocator has used before lies
// in small pages already, and stays there.
class Stretch;
struct Room {
    explicit Room(size_t bytes);
    ~Room();
    Room(const Room&) = delete;
    uint8_t* data;

  private:
    std::shared_ptr<Stretch> stretch_;
};

class Weight {
  public:
    // From floats [outputs, inputs], rows `stride` apart. `bits`: 4, 8 or 32.
    Weight(Crew& crew, const float* from, long stride, int outputs, int inputs, int bits, int group, const float* bias);
    // From what `values` and `scales` of another one held, copied.
    Weight(const uint8_t* values, size_t bytes, const uint16_t* scales, size_t scale_count, int outputs, int inputs,
           int bits, int group, const float* bias);

    const Weights& view() const { return view_; }
    size_t memory() const { return view_.bytes() + view_.scale_count() * 2 + bias_.size() * 4; }
    // Row `output` as floats [inputs], as it is now represented.
    void row(int output, float* to) const;

  private:
    void lay_out(int outputs, int inputs, int bits, int group, const float* bias);

    Weights view_{};
    std::unique_ptr<Room> values_, scales_;
    std::vector<float> bias_;
};

}  // namespace tonewheel
