// Floats side by side, as many as the instruction set this file is compiled for takes at once.
//
// Everything is in an anonymous namespace: each `isa_*.cpp` compiles this anew with its own instructions, and no copy
// may end up in another one's code. For the same reason nothing here calls inline functions of the standard library.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(TW_AVX512) || defined(TW_AVX2)
#include <immintrin.h>
#elif defined(TW_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(TW_AVX512)

struct Lanes {
    static constexpr int count = 16;
    __m512 v;
    static Lanes all(float x) { return {_mm512_set1_ps(x)}; }
    static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static Lanes load(const int8_t* p) {
        return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
    }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    float sum() const { return _mm512_reduce_add_ps(v); }
    float most() const { return _mm512_reduce_max_ps(v); }
};
inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Lanes magnitude(Lanes a) { return {_mm512_abs_ps(a.v)}; }
inline Lanes nearest(Lanes a) { return {_mm512_roundscale_ps(a.v, 0)}; }
inline Lanes times_power_of_two(Lanes a, Lanes whole) { return {_mm512_scalef_ps(a.v, whole.v)}; }
inline Lanes sign_of(Lanes size, Lanes sign) {
    const __m512i top = _mm512_set1_epi32((int)0x80000000);
    return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_andnot_si512(top, _mm512_castps_si512(size.v)),
                                                _mm512_and_si512(top, _mm512_castps_si512(sign.v))))};
}
inline void store_int8(Lanes whole, int8_t* p) {
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole.v)));
}

// Sums of each of as many vectors as one has lanes, side by side.
inline Lanes sums_of(const Lanes* x) {
    __m512 eight[8], four[4], two[2];
    for (int i = 0; i < 8; i++)
        eight[i] = _mm512_add_ps(_mm512_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v),
                                 _mm512_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v));
    for (int i = 0; i < 4; i++)
        four[i] = _mm512_add_ps(_mm512_shuffle_ps(eight[2 * i], eight[2 * i + 1], 0x44),
                                _mm512_shuffle_ps(eight[2 * i], eight[2 * i + 1], 0xee));
    // Each quarter of a vector now holds four sums of that quarter: add the quarters.
    for (int i = 0; i < 2; i++)
        two[i] = _mm512_add_ps(_mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0x88),
                               _mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0xdd));
    return {_mm512_add_ps(_mm512_shuffle_f32x4(two[0], two[1], 0x88), _mm512_shuffle_f32x4(two[0], two[1], 0xdd))};
}

#elif defined(TW_AVX2)

struct Lanes {
    static constexpr int count = 8;
    __m256 v;
    static Lanes all(float x) { return {_mm256_set1_ps(x)}; }
    static Lanes load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static Lanes load(const int8_t* p) {
        return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)))};
    }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    float sum() const {
        __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
    }
    float most() const {
        __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
    }
};
inline Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Lanes operator/(Lanes a, Lanes b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Lanes magnitude(Lanes a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline Lanes nearest(Lanes a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Lanes times_power_of_two(Lanes a, Lanes whole) {
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole.v), _mm256_set1_epi32(127)), 23);
    return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(bits))};
}
inline Lanes sign_of(Lanes size, Lanes sign) {
    const __m256 top = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(_mm256_andnot_ps(top, size.v), _mm256_and_ps(top, sign.v))};
}
inline void store_int8(Lanes whole, int8_t* p) {
    const __m256i x = _mm256_cvtps_epi32(whole.v);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(halves, halves));
}

inline Lanes sums_of(const Lanes* x) {
    __m256 four[4], two[2];
    for (int i = 0; i < 4; i++)
        four[i] = _mm256_add_ps(_mm256_unpacklo_ps(x[2 * i].v, x[2 * i + 1].v),
                                _mm256_unpackhi_ps(x[2 * i].v, x[2 * i + 1].v));
    for (int i = 0; i < 2; i++)
        two[i] = _mm256_add_ps(_mm256_shuffle_ps(four[2 * i], four[2 * i + 1], 0x44),
                               _mm256_shuffle_ps(four[2 * i], four[2 * i + 1], 0xee));
    return {_mm256_add_ps(_mm256_permute2f128_ps(two[0], two[1], 0x20), _mm256_permute2f128_ps(two[0], two[1], 0x31))};
}

#elif defined(TW_NEON)

struct Lanes {
    static constexpr int count = 4;
    float32x4_t v;
    static Lanes all(float x) { return {vdupq_n_f32(x)}; }
    static Lanes load(const float* p) { return {vld1q_f32(p)}; }
    static Lanes load(const int8_t* p) {
        int32_t four;
        memcpy(&four, p, 4);
        return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))))};
    }
    void store(float* p) const { vst1q_f32(p, v); }
    float sum() const { return vaddvq_f32(v); }
    float most() const { return vmaxvq_f32(v); }
};
inline Lanes operator+(Lanes a, Lanes b) { return {vaddq_f32(a.v, b.v)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {vsubq_f32(a.v, b.v)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {vmulq_f32(a.v, b.v)}; }
inline Lanes operator/(Lanes a, Lanes b) { return {vdivq_f32(a.v, b.v)}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Lanes larger(Lanes a, Lanes b) { return {vmaxq_f32(a.v, b.v)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {vminq_f32(a.v, b.v)}; }
inline Lanes magnitude(Lanes a) { return {vabsq_f32(a.v)}; }
inline Lanes nearest(Lanes a) { return {vrndnq_f32(a.v)}; }
inline Lanes times_power_of_two(Lanes a, Lanes whole) {
    const int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(whole.v), vdupq_n_s32(127)), 23);
    return {vmulq_f32(a.v, vreinterpretq_f32_s32(bits))};
}
inline Lanes sign_of(Lanes size, Lanes sign) {
    return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, size.v)};
}
inline void store_int8(Lanes whole, int8_t* p) {
    const int16x4_t narrow = vqmovn_s32(vcvtq_s32_f32(whole.v));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(narrow, narrow));
    vst1_lane_s32((int32_t*)(void*)p, vreinterpret_s32_s8(bytes), 0);
}

inline Lanes sums_of(const Lanes* x) {
    return {vpaddq_f32(vpaddq_f32(x[0].v, x[1].v), vpaddq_f32(x[2].v, x[3].v))};
}

#else  // one at a time, any processor

struct Lanes {
    static constexpr int count = 1;
    float v;
    static Lanes all(float x) { return {x}; }
    static Lanes load(const float* p) { return {*p}; }
    static Lanes load(const int8_t* p) { return {(float)*p}; }
    void store(float* p) const { *p = v; }
    float sum() const { return v; }
    float most() const { return v; }
};
inline Lanes operator+(Lanes a, Lanes b) { return {a.v + b.v}; }
inline Lanes operator-(Lanes a, Lanes b) { return {a.v - b.v}; }
inline Lanes operator*(Lanes a, Lanes b) { return {a.v * b.v}; }
inline Lanes operator/(Lanes a, Lanes b) { return {a.v / b.v}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {a.v * b.v + c.v}; }
inline Lanes larger(Lanes a, Lanes b) { return a.v > b.v ? a : b; }
inline Lanes smaller(Lanes a, Lanes b) { return a.v < b.v ? a : b; }
inline Lanes magnitude(Lanes a) { return {__builtin_fabsf(a.v)}; }
inline Lanes nearest(Lanes a) { return {__builtin_rintf(a.v)}; }
inline Lanes times_power_of_two(Lanes a, Lanes whole) {
    return {whole.v == whole.v ? __builtin_ldexpf(a.v, (int)whole.v) : whole.v};
}
inline Lanes sign_of(Lanes size, Lanes sign) { return {__builtin_copysignf(size.v, sign.v)}; }
inline void store_int8(Lanes whole, int8_t* p) { *p = (int8_t)whole.v; }
inline Lanes sums_of(const Lanes* x) { return x[0]; }

#endif

// e^x, relative error below 2e-7: 2^whole times a polynomial of degree 6 (Cephes, expf; Moshier 1989).
inline Lanes exponential(Lanes x) {
    // In this order, for x86 gives the second operand where one is NaN: it must come out again.
    x = smaller(Lanes::all(88.0f), larger(Lanes::all(-87.0f), x));
    const Lanes whole = nearest(x * Lanes::all(1.44269504f));
    Lanes rest = x - whole * Lanes::all(0.693359375f);
    rest = rest - whole * Lanes::all(-2.12194440e-4f);
    Lanes p = Lanes::all(1.9875691500e-4f);
    p = fma(p, rest, Lanes::all(1.3981999507e-3f));
    p = fma(p, rest, Lanes::all(8.3334519073e-3f));
    p = fma(p, rest, Lanes::all(4.1665795894e-2f));
    p = fma(p, rest, Lanes::all(1.6666665459e-1f));
    p = fma(p, rest, Lanes::all(5.0000001201e-1f));
    p = fma(p, rest * rest, rest + Lanes::all(1.0f));
    return times_power_of_two(p, whole);
}

// The error function, absolute error below 2e-7 (Abramowitz and Stegun 1964, 7.1.26).
inline Lanes error_function(Lanes x) {
    const Lanes size = magnitude(x), one = Lanes::all(1.0f);
    const Lanes t = one / fma(Lanes::all(0.3275911f), size, one);
    Lanes p = Lanes::all(1.061405429f);
    p = fma(p, t, Lanes::all(-1.453152027f));
    p = fma(p, t, Lanes::all(1.421413741f));
    p = fma(p, t, Lanes::all(-0.284496736f));
    p = fma(p, t, Lanes::all(0.254829592f));
    // Below -64 nothing is left beside 1, but what is too small for a float to hold in full takes ten times as long.
    const Lanes minus_square = larger(Lanes::all(-64.0f), Lanes::all(0.0f) - size * size);
    return sign_of(one - p * t * exponential(minus_square), x);
}

inline Lanes hyperbolic_tangent(Lanes x) {
    const Lanes two = Lanes::all(2.0f), one = Lanes::all(1.0f);
    return one - two / (exponential(x * two) + one);
}

}  // namespace
