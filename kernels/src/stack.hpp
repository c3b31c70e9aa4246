// The layers of a pre-norm transformer decoder, one step or one piece of a prompt for all rows in one call.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "crew.hpp"
#include "kernels.hpp"
#include "product.hpp"
#include "weight.hpp"

namespace tonewheel {

struct Norm {
    std::vector<float> weight, bias;  // no bias: RMS norm
};

struct Layer {
    Norm norm;
    std::shared_ptr<Weight> query_key_value, out;
    Norm cross_norm;  // of the three, none or all
    std::shared_ptr<Weight> cross_query, cross_out;
    Norm feed_norm;
    std::shared_ptr<Weight> feed_in, feed_out;
};

struct Shape {
    int width, heads, key_heads, head_size;
    float eps;
    bool gated;  // feed_in makes gate and up, silu(gate) * up goes on
    Activation activation;
};

// A tensor [rows, heads, positions, values of a position] without gaps in its last two: the other strides, in values.
struct Cache {
    void* data;
    long row_stride, head_stride;
};

class Stack {
  public:
    // `turns`: cosines and sines [positions, head_size / 2] of the rotary embedding of neighbouring pairs, or none.
    Stack(std::shared_ptr<Crew> crew, const Kernels* kernels, Shape shape, std::vector<Layer> layers, Norm last,
          std::shared_ptr<Weight> heads, std::vector<float> cosines, std::vector<float> sines);

    // Where keys and values of all layers are kept from now on.
    void keep_in(std::vector<Cache> keys, std::vector<Cache> values, Kept kept, int rows, int positions);
    // What a row of the cache looks at: keys and values [layers, heads, count, head_size], floats; count 0: nothing.
    void look_at(int row, const float* keys, const float* values, int count);

    // x [count, width]: rows at their positions (of one row in order, if there are several), the keys and values of
    // which are kept. → hidden [count, width] after the last norm, and logits [count, outputs of heads] unless null.
    void step(const float* x, const int64_t* rows, const int64_t* positions, int count, float* hidden, float* logits);

    const Shape shape;
    const int layers;
    int outputs() const { return heads_ ? heads_->view().outputs : 0; }

  private:
    struct Text {
        const float *keys, *values;
        int count;
    };

    void make_room(int count);
    void norm(const Norm& n, const float* x, float* y) const;
    void prepare(const Weight& w, const float* row, int at);
    template <typename F>
    void multiply(const Weight& w, const float* floats, int count, float* y, long stride, bool add, F&& after);
    void attend_own(int layer, const int64_t* rows, const int64_t* positions, int count, std::vector<float>& scores);
    void keep(int layer, int at, int64_t row, int64_t position);

    std::mutex one_at_a_time_;  // what lies between the layers is there once
    std::shared_ptr<Crew> crew_;
    const Kernels* kernels_;
    std::vector<Layer> layers_;
    Norm last_;
    std::shared_ptr<Weight> heads_;
    std::vector<float> cosines_, sines_;
    std::vector<Cache> keys_, values_;
    Kept kept_ = Kept::floats;
    int cache_rows_ = 0, cache_positions_ = 0;
    std::unordered_map<int, Text> texts_;
    long turn_positions_ = 0;

    int room_ = 0;
    int widest_ = 0;
    std::vector<float> x_, y_, heads_in_, seen_, fed_, looked_;
    QuantisedRows quantised_;
};

}  // namespace tonewheel
