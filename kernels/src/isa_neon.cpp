// NEON of 64-bit ARM with its dot product instruction (ARMv8.2 with dotprod: Apple's M series, Graviton 2 and later).
#define TW_NEON
#include "lanes.hpp"

namespace {

struct Scales {
    float32x4_t v[4];
    explicit Scales(const uint16_t* p) {
        for (int i = 0; i < 4; i++) v[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
    }
};

template <int rows, int blocks>
struct Dots {
    static constexpr bool centred = true;
    int32x4_t sums[rows][blocks][4];

    template <int bits>
    void run(const uint8_t* at, long block_bytes, const int8_t* from, long width, int group) {
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++)
                for (int i = 0; i < 4; i++) sums[r][b][i] = vdupq_n_s32(0);
        const uint8x16_t top = vdupq_n_u8(0x80), low = vdupq_n_u8(15);
        constexpr int inputs = 32 / bits;
        for (int k = 0; k < group; k += inputs, at += 64) {
            for (int b = 0; b < blocks; b++) {
                for (int i = 0; i < 4; i++) {
                    const uint8x16_t w = vld1q_u8(at + b * block_bytes + 16 * i);
                    for (int r = 0; r < rows; r++) {
                        int four;
                        memcpy(&four, from + r * width + k, 4);
                        const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
                        if (bits == 8) {
                            const int8x16_t signed_w = vreinterpretq_s8_u8(veorq_u8(w, top));
                            sums[r][b][i] = vdotq_s32(sums[r][b][i], signed_w, x);
                        } else {
                            int next;
                            memcpy(&next, from + r * width + k + 4, 4);
                            const int8x16_t y = vreinterpretq_s8_s32(vdupq_n_s32(next));
                            sums[r][b][i] = vdotq_s32(sums[r][b][i], vreinterpretq_s8_u8(vandq_u8(w, low)), x);
                            sums[r][b][i] = vdotq_s32(sums[r][b][i], vreinterpretq_s8_u8(vshrq_n_u8(w, 4)), y);
                        }
                    }
                }
            }
        }
    }
};

template <int blocks>
struct Sums {
    float32x4_t v[blocks][4];
    void clear() {
        for (int b = 0; b < blocks; b++)
            for (int i = 0; i < 4; i++) v[b][i] = vdupq_n_f32(0);
    }
    template <typename D>
    void add(int b, const D& dots, int row, float scale, int off, const Scales& scales) {
        for (int i = 0; i < 4; i++) {
            const int32x4_t sum = vsubq_s32(dots.sums[row][b][i], vdupq_n_s32(off));
            v[b][i] = vfmaq_f32(v[b][i], vmulq_n_f32(vcvtq_f32_s32(sum), scale), scales.v[i]);
        }
    }
    void store(int b, float* p) const {
        for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, v[b][i]);
    }
};

}  // namespace

#include "kernels.inc"

namespace tonewheel {
const Kernels* neon_kernels() {
    static const Kernels made = table("neon");
    return &made;
}
}  // namespace tonewheel
