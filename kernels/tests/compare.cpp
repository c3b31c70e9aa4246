// Holds every instruction set of a build to the portable one, and the portable products to double precision. It needs no
// Python, so that it runs under an emulator of another processor; README.md has the commands.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "choice.hpp"
#include "split.hpp"
#include "stack.hpp"

using namespace tonewheel;

namespace {

std::mt19937 dice(1);
int faults = 0;

std::vector<float> drawn(size_t n, float size = 1) {
    std::normal_distribution<float> normal(0, size);
    std::vector<float> made(n);
    for (float& x : made) x = normal(dice);
    return made;
}

const Kernels* named(const std::string& name) {
    setenv("TONEWHEEL_KERNELS_CPU", name.c_str(), 1);
    return chosen_kernels();
}

// `allowed`: of the size of the largest value, or of `sizes`, one for each.
void hold(const char* what, const Kernels* k, const std::vector<float>& ours, const std::vector<float>& theirs,
          float allowed, const std::vector<float>& sizes = {}) {
    float most = 1e-30f;
    for (float x : theirs) most = std::fmax(most, std::fabs(x));
    for (size_t i = 0; i < ours.size(); i++) {
        const float off = std::fabs(ours[i] - theirs[i]);
        if (off <= allowed * (sizes.empty() ? most : sizes[i]) || (std::isnan(ours[i]) && std::isnan(theirs[i])))
            continue;
        std::printf("%s, %s: value %zu is %.9g, not %.9g\n", k->name, what, i, double(ours[i]), double(theirs[i]));
        faults++;
        return;
    }
}

struct Quantised {
    std::vector<int8_t> values;
    std::vector<float> scales;
    std::vector<int32_t> sums;
    Rows rows(int count) const { return {values.data(), scales.data(), sums.data(), count}; }
};

Quantised quantised(const Kernels* k, const Weights& w, const std::vector<float>& x, int count) {
    const size_t width = size_t(w.groups) * w.group;
    Quantised q{std::vector<int8_t>(count * width), std::vector<float>(size_t(count) * w.groups),
                std::vector<int32_t>(size_t(count) * w.groups)};
    for (int r = 0; r < count; r++)
        k->quantise(&x[size_t(r) * w.inputs], w.inputs, w.group, w.groups, &q.values[r * width],
                    &q.scales[size_t(r) * w.groups], &q.sums[size_t(r) * w.groups]);
    return q;
}

std::vector<float> multiplied(const Kernels* k, const Weights& w, const std::vector<float>& x, int count) {
    std::vector<float> y(size_t(count) * w.outputs, 0.5f);  // what is there is added to
    if (w.bits == 32) {
        k->multiply_floats(w, x.data(), count, 0, w.blocks(), y.data(), w.outputs, true);
    } else {
        const Quantised q = quantised(k, w, x, count);
        k->multiply(w, q.rows(count), 0, w.blocks(), y.data(), w.outputs, true);
    }
    return y;
}

void compare_products(const Kernels* k, const Kernels* portable, Crew& crew) {
    for (int bits : {4, 8, 32}) {
        for (int group : {32, 96, 128}) {
            for (int count : {1, 2, 3, 4, 5, 7, 8, 9, 17, 64}) {
                const int outputs = 1 + int(dice() % 70), inputs = 1 + int(dice() % 300);
                const auto from = drawn(size_t(outputs) * inputs), bias = drawn(outputs);
                const auto x = drawn(size_t(count) * inputs, 3);
                const Weight weight(crew, from.data(), inputs, outputs, inputs, bits, group, bias.data());
                const Weights& w = weight.view();
                std::vector<float> row(inputs), sizes, exact;
                const Quantised q = bits == 32 ? Quantised{} : quantised(portable, w, x, count);
                for (int r = 0; r < count; r++) {
                    for (int n = 0; n < outputs; n++) {
                        weight.row(n, row.data());
                        double sum = 0.5 + bias[n], size = std::fabs(sum);
                        for (int i = 0; i < inputs; i++) {
                            const double value =
                                bits == 32 ? x[size_t(r) * inputs + i]
                                           : double(q.values[(size_t(r) * w.groups + i / group) * group + i % group]) *
                                                 q.scales[size_t(r) * w.groups + i / group];
                            sum += value * row[i];
                            size += std::fabs(value * row[i]);
                        }
                        exact.push_back(float(sum));
                        sizes.push_back(float(size));
                    }
                }
                const auto theirs = multiplied(portable, w, x, count), ours = multiplied(k, w, x, count);
                hold("products by hand", portable, theirs, exact, 2e-6f, sizes);
                hold("products", k, ours, theirs, 1e-6f, sizes);
                if (bits != 32) {
                    const Quantised own = quantised(k, w, x, count);
                    if (own.values != q.values || own.sums != q.sums || own.scales != q.scales) {
                        std::printf("%s: rows are rounded otherwise\n", k->name);
                        faults++;
                    }
                }
                for (int r = 0; r < count; r++) {  // alone: the same bits
                    const std::vector<float> one(x.begin() + long(r) * inputs, x.begin() + long(r + 1) * inputs);
                    const auto alone = multiplied(k, w, one, 1);
                    if (std::memcmp(alone.data(), &ours[size_t(r) * outputs], alone.size() * 4)) {
                        std::printf("%s: a row alone differs from the same among %d\n", k->name, count);
                        faults++;
                    }
                }
            }
        }
    }
}

void compare_rest(const Kernels* k, const Kernels* portable) {
    for (int n : {1, 3, 15, 16, 17, 64, 333}) {
        const auto x = drawn(n, 4), weight = drawn(n), bias = drawn(n);
        std::vector<float> a(n), b(n);
        k->layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, n, a.data());
        portable->layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, n, b.data());
        hold("layer_norm", k, a, b, 2e-6f);
        k->rms_norm(x.data(), weight.data(), 1e-5f, n, a.data());
        portable->rms_norm(x.data(), weight.data(), 1e-5f, n, b.data());
        hold("rms_norm", k, a, b, 2e-6f);
        for (Activation kind : {Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
            a = b = x;
            a[0] = b[0] = n > 3 ? std::nanf("") : -100;
            k->activate(kind, a.data(), n);
            portable->activate(kind, b.data(), n);
            hold("activate", k, a, b, 1e-6f);
        }
        k->gate(x.data(), bias.data(), n, a.data());
        portable->gate(x.data(), bias.data(), n, b.data());
        hold("gate", k, a, b, 1e-6f);
    }
    for (int size : {5, 8, 20, 64, 128}) {
        for (int positions : {1, 2, 7, 15, 16, 17, 31, 33, 70}) {
            for (Kept kept : {Kept::floats, Kept::bytes}) {
                const int queries = 1 + positions % 3;
                const auto query = drawn(size_t(queries) * size), keys = drawn(size_t(positions) * size),
                           values = drawn(size_t(positions) * size);
                const int step = stride_of(Kept::bytes, size);
                std::vector<int8_t> byte_keys(size_t(positions) * step), byte_values(byte_keys.size()), again(step);
                for (int p = 0; p < positions; p++) {
                    portable->to_bytes(&keys[size_t(p) * size], size, &byte_keys[size_t(p) * step]);
                    portable->to_bytes(&values[size_t(p) * size], size, &byte_values[size_t(p) * step]);
                    k->to_bytes(&values[size_t(p) * size], size, again.data());
                    if (!std::equal(again.begin(), again.end(), byte_values.begin() + long(p) * step))
                        std::printf("%s: bytes are rounded otherwise\n", k->name), faults++;
                }
                const void* kinds[2][2] = {{keys.data(), values.data()}, {byte_keys.data(), byte_values.data()}};
                const void *from = kinds[int(kept)][0], *what = kinds[int(kept)][1];
                std::vector<float> a(query.size()), b(query.size()), scores(size_t(queries) * 80);
                k->attend(query.data(), queries, size, from, what, kept, positions, size, 0.3f, scores.data(), a.data(),
                          size);
                portable->attend(query.data(), queries, size, from, what, kept, positions, size, 0.3f, scores.data(),
                                 b.data(), size);
                hold("attend", k, a, b, 5e-6f);
            }
        }
    }
}

// Both against sums of exact products: 2^-16 of it is left out of each, and as much of either factor.
void compare_split(const Kernels* k, Crew& crew) {
    if (!k->multiply_split) return;
    for (int rows : {1, 16, 17, 70, 300}) {
        for (int inputs : {1, 31, 64, 200, 1100}) {
            for (int outputs : {1, 16, 33, 96}) {
                const auto x = drawn(size_t(rows) * inputs), from = drawn(size_t(outputs) * inputs);
                const auto bias = drawn(size_t(outputs));
                const SplitWeight weight(from.data(), outputs, inputs, bias.data());
                const SplitWeight back(drawn(size_t(inputs) * outputs).data(), inputs, outputs, nullptr);
                std::vector<float> alone(size_t(rows) * outputs), shared(alone.size()), fed(size_t(rows) * inputs);
                multiply_split(*k, nullptr, weight.view(), nullptr, x.data(), rows, alone.data());
                multiply_split(*k, &crew, weight.view(), nullptr, x.data(), rows, shared.data());
                feed_split(*k, &crew, weight.view(), Activation::gelu, back.view(), x.data(), rows, fed.data());
                if (alone != shared) std::printf("%s: a crew's products have other bits\n", k->name), faults++;
                for (int r = 0; r < rows; r++) {
                    for (int n = 0; n < outputs; n++) {
                        double exact = bias[n], sizes = std::fabs(exact);
                        for (int i = 0; i < inputs; i++) {
                            const double part = double(x[size_t(r) * inputs + i]) * from[size_t(n) * inputs + i];
                            exact += part;
                            sizes += std::fabs(part);
                        }
                        if (!(std::fabs(alone[size_t(r) * outputs + n] - exact) <= 3 * sizes / 65536))
                            std::printf("%s: a product of %d is off\n", k->name, inputs), faults++;
                    }
                }
            }
        }
    }
}

}  // namespace

int main() {
    unsetenv("TONEWHEEL_KERNELS_CPU");
    std::printf("chosen: %s\n", chosen_kernels()->name);
    Crew crew(2);
    const Kernels* portable = named("portable");
    for (const std::string& name : available_kernels()) {
        const Kernels* k = named(name);
        const int before = faults;
        compare_products(k, portable, crew);
        compare_rest(k, portable);
        compare_split(k, crew);
        std::printf("%s: %s\n", k->name, faults == before ? "as portable" : "WRONG");
    }
    return faults ? 1 : 0;
}
