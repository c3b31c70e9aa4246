// AVX2 with FMA. There, products of bytes are summed in pairs of 16 bits, which 255 * 127 * 2 would overflow: eight-bit
// weights go in as sizes and give their signs to the activations. Four-bit weights (at most 15) need no such care.
#define TW_AVX2
#include "lanes.hpp"

namespace {

struct Scales {
    __m256 v[2];
    explicit Scales(const uint16_t* p) {
        for (int h = 0; h < 2; h++) {
            const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8 * h)));
            v[h] = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
        }
    }
};

template <int rows, int blocks>
struct Dots {
    static constexpr bool centred = true;
    __m256i sums[rows][blocks][2];

    template <int bits>
    void run(const uint8_t* at, long block_bytes, const int8_t* from, long width, int group) {
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++) sums[r][b][0] = sums[r][b][1] = _mm256_setzero_si256();
        const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15), top = _mm256_set1_epi8((char)0x80);
        constexpr int inputs = 32 / bits;
        for (int k = 0; k < group; k += inputs, at += 64) {
            for (int b = 0; b < blocks; b++) {
                for (int h = 0; h < 2; h++) {
                    const __m256i w = _mm256_loadu_si256((const __m256i*)(at + b * block_bytes + 32 * h));
                    if (bits == 8) {
                        const __m256i sign = _mm256_xor_si256(w, top);  // 128 off: a signed byte
                        const __m256i size = _mm256_abs_epi8(sign);
                        for (int r = 0; r < rows; r++) {
                            int four;
                            memcpy(&four, from + r * width + k, 4);
                            const __m256i x = _mm256_sign_epi8(_mm256_set1_epi32(four), sign);
                            const __m256i pairs = _mm256_maddubs_epi16(size, x);
                            sums[r][b][h] = _mm256_add_epi32(sums[r][b][h], _mm256_madd_epi16(pairs, ones));
                        }
                    } else {
                        const __m256i first = _mm256_and_si256(w, low);
                        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(w, 4), low);
                        for (int r = 0; r < rows; r++) {
                            int four, next;
                            memcpy(&four, from + r * width + k, 4);
                            memcpy(&next, from + r * width + k + 4, 4);
                            const __m256i pairs = _mm256_maddubs_epi16(first, _mm256_set1_epi32(four));
                            const __m256i more = _mm256_maddubs_epi16(second, _mm256_set1_epi32(next));
                            const __m256i both = _mm256_add_epi16(pairs, more);  // at most 4 * 15 * 127
                            sums[r][b][h] = _mm256_add_epi32(sums[r][b][h], _mm256_madd_epi16(both, ones));
                        }
                    }
                }
            }
        }
    }
};

template <int blocks>
struct Sums {
    __m256 v[blocks][2];
    void clear() {
        for (int b = 0; b < blocks; b++) v[b][0] = v[b][1] = _mm256_setzero_ps();
    }
    template <typename D>
    void add(int b, const D& dots, int row, float scale, int off, const Scales& scales) {
        for (int h = 0; h < 2; h++) {
            const __m256i sum = _mm256_sub_epi32(dots.sums[row][b][h], _mm256_set1_epi32(off));
            const __m256 part = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale));
            v[b][h] = _mm256_fmadd_ps(part, scales.v[h], v[b][h]);
        }
    }
    void store(int b, float* p) const {
        _mm256_storeu_ps(p, v[b][0]);
        _mm256_storeu_ps(p + 8, v[b][1]);
    }
};

}  // namespace

#include "kernels.inc"

namespace tonewheel {
const Kernels* avx2_kernels() {
    static const Kernels made = table("avx2");
    return &made;
}
}  // namespace tonewheel
