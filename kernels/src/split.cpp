#include "split.hpp"

#include <algorithm>
#include <cstring>

#include "weight.hpp"

namespace tonewheel {
namespace {

float from_bfloat16(uint16_t x) {
    const uint32_t bits = uint32_t(x) << 16;
    float made;
    std::memcpy(&made, &bits, 4);
    return made;
}

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

size_t split_values(int rows, const SplitWeights& w) { return size_t(rows + 15) / 16 * size_t(w.steps()) * 1024; }

// Rows that are worked on together: a multiple of 32, so many that they and a pair of outputs' weights stay in the
// second cache, and no more than leaves a panel for every member of the crew.
int panel_of(int inputs, int rows, const Crew* crew) {
    constexpr int most = 256, bytes = 384 << 10;
    const int fit = bytes / (inputs * 4) / 32 * 32;
    const int share = (rows + (crew ? crew->size() : 1) - 1) / (crew ? crew->size() : 1);
    return std::clamp(std::min(fit, (share + 31) / 32 * 32), 32, most);
}

// f(first row, how many) of every panel.
template <typename F>
void by_panels(Crew* crew, int inputs, int rows, F&& f) {
    const int panel = panel_of(inputs, rows, crew), count = (rows + panel - 1) / panel;
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
    by_panels(crew, w.inputs, rows, [&](int first, int count) {
        uint16_t* parts = split_bench.at_least(split_values(count, w));
        kernels.split_rows(x + long(first) * w.inputs, count, w.inputs, parts);
        kernels.multiply_split(w, parts, count, kind, y + long(first) * w.outputs);
    });
}

void feed_split(const Kernels& kernels, Crew* crew, const SplitWeights& up, Activation kind, const SplitWeights& down,
                const float* x, int rows, float* y) {
    by_panels(crew, std::max(up.inputs, down.inputs / 2), rows, [&](int first, int count) {
        uint16_t* parts = split_bench.at_least(std::max(split_values(count, up), split_values(count, down)));
        float* between = feed_bench.at_least(size_t(count) * size_t(up.outputs));
        kernels.split_rows(x + long(first) * up.inputs, count, up.inputs, parts);
        kernels.multiply_split(up, parts, count, &kind, between);
        kernels.split_rows(between, count, down.inputs, parts);
        kernels.multiply_split(down, parts, count, nullptr, y + long(first) * down.outputs);
    });
}

}  // namespace tonewheel
