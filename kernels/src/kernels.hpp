// What every instruction set offers, as a table of functions; the best one is chosen when the module is loaded.
#pragma once

#include <cstdint>

namespace tonewheel {

// A weight [outputs, inputs] as it lies in memory. Inputs are cut into groups that share a scale; outputs stand 16 side
// by side in blocks, so that one vector holds four inputs of each. Values are unsigned, the middle is zero: 128 for 8
// bits, 8 for 4 bits. Order: block, group, four inputs (8 bits) or eight (4 bits: the first four in the lower halves),
// output within the block, input. With 32 bits there are no groups and no scales, values are floats: block, input, output.
// Scales are bfloat16 (the upper half of a float: any size of weight fits): block,
// group, output. What is padded is zero.
struct Weights {
    const uint8_t* values;
    const uint16_t* scales;  // null with 32 bits
    const float* bias;  // [outputs] or null
    int outputs, inputs;
    int group, groups;  // groups = inputs / group, rounded up
    int bits;

    int blocks() const { return (outputs + 15) / 16; }
    long block_bytes() const { return 16L * (bits == 32 ? inputs : group * groups) * bits / 8; }
    long bytes() const { return blocks() * block_bytes(); }
    long scale_count() const { return bits == 32 ? 0 : 16L * blocks() * groups; }
};

// A weight [outputs, inputs] in two bfloat16 parts whose sum it is, to 2^-16 of each value. Order: 32 outputs, 32
// inputs, larger and smaller part, 16 outputs, two inputs, output, input. What is padded is zero.
struct SplitWeights {
    const uint16_t* parts;
    const float* bias;  // [outputs] or null
    int outputs, inputs;

    int steps() const { return (inputs + 31) / 32; }
    int pairs() const { return (outputs + 31) / 32; }
    long pair_values() const { return 2048L * steps(); }
};

// Rows of activations, quantised: values [rows, groups * group] signed, and for each group [rows, groups] its scale and
// the sum of its values, which takes the middle of the weights off again.
struct Rows {
    const int8_t* values;
    const float* scales;
    const int32_t* sums;
    int count;
};

// How a head's keys and values [positions, size] are kept. `bytes`: whole numbers of 8 bits, and after each position's the
// float they are to be multiplied by.
enum class Kept { floats, bytes };

inline int bytes_of(Kept kept) { return kept == Kept::floats ? 4 : 1; }
// From one position to the next, in values.
inline int stride_of(Kept kept, int size) { return kept == Kept::bytes ? size + 4 : size; }

enum class Activation { gelu, gelu_tanh, relu };

struct Kernels {
    const char* name;

    // One row of `inputs` floats → values, scales and sums of its groups.
    void (*quantise)(const float* x, int inputs, int group, int groups, int8_t* values, float* scales, int32_t* sums);
    // y[row * stride + output] = (or +=, where `add`) rows · weights of the blocks first … last - 1, bias included.
    void (*multiply)(const Weights& w, const Rows& rows, int first, int last, float* y, long stride, bool add);
    // The same of rows [count, inputs] as they are, for weights of 32 bits.
    void (*multiply_floats)(const Weights& w, const float* x, int count, int first, int last, float* y, long stride,
                            bool add);
    void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int n, float* y);
    void (*rms_norm)(const float* x, const float* weight, float eps, int n, float* y);
    void (*activate)(Activation kind, float* x, int n);
    void (*gate)(const float* gate, const float* up, int n, float* y);  // silu(gate) * up
    void (*to_bytes)(const float* x, int n, int8_t* y);  // as Kept::bytes: n + 4 of them
    // Attention of `queries` rows [size] (stride apart) that share one head's keys and values [positions, size];
    // `scores` has room for queries * (positions rounded up to 16) floats.
    void (*attend)(const float* query, int queries, long stride, const void* keys, const void* values, Kept kept,
                   int positions, int size, float scale, float* scores, float* out, long out_stride);
    // Rows [rows, inputs], `stride` apart, in two parts, each 16 rows a 16 * 32 * 2 * steps of them; null where there are
    // no tiles.
    void (*split_rows)(const float* x, long stride, int rows, int inputs, uint16_t* parts);
    // y [rows, outputs] = rows · w over the steps first … last - 1, added to what is there if first is not 0; behind the
    // last step the bias, and `kind` of it if not null. Null where there are no tiles.
    void (*multiply_split)(const SplitWeights& w, const uint16_t* parts, int rows, int first, int last,
                           const Activation* kind, float* y);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null where not compiled in
const Kernels* avx512_kernels();
const Kernels* amx_kernels();
const Kernels* neon_kernels();

}  // namespace tonewheel
