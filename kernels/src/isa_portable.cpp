// Plain C++ for any processor: what the others are held to.
#include "lanes.hpp"

namespace {

struct Scales {
    float v[16];
    explicit Scales(const uint16_t* p) {
        for (int i = 0; i < 16; i++) {
            const uint32_t bits = (uint32_t)p[i] << 16;
            memcpy(&v[i], &bits, 4);
        }
    }
};

template <int rows, int blocks>
struct Dots {
    static constexpr bool centred = false;
    int sums[rows][blocks][16];

    template <int bits>
    void run(const uint8_t* at, long block_bytes, const int8_t* from, long width, int group) {
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++)
                for (int i = 0; i < 16; i++) sums[r][b][i] = 0;
        constexpr int inputs = 32 / bits;
        for (int k = 0; k < group; k += inputs, at += 64)
            for (int r = 0; r < rows; r++)
                for (int b = 0; b < blocks; b++)
                    for (int i = 0; i < 16; i++)
                        for (int c = 0; c < 4; c++) {
                            const int w = at[b * block_bytes + 4 * i + c];
                            const int8_t* x = from + r * width + k + c;
                            sums[r][b][i] += bits == 8 ? w * x[0] : (w & 15) * x[0] + (w >> 4) * x[4];
                        }
    }
};

template <int blocks>
struct Sums {
    float v[blocks][16];
    void clear() {
        for (int b = 0; b < blocks; b++)
            for (int i = 0; i < 16; i++) v[b][i] = 0;
    }
    template <typename D>
    void add(int b, const D& dots, int row, float scale, int off, const Scales& scales) {
        for (int i = 0; i < 16; i++) v[b][i] += (float)(dots.sums[row][b][i] - off) * scale * scales.v[i];
    }
    void store(int b, float* p) const { memcpy(p, v[b], sizeof v[b]); }
};

}  // namespace

#include "kernels.inc"

namespace tonewheel {
const Kernels* portable_kernels() {
    static const Kernels made = table("portable");
    return &made;
}
}  // namespace tonewheel
