#include "weight.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tonewheel {
namespace {

constexpr size_t huge = size_t(2) << 20;
constexpr size_t stretch = size_t(64) << 20;

uint16_t to_bfloat16_up(float x) {  // never smaller than x: what is divided by it stays within the range of the bits
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return uint16_t((bits + 0xffff) >> 16);
}

// Sixteen outputs' worth of one group, as signed whole numbers [16][group], and their scales.
void quantised(const float* const* rows, int here, int group, int bits, int8_t* values, uint16_t* scales) {
    for (int i = 0; i < 16; i++) {
        int8_t* to = values + i * group;
        const float* from = rows[i];
        float extreme = 0;  // the value of largest size, with its sign
        for (int k = 0; from && k < here; k++)
            if (std::fabs(from[k]) > std::fabs(extreme)) extreme = from[k];
        float spoilt = 0;
        for (int k = 0; from && k < here; k++) spoilt += from[k] - from[k];  // NaN where a value is not finite
        if (spoilt != 0) {  // it must not vanish in the rounding: all that is made of this group is NaN
            std::memset(to, 0, size_t(group));
            scales[i] = 0x7fc0;
            continue;
        }
        const float size = std::fabs(extreme);
        const int top = bits == 8 ? 127 : 8;
        // Below 2^-100 a group counts as zero. Four bits reach from -8 to 7: the extreme is put at -8, by a scale of the
        // other sign where it is positive, so that no step is lost.
        uint16_t scale = size > 7.9e-31f ? to_bfloat16_up(size / float(top)) : 0;
        float step = from_bfloat16(scale);
        if (bits == 4 && extreme > 0) {
            step = -step;
            scale |= 0x8000;
        }
        scales[i] = scale;
        for (int k = 0; k < group; k++) {
            float v = scale & 0x7fff && k < here ? std::nearbyint(from[k] / step) : 0.0f;
            if (bits == 4) v = std::fmin(std::fmax(v, -8.0f), 7.0f);
            to[k] = int8_t(v);
        }
    }
}

}  // namespace

// A piece of the address space, given back with the last room in it.
class Stretch {
  public:
    explicit Stretch(size_t bytes) : bytes_(bytes) {
#if defined(__linux__)
        whole_ = mmap(nullptr, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (whole_ == MAP_FAILED) throw std::bad_alloc();
        data_ = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(whole_) + huge - 1) / huge * huge);
        madvise(data_, bytes, MADV_HUGEPAGE);
#else
        whole_ = std::aligned_alloc(64, bytes);
        if (!whole_) throw std::bad_alloc();
        data_ = static_cast<uint8_t*>(whole_);
#endif
    }
    ~Stretch() {
#if defined(__linux__)
        munmap(whole_, bytes_ + huge);
#else
        std::free(whole_);
#endif
    }
    Stretch(const Stretch&) = delete;

    // Room for so many bytes, a multiple of 64; null if there is none left.
    uint8_t* take(size_t bytes) {
        if (bytes > bytes_ - taken_) return nullptr;
        taken_ += bytes;
        return data_ + taken_ - bytes;
    }

  private:
    void* whole_;
    uint8_t* data_;
    const size_t bytes_;
    size_t taken_ = 0;
};

Room::Room(size_t bytes) {
    static std::mutex one_at_a_time;
    static std::weak_ptr<Stretch> latest;  // what is left of it goes to the next ones
    std::lock_guard<std::mutex> alone(one_at_a_time);
    const size_t whole = std::max<size_t>((bytes + 63) / 64 * 64, 64);
    if (whole > stretch / 4) {
        stretch_ = std::make_shared<Stretch>((whole + huge - 1) / huge * huge);
    } else {
        stretch_ = latest.lock();
        data = stretch_ ? stretch_->take(whole) : nullptr;
        if (data) return;
        latest = stretch_ = std::make_shared<Stretch>(stretch);
    }
    data = stretch_->take(whole);
}

Room::~Room() = default;

void Weight::lay_out(int outputs, int inputs, int bits, int group, const float* bias) {
    if (bits != 4 && bits != 8 && bits != 32) throw std::invalid_argument("bits are 4, 8 or 32");
    if (outputs < 1 || inputs < 1) throw std::invalid_argument("a weight has at least one output and one input");
    if (bits != 32 && (group < 32 || group % 32 || group > 1024))
        throw std::invalid_argument("a group is a multiple of 32, at most 1024");
    const int groups = bits == 32 ? 0 : (inputs + group - 1) / group;
    if (bias) bias_.assign(bias, bias + outputs);
    view_ = {nullptr, nullptr, bias ? bias_.data() : nullptr, outputs, inputs, bits == 32 ? 0 : group, groups, bits};
    values_ = std::make_unique<Room>(view_.bytes());
    view_.values = values_->data;
    if (bits != 32) {
        scales_ = std::make_unique<Room>(view_.scale_count() * 2);
        view_.scales = reinterpret_cast<const uint16_t*>(scales_->data);
    }
}

Weight::Weight(Crew& crew, const float* from, long stride, int outputs, int inputs, int bits, int group,
               const float* bias) {
    lay_out(outputs, inputs, bits, group, bias);
    const Weights w = view_;
    crew.run([&](int) {
        std::vector<int8_t> values(16 * size_t(w.group) + 1);
        crew.share(w.blocks(), [&](int block) {
            const float* rows[16];
            for (int i = 0; i < 16; i++) {
                const int output = block * 16 + i;
                rows[i] = output < outputs ? from + output * stride : nullptr;
            }
            if (bits == 32) {
                float* to = reinterpret_cast<float*>(values_->data) + long(block) * 16 * inputs;
                for (int k = 0; k < inputs; k++)
                    for (int i = 0; i < 16; i++) *to++ = rows[i] ? rows[i][k] : 0.0f;
                return;
            }
            for (int g = 0; g < w.groups; g++) {
                const int start = g * group, here = inputs - start < group ? inputs - start : group;
                const float* parts[16];
                for (int i = 0; i < 16; i++) parts[i] = rows[i] ? rows[i] + start : nullptr;
                uint16_t* scales = reinterpret_cast<uint16_t*>(scales_->data) + (long(block) * w.groups + g) * 16;
                quantised(parts, here, group, bits, values.data(), scales);
                uint8_t* to = values_->data + block * w.block_bytes() + 16L * g * group * bits / 8;
                const int inputs_of_load = 32 / bits;
                for (int k = 0; k < group; k += inputs_of_load)
                    for (int i = 0; i < 16; i++)
                        for (int c = 0; c < 4; c++) {
                            const int8_t* at = &values[size_t(i) * group + k + c];
                            *to++ = bits == 8 ? uint8_t(at[0] + 128) : uint8_t((at[0] + 8) | (at[4] + 8) << 4);
                        }
            }
        });
    });
}

Weight::Weight(const uint8_t* values, size_t bytes, const uint16_t* scales, size_t scale_count, int outputs,
               int inputs, int bits, int group, const float* bias) {
    lay_out(outputs, inputs, bits, group, bias);
    if (bytes != size_t(view_.bytes()) || scale_count != size_t(view_.scale_count()))
        throw std::invalid_argument("values and scales are not of this shape");
    std::memcpy(values_->data, values, bytes);
    if (scale_count) std::memcpy(scales_->data, scales, scale_count * 2);
}

void Weight::row(int output, float* to) const {
    const Weights& w = view_;
    const int block = output / 16, i = output % 16;
    const uint8_t* base = w.values + block * w.block_bytes();
    for (int k = 0; k < w.inputs; k++) {
        if (w.bits == 32) {
            to[k] = reinterpret_cast<const float*>(base)[long(k) * 16 + i];
            continue;
        }
        const int g = k / w.group, inside = k % w.group, of_load = 32 / w.bits;
        const uint8_t* load = base + 16L * g * w.group * w.bits / 8 + 64L * (inside / of_load);
        const int at = inside % of_load;
        const uint8_t byte = load[4 * i + at % 4];
        const int value = w.bits == 8 ? byte - 128 : (at < 4 ? byte & 15 : byte >> 4) - 8;
        to[k] = float(value) * from_bfloat16(w.scales[(long(block) * w.groups + g) * 16 + i]);
    }
}

}  // namespace tonewheel
