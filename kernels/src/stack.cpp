#include "stack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace tonewheel {
namespace {

void check(const std::shared_ptr<Weight>& w, int outputs, int inputs, const char* name) {
    if (!w || w->view().inputs != inputs || (outputs && w->view().outputs != outputs))
        throw std::invalid_argument(std::string("the weight ") + name + " has another shape than the stack");
}

void check(const Norm& n, int width) {
    if (int(n.weight.size()) != width || (!n.bias.empty() && int(n.bias.size()) != width))
        throw std::invalid_argument("a norm has another width than the stack");
}

}  // namespace

Stack::Stack(std::shared_ptr<Crew> crew, const Kernels* kernels, Shape s, std::vector<Layer> layers, Norm last,
             std::shared_ptr<Weight> heads, std::vector<float> cosines, std::vector<float> sines)
    : shape(s), layers(int(layers.size())), crew_(std::move(crew)), kernels_(kernels), layers_(std::move(layers)),
      last_(std::move(last)), heads_(std::move(heads)), cosines_(std::move(cosines)), sines_(std::move(sines)) {
    if (s.width < 1 || s.heads < 1 || s.key_heads < 1 || s.head_size < 1 || layers_.empty())
        throw std::invalid_argument("width, heads, key heads, head size and the number of layers are at least 1");
    if (s.heads % s.key_heads) throw std::invalid_argument("heads are a multiple of key heads");
    if (s.head_size % 2 && !cosines_.empty()) throw std::invalid_argument("a rotary head has an even size");
    const int inner = s.heads * s.head_size;
    widest_ = std::max(s.width, inner);
    for (const Layer& layer : layers_) {
        check(layer.query_key_value, inner + 2 * s.key_heads * s.head_size, s.width, "query_key_value");
        check(layer.out, s.width, inner, "out");
        const int fed = layer.feed_out ? layer.feed_out->view().inputs : 0;
        check(layer.feed_in, s.gated ? 2 * fed : fed, s.width, "feed_in");
        check(layer.feed_out, s.width, fed, "feed_out");
        if (layer.cross_query) {
            check(layer.cross_query, inner, s.width, "cross_query");
            check(layer.cross_out, s.width, inner, "cross_out");
        }
        check(layer.norm, s.width);
        check(layer.feed_norm, s.width);
        if (layer.cross_query) check(layer.cross_norm, s.width);
        widest_ = std::max(widest_, layer.feed_in->view().outputs);
    }
    check(last_, s.width);
    if (heads_) check(heads_, 0, s.width, "heads");
    turn_positions_ = cosines_.empty() ? 0 : long(cosines_.size()) / (s.head_size / 2);
}

void Stack::keep_in(std::vector<Cache> keys, std::vector<Cache> values, Kept kept, int rows, int positions) {
    if (int(keys.size()) != layers || int(values.size()) != layers)
        throw std::invalid_argument("the cache has another number of layers");
    keys_ = std::move(keys);
    values_ = std::move(values);
    kept_ = kept;
    cache_rows_ = rows;
    cache_positions_ = positions;
}

void Stack::look_at(int row, const float* keys, const float* values, int count) {
    if (count) texts_[row] = {keys, values, count};
    else texts_.erase(row);
}

void Stack::make_room(int count) {
    if (count <= room_) return;
    room_ = count;
    const size_t n = size_t(count), inner = size_t(shape.heads) * shape.head_size;
    x_.resize(n * shape.width);
    y_.resize(n * widest_);
    heads_in_.resize(n * (inner + 2 * size_t(shape.key_heads) * shape.head_size));
    seen_.resize(n * inner);
    fed_.resize(n * widest_);
    looked_.resize(n * shape.width);
    quantised_.make_room(n, size_t(widest_));
}

void Stack::norm(const Norm& n, const float* x, float* y) const {
    if (n.bias.empty()) kernels_->rms_norm(x, n.weight.data(), shape.eps, shape.width, y);
    else kernels_->layer_norm(x, n.weight.data(), n.bias.data(), shape.eps, shape.width, y);
}

// Row `at` of what goes into `w` next.
void Stack::prepare(const Weight& weight, const float* row, int at) { quantised_.put(*kernels_, weight.view(), row, at); }

template <typename F>
void Stack::multiply(const Weight& weight, const float* floats, int count, float* y, long stride, bool add, F&& after) {
    tonewheel::multiply(*crew_, *kernels_, weight.view(), quantised_.view(count), floats, y, stride, add, after);
}

// Turn the queries and keys of a row, and keep its keys and values.
void Stack::keep(int layer, int at, int64_t row, int64_t position) {
    const int size = shape.head_size, pairs = size / 2, step = stride_of(kept_, size);
    float* heads = &heads_in_[size_t(at) * (shape.heads + 2 * shape.key_heads) * size];
    if (!cosines_.empty()) {
        const float *cos = &cosines_[size_t(position) * pairs], *sin = &sines_[size_t(position) * pairs];
        for (int h = 0; h < shape.heads + shape.key_heads; h++) {
            float* x = heads + h * size;
            for (int i = 0; i < pairs; i++) {
                const float first = x[2 * i], second = x[2 * i + 1];
                x[2 * i] = first * cos[i] - second * sin[i];
                x[2 * i + 1] = second * cos[i] + first * sin[i];
            }
        }
    }
    for (int h = 0; h < shape.key_heads; h++) {
        for (bool value : {false, true}) {
            const Cache& cache = value ? values_[layer] : keys_[layer];
            const float* from = heads + (shape.heads + (value ? shape.key_heads : 0) + h) * size;
            const long to = row * cache.row_stride + h * cache.head_stride + position * step;
            if (kept_ == Kept::bytes) kernels_->to_bytes(from, size, static_cast<int8_t*>(cache.data) + to);
            else std::memcpy(static_cast<float*>(cache.data) + to, from, size_t(size) * 4);
        }
    }
}

void Stack::attend_own(int layer, const int64_t* rows, const int64_t* positions, int count,
                       std::vector<float>& scores) {
    const int size = shape.head_size, groups = shape.heads / shape.key_heads, bytes = bytes_of(kept_);
    const float scale = 1.0f / std::sqrt(float(size));
    crew_->share(count * shape.key_heads, [&](int item) {
        const int at = item / shape.key_heads, h = item % shape.key_heads;
        const Cache &keys = keys_[layer], &values = values_[layer];
        const long from = rows[at] * keys.row_stride + h * keys.head_stride;
        const long from_value = rows[at] * values.row_stride + h * values.head_stride;
        const float* query = &heads_in_[(size_t(at) * (shape.heads + 2 * shape.key_heads) + h * groups) * size];
        kernels_->attend(query, groups, size, static_cast<const char*>(keys.data) + from * bytes,
                         static_cast<const char*>(values.data) + from_value * bytes, kept_, int(positions[at]) + 1,
                         size, scale, scores.data(), &seen_[(size_t(at) * shape.heads + h * groups) * size], size);
    });
}

void Stack::step(const float* x, const int64_t* rows, const int64_t* positions, int count, float* hidden,
                 float* logits) {
    const int width = shape.width, size = shape.head_size, inner = shape.heads * size;
    const long heads_stride = inner + 2L * shape.key_heads * size;
    if (logits && !heads_) throw std::invalid_argument("there are no heads that would make logits");
    std::lock_guard<std::mutex> alone(one_at_a_time_);
    int longest = 1;
    std::vector<int> looking;
    std::vector<Text> texts;
    std::vector<int> looks(size_t(count), -1);  // which of the looking ones a row is
    for (int i = 0; i < count; i++) {
        if (rows[i] < 0 || rows[i] >= cache_rows_ || positions[i] < 0 || positions[i] >= cache_positions_)
            throw std::out_of_range("a row or position lies outside the cache");
        if (!cosines_.empty() && positions[i] >= turn_positions_)
            throw std::out_of_range("a position lies outside the rotary table");
        longest = std::max(longest, int(positions[i]) + 1);
        const auto text = texts_.find(int(rows[i]));
        if (text != texts_.end()) {
            looks[size_t(i)] = int(looking.size());
            looking.push_back(i);
            texts.push_back(text->second);
            longest = std::max(longest, text->second.count);
        }
    }
    make_room(count);
    const int looking_count = int(looking.size());
    const auto nothing = [](int, int) {};
    crew_->run([&](int) {
        thread_local std::vector<float> scores;
        scores.resize(size_t(shape.heads / shape.key_heads) * ((longest + 15) / 16 * 16));
        for (int n = 0; n < layers; n++) {
            const Layer& layer = layers_[n];
            crew_->share(count, [&](int i) {
                float *to = &x_[size_t(i) * width], *y = &y_[size_t(i) * width];
                if (n == 0) std::memcpy(to, x + long(i) * width, size_t(width) * 4);
                norm(layer.norm, to, y);
                prepare(*layer.query_key_value, y, i);
            });
            multiply(*layer.query_key_value, y_.data(), count, heads_in_.data(), heads_stride, false, nothing);
            crew_->share(count, [&](int i) { keep(n, i, rows[i], positions[i]); });
            attend_own(n, rows, positions, count, scores);
            if (layer.out->view().bits != 32)
                crew_->share(count, [&](int i) { prepare(*layer.out, &seen_[size_t(i) * inner], i); });
            multiply(*layer.out, seen_.data(), count, x_.data(), width, true, nothing);
            const bool crosses = layer.cross_query && looking_count;
            if (crosses) {
                crew_->share(looking_count, [&](int j) {
                    float* y = &y_[size_t(j) * width];
                    norm(layer.cross_norm, &x_[size_t(looking[j]) * width], y);
                    prepare(*layer.cross_query, y, j);
                });
                multiply(*layer.cross_query, y_.data(), looking_count, heads_in_.data(), inner, false, nothing);
                crew_->share(looking_count * shape.heads, [&](int item) {
                    const int j = item / shape.heads, h = item % shape.heads;
                    const Text& text = texts[j];
                    const long from = (long(n) * shape.heads + h) * text.count * size;
                    const size_t at = (size_t(j) * shape.heads + h) * size;
                    kernels_->attend(&heads_in_[at], 1, size, text.keys + from, text.values + from, Kept::floats,
                                     text.count, size, 1.0f / std::sqrt(float(size)), scores.data(), &seen_[at], size);
                });
                if (layer.cross_out->view().bits != 32)
                    crew_->share(looking_count, [&](int j) { prepare(*layer.cross_out, &seen_[size_t(j) * inner], j); });
                multiply(*layer.cross_out, seen_.data(), looking_count, looked_.data(), width, false, nothing);
            }
            crew_->share(count, [&](int i) {
                float *to = &x_[size_t(i) * width], *y = &y_[size_t(i) * width];
                if (crosses && looks[i] >= 0) {
                    const float* more = &looked_[size_t(looks[i]) * width];
                    for (int k = 0; k < width; k++) to[k] += more[k];
                }
                norm(layer.feed_norm, to, y);
                prepare(*layer.feed_in, y, i);
            });
            const int made = layer.feed_in->view().outputs, fed = layer.feed_out->view().inputs;
            multiply(*layer.feed_in, y_.data(), count, fed_.data(), made, false, [&](int first, int last) {
                if (!shape.gated)
                    for (int i = 0; i < count; i++)
                        kernels_->activate(shape.activation, &fed_[size_t(i) * made + first], last - first);
            });
            const float* into = fed_.data();
            if (shape.gated) {
                into = y_.data();
                crew_->share(count, [&](int i) {
                    const float* gate = &fed_[size_t(i) * made];
                    kernels_->gate(gate, gate + fed, fed, &y_[size_t(i) * fed]);
                    prepare(*layer.feed_out, &y_[size_t(i) * fed], i);
                });
            } else if (layer.feed_out->view().bits != 32) {
                crew_->share(count, [&](int i) { prepare(*layer.feed_out, &fed_[size_t(i) * fed], i); });
            }
            multiply(*layer.feed_out, into, count, x_.data(), width, true, nothing);
        }
        crew_->share(count, [&](int i) {
            float* y = hidden + long(i) * width;
            norm(last_, &x_[size_t(i) * width], y);
            if (logits) prepare(*heads_, y, i);
        });
        if (logits) multiply(*heads_, hidden, count, logits, heads_->view().outputs, false, nothing);
    });
}

}  // namespace tonewheel
