#include "split.hpp"

#include <algorithm>
#include <cstring>

#include "weight.hpp"

namespace tonewheel {
namespace {

uint16_t to_bfloat16(float x) {  // to the nearest, half ways to even; what is not finite becomes NaN with its rest
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Memory of one thread, at a multiple of 64, that only grows.
template <typename T>
class Bench {
  public:
    T* at_least(size_t count) {
        const size_t some = 64 / sizeof(T);
        if (values_.size() < count + some) values_.resize(count + some);
        const auto at = reinterpret_cast<uintptr_t>(values_.data());
        return values_.data() + ((at + 63) / 64 * 64 - at) / sizeof(T);
    }

  private:
    std::vector<T> values_;
};

thread_local Bench<uint16_t> split_bench;
thread_local Bench<float> feed_bench;

// Inputs that are worked on at a time, in steps of 32, and rows: what both take, and 32 outputs' weights for it, stays in
// the second cache, and a weight is read so many rows more seldom.
constexpr int steps_at_once = 32, rows_at_once = 256;

// Rows that are worked on together: a multiple of 32, and no more than leaves some for every member of the crew.
int panel_of(int most, int rows, const Crew* crew) {
    const int share = (rows + (crew ? crew->size() : 1) - 1) / (crew ? crew->size() : 1);
    return std::clamp((share + 31) / 32 * 32, 32, std::max(32, most / 32 * 32));
}

// One panel: y (rows, outputs) = kind(x · w).
void multiply_panel(const Kernels& kernels, const SplitWeights& w, const Activation* kind, const float* x, int rows,
                    float* y) {
    const int at_once = std::min(steps_at_once, w.steps());
    uint16_t* parts = split_bench.at_least(size_t(rows + 15) / 16 * size_t(at_once) * 1024);
    for (int first = 0; first < w.steps(); first += at_once) {
        const int last = std::min(first + at_once, w.steps());
        kernels.split_rows(x + first * 32, w.inputs, rows, std::min(last * 32, w.inputs) - first * 32, parts);
        kernels.multiply_split(w, parts, rows, first, last, kind, y);
    }
}

// f(first row, how many) of every panel.
template <typename F>
void by_panels(Crew* crew, int most, int rows, F&& f) {
    const int panel = panel_of(most, rows, crew), count = (rows + panel - 1) / panel;
    const auto go = [&](int i) { f(i * panel, std::min(panel, rows - i * panel)); };
    if (crew) crew->run([&](int) { crew->share(count, go); });
    else for (int i = 0; i < count; i++) go(i);
}

}  // namespace

SplitWeight::SplitWeight(const float* from, int outputs, int inputs, const float* bias) {
    if (bias) bias_.assign(bias, bias + outputs);
    view_ = {nullptr, bias ? bias_.data() : nullptr, outputs, inputs};
    const size_t bytes = size_t(view_.pairs() * view_.pair_values()) * 2;
    parts_ = std::make_unique<Room>(bytes);
    auto* parts = reinterpret_cast<uint16_t*>(parts_->data);
    std::memset(parts, 0, bytes);
    for (int n = 0; n < outputs; n++) {
        uint16_t* to = parts + n / 32 * view_.pair_values() + n % 32 / 16 * 512 + n % 16 * 2;
        for (int k = 0; k < inputs; k++) {
            const float value = from[long(n) * inputs + k];
            const uint16_t large = to_bfloat16(value);
            uint16_t* at = to + k / 32 * 2048L + k % 32 / 2 * 32 + k % 2;
            at[0] = large;
            at[1024] = to_bfloat16(value - from_bfloat16(large));
        }
    }
    view_.parts = parts;
}

SplitWeight::~SplitWeight() = default;

void multiply_split(const Kernels& kernels, Crew* crew, const SplitWeights& w, const Activation* kind, const float* x,
                    int rows, float* y) {
    by_panels(crew, rows_at_once, rows, [&](int first, int count) {
        multiply_panel(kernels, w, kind, x + long(first) * w.inputs, count, y + long(first) * w.outputs);
    });
}

void feed_split(const Kernels& kernels, Crew* crew, const SplitWeights& up, Activation kind, const SplitWeights& down,
                const float* x, int rows, float* y) {
    const int most = std::min(rows_at_once, (1 << 18) / up.outputs);  // 1 MB lies between them
    by_panels(crew, most, rows, [&](int first, int count) {
        float* between = feed_bench.at_least(size_t(count) * size_t(up.outputs));
        multiply_panel(kernels, up, &kind, x + long(first) * up.inputs, count, between);
        multiply_panel(kernels, down, nullptr, between, count, y + long(first) * down.outputs);
    });
}

}  // namespace tonewheel
