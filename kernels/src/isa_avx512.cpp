// AVX-512 with VNNI: four products of an unsigned and a signed byte are summed in one instruction, 16 outputs at once.
#define TW_AVX512
#include "lanes.hpp"

namespace {

struct Scales {
    __m512 v;
    explicit Scales(const uint16_t* p)
        : v(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))) {}
};

template <int rows, int blocks>
struct Dots {
    static constexpr bool centred = false;  // whether sums of eight-bit weights are free of the middle already
    __m512i sums[rows][blocks];

    template <int bits>
    void run(const uint8_t* at, long block_bytes, const int8_t* from, long width, int group) {
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++) sums[r][b] = _mm512_setzero_si512();
        const __m512i low = _mm512_set1_epi8(15);
        constexpr int inputs = 32 / bits;  // of one load of 64 bytes
        for (int k = 0; k < group; k += inputs, at += 64) {
            __m512i first[blocks], second[blocks];
            for (int b = 0; b < blocks; b++) {
                first[b] = _mm512_loadu_si512(at + b * block_bytes);
                _mm_prefetch((const char*)(at + b * block_bytes + 2048), _MM_HINT_T0);
                if (bits == 4) {
                    second[b] = _mm512_and_si512(_mm512_srli_epi16(first[b], 4), low);
                    first[b] = _mm512_and_si512(first[b], low);
                }
            }
            for (int r = 0; r < rows; r++) {
                int four;
                memcpy(&four, from + r * width + k, 4);
                for (int b = 0; b < blocks; b++)
                    sums[r][b] = _mm512_dpbusd_epi32(sums[r][b], first[b], _mm512_set1_epi32(four));
                if (bits == 4) {
                    memcpy(&four, from + r * width + k + 4, 4);
                    for (int b = 0; b < blocks; b++)
                        sums[r][b] = _mm512_dpbusd_epi32(sums[r][b], second[b], _mm512_set1_epi32(four));
                }
            }
        }
    }
};

template <int blocks>
struct Sums {
    __m512 v[blocks];
    void clear() {
        for (int b = 0; b < blocks; b++) v[b] = _mm512_setzero_ps();
    }
    template <typename D>
    void add(int b, const D& dots, int row, float scale, int off, const Scales& scales) {
        const __m512i sum = _mm512_sub_epi32(dots.sums[row][b], _mm512_set1_epi32(off));
        v[b] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale)), scales.v, v[b]);
    }
    void store(int b, float* p) const { _mm512_storeu_ps(p, v[b]); }
};

}  // namespace

#if defined(TW_AMX)
#include "amx.inc"
#endif
#include "kernels.inc"

namespace tonewheel {
#if defined(TW_AMX)
const Kernels* amx_kernels() {
    static const Kernels made = table("amx");
    return &made;
}
#else
const Kernels* avx512_kernels() {
    static const Kernels made = table("avx512-vnni");
    return &made;
}
#endif
}  // namespace tonewheel
