// The Python module: arrays in, arrays out, checked; the interpreter is free while they are worked on.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "choice.hpp"
#include "draw.hpp"
#include "split.hpp"
#include "stack.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace tonewheel;

namespace {

using Floats1 = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats2 = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Floats4 = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Out2 = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Whole1 = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes1 = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutBytes1 = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Flags1 = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Doubles1 = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats3 = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Whole3 = nb::ndarray<const int64_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutWhole2 = nb::ndarray<int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Any4 = nb::ndarray<nb::ndim<4>, nb::device::cpu>;

// A weight with the crew that made it.
struct PyWeight {
    std::shared_ptr<Weight> weight;
    std::shared_ptr<Crew> crew;
    const Kernels* kernels;
};

const float* bias_of(const std::optional<Floats1>& bias, size_t outputs) {
    if (bias && bias->shape(0) != outputs) throw std::invalid_argument("the bias has another length than the outputs");
    return bias ? bias->data() : nullptr;
}

void multiply_into(PyWeight& self, Floats2 x, Out2 y) {
    const Weights& w = self.weight->view();
    const int count = int(x.shape(0));
    if (int(x.shape(1)) != w.inputs || int(y.shape(1)) != w.outputs || y.shape(0) != x.shape(0))
        throw std::invalid_argument("x is [rows, inputs] and y [rows, outputs] of this weight");
    const float* from = x.data();
    float* to = y.data();
    nb::gil_scoped_release free;
    QuantisedRows rows;
    if (w.bits != 32) rows.make_room(size_t(count), size_t(w.inputs));
    self.crew->run([&](int) {
        if (w.bits != 32)
            self.crew->share(count, [&](int i) { rows.put(*self.kernels, w, from + long(i) * w.inputs, i); });
        multiply(*self.crew, *self.kernels, w, rows.view(count), from, to, w.outputs, false, [](int, int) {});
    });
}

struct PySplit {
    std::shared_ptr<SplitWeight> weight;
    const Kernels* kernels;
};

void ensure_rows(const SplitWeights& first, const SplitWeights& last, const Floats2& x, const Out2& y) {
    if (int(x.shape(1)) != first.inputs || int(y.shape(1)) != last.outputs || y.shape(0) != x.shape(0))
        throw std::invalid_argument("x is [rows, inputs] and y [rows, outputs] of the weight");
}

Norm norm_of(Floats1 weight, const std::optional<Floats1>& bias) {
    Norm made;
    made.weight.assign(weight.data(), weight.data() + weight.size());
    if (bias) made.bias.assign(bias->data(), bias->data() + bias->size());
    return made;
}

Activation activation_of(const std::string& name) {
    if (name == "gelu") return Activation::gelu;
    if (name == "gelu_tanh") return Activation::gelu_tanh;
    if (name == "relu") return Activation::relu;
    throw std::invalid_argument("the activation is gelu, gelu_tanh or relu");
}

Kept kept_of(const Any4& a) {
    if (a.dtype() == nb::dtype<float>()) return Kept::floats;
    if (a.dtype() == nb::dtype<int8_t>()) return Kept::bytes;
    throw std::invalid_argument("a cache is float32 or int8");
}

std::vector<Cache> caches_of(const std::vector<Any4>& tensors, Kept kept, int size) {
    const int step = stride_of(kept, size);
    std::vector<Cache> made;
    for (const Any4& t : tensors) {
        if (kept_of(t) != kept) throw std::invalid_argument("a cache is of one type in all layers");
        if (int(t.shape(3)) != step || t.stride(3) != 1 || t.stride(2) != step)
            throw std::invalid_argument(
                "a cache is [rows, key heads, positions, head size (and four more in int8)], its last two without gaps");
        made.push_back({t.data(), long(t.stride(0)), long(t.stride(1))});
    }
    return made;
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // a model process ends with its models: whatever it held goes with it
    m.doc() = "Tonewheel's decoding kernels for CPUs; see tonewheel.engine.kernels for what uses them.";
    m.def("available", &available_kernels, "Names of the instruction sets this processor and build have, best first.");
    m.def("chosen", [] { return std::string(chosen_kernels()->name); }, "The one in use.");

    nb::class_<Crew>(m, "Crew", "Threads that work on one thing together.")
        .def(nb::init<int, int>(), "threads"_a, "watch"_a = 1500)
        .def_prop_ro("threads", &Crew::size);

    nb::class_<PyWeight>(m, "Weight", "A weight [outputs, inputs] in 4, 8 or 32 bits.")
        .def(
            "__init__",
            [](PyWeight* self, std::shared_ptr<Crew> crew, Floats2 from, int bits, int group,
               std::optional<Floats1> bias) {
                const float* more = bias_of(bias, from.shape(0));
                std::shared_ptr<Weight> made;
                {
                    nb::gil_scoped_release free;
                    made = std::make_shared<Weight>(*crew, from.data(), long(from.shape(1)), int(from.shape(0)),
                                                    int(from.shape(1)), bits, group, more);
                }
                new (self) PyWeight{made, crew, chosen_kernels()};
            },
            "crew"_a, "weight"_a, "bits"_a = 8, "group"_a = 128, "bias"_a = nb::none())
        .def_static(
            "held",
            [](std::shared_ptr<Crew> crew, Bytes1 values, Bytes1 scales, int outputs, int inputs, int bits, int group,
               std::optional<Floats1> bias) {
                const float* more = bias_of(bias, size_t(outputs));
                if (scales.size() % 2) throw std::invalid_argument("scales are of two bytes each");
                auto made = std::make_shared<Weight>(values.data(), values.size(),
                                                     reinterpret_cast<const uint16_t*>(scales.data()),
                                                     scales.size() / 2, outputs, inputs, bits, group, more);
                return PyWeight{made, crew, chosen_kernels()};
            },
            "crew"_a, "values"_a, "scales"_a, "outputs"_a, "inputs"_a, "bits"_a, "group"_a, "bias"_a = nb::none(),
            "From the bytes that `values` and `scales` of another one gave.")
        .def_prop_ro("outputs", [](PyWeight& self) { return self.weight->view().outputs; })
        .def_prop_ro("inputs", [](PyWeight& self) { return self.weight->view().inputs; })
        .def_prop_ro("bits", [](PyWeight& self) { return self.weight->view().bits; })
        .def_prop_ro("memory", [](PyWeight& self) { return self.weight->memory(); }, "Bytes.")
        .def_prop_ro(
            "values",
            [](PyWeight& self) {
                const Weights& w = self.weight->view();
                return nb::bytes(reinterpret_cast<const char*>(w.values), size_t(w.bytes()));
            },
            "The packed values.")
        .def_prop_ro(
            "scales",
            [](PyWeight& self) {
                const Weights& w = self.weight->view();
                return nb::bytes(reinterpret_cast<const char*>(w.scales), size_t(w.scale_count()) * 2);
            },
            "The scales, bfloat16.")
        .def(
            "floats",
            [](PyWeight& self, Out2 to) {
                const Weights& w = self.weight->view();
                if (int(to.shape(0)) != w.outputs || int(to.shape(1)) != w.inputs)
                    throw std::invalid_argument("to is [outputs, inputs]");
                for (int n = 0; n < w.outputs; n++) self.weight->row(n, to.data() + long(n) * w.inputs);
            },
            "to"_a.noconvert(), "Write the weight as it is represented into [outputs, inputs].")
        .def("multiply", &multiply_into, "x"_a, "y"_a.noconvert(),
             "y = x · weight, with the bias: [rows, inputs] → [rows, outputs].");

    nb::class_<PySplit>(m, "Split",
                        "A weight [outputs, inputs] for float32 products of many rows by bfloat16 tiles.")
        .def(
            "__init__",
            [](PySplit* self, Floats2 from, std::optional<Floats1> bias) {
                const Kernels* kernels = chosen_kernels();
                if (!kernels->multiply_split) throw std::invalid_argument("this processor has no tiles of bfloat16");
                const float* more = bias_of(bias, from.shape(0));
                if (!from.size()) throw std::invalid_argument("a weight has at least one output and one input");
                nb::gil_scoped_release free;
                new (self) PySplit{
                    std::make_shared<SplitWeight>(from.data(), int(from.shape(0)), int(from.shape(1)), more), kernels};
            },
            "weight"_a, "bias"_a = nb::none())
        .def_static("offered", [] { return chosen_kernels()->multiply_split != nullptr; })
        .def_prop_ro("outputs", [](PySplit& self) { return self.weight->view().outputs; })
        .def_prop_ro("inputs", [](PySplit& self) { return self.weight->view().inputs; })
        .def_prop_ro("memory", [](PySplit& self) { return self.weight->memory(); }, "Bytes.")
        .def(
            "multiply",
            [](PySplit& self, Floats2 x, Out2 y, Crew* crew, std::optional<std::string> activation) {
                const SplitWeights& w = self.weight->view();
                ensure_rows(w, w, x, y);
                const Activation kind = activation ? activation_of(*activation) : Activation::relu;
                nb::gil_scoped_release free;
                const Activation* then = activation ? &kind : nullptr;
                multiply_split(*self.kernels, crew, w, then, x.data(), int(x.shape(0)), y.data());
            },
            "x"_a, "y"_a.noconvert(), "crew"_a.none() = nb::none(), "activation"_a = nb::none(),
            "y = x · weight, with the bias: [rows, inputs] → [rows, outputs]. Without a crew the caller's thread does all.")
        .def(
            "feed",
            [](PySplit& self, const PySplit& down, const std::string& activation, Floats2 x, Out2 y, Crew* crew) {
                const SplitWeights &up = self.weight->view(), &then = down.weight->view();
                if (up.outputs != then.inputs) throw std::invalid_argument("the second takes what the first makes");
                ensure_rows(up, then, x, y);
                const Activation kind = activation_of(activation);
                nb::gil_scoped_release free;
                feed_split(*self.kernels, crew, up, kind, then, x.data(), int(x.shape(0)), y.data());
            },
            "down"_a, "activation"_a, "x"_a, "y"_a.noconvert(), "crew"_a.none() = nb::none(),
            "y = activation(x · weight) · down, both with their biases.");

    nb::class_<Norm>(m, "Norm").def(
        "__init__",
        [](Norm* self, Floats1 weight, std::optional<Floats1> bias) { new (self) Norm(norm_of(weight, bias)); },
        "weight"_a, "bias"_a = nb::none());

    nb::class_<Layer>(m, "Layer")
        .def(
            "__init__",
            [](Layer* self, const Norm& norm, const PyWeight& query_key_value, const PyWeight& out,
               const Norm& feed_norm, const PyWeight& feed_in, const PyWeight& feed_out, const Norm* cross_norm,
               const PyWeight* cross_query, const PyWeight* cross_out) {
                if (!cross_norm != !cross_query || !cross_norm != !cross_out)
                    throw std::invalid_argument("of the three of cross-attention, give all or none");
                new (self) Layer{norm, query_key_value.weight, out.weight, cross_norm ? *cross_norm : Norm{},
                                 cross_query ? cross_query->weight : nullptr, cross_out ? cross_out->weight : nullptr,
                                 feed_norm, feed_in.weight, feed_out.weight};
            },
            "norm"_a, "query_key_value"_a, "out"_a, "feed_norm"_a, "feed_in"_a, "feed_out"_a,
            "cross_norm"_a = nb::none(), "cross_query"_a = nb::none(), "cross_out"_a = nb::none());

    nb::class_<Stack>(m, "Stack", "The layers of a decoder; a step is one call.")
        .def(
            "__init__",
            [](Stack* self, std::shared_ptr<Crew> crew, std::vector<Layer> layers, const Norm& last,
               const PyWeight* heads, int width, int heads_count, int key_heads, int head_size, float eps,
               const std::string& activation, bool gated, std::optional<Floats2> cosines,
               std::optional<Floats2> sines) {
                std::vector<float> cos, sin;
                if (cosines) {
                    if (!sines || int(cosines->shape(1)) != head_size / 2 || cosines->size() != sines->size())
                        throw std::invalid_argument("cosines and sines are [positions, head size / 2]");
                    cos.assign(cosines->data(), cosines->data() + cosines->size());
                    sin.assign(sines->data(), sines->data() + sines->size());
                }
                new (self) Stack(crew, chosen_kernels(),
                                 Shape{width, heads_count, key_heads, head_size, eps, gated, activation_of(activation)},
                                 std::move(layers), last, heads ? heads->weight : nullptr, std::move(cos),
                                 std::move(sin));
            },
            "crew"_a, "layers"_a, "last"_a, "heads"_a.none(), nb::kw_only(), "width"_a, "head_count"_a, "key_heads"_a,
            "head_size"_a, "eps"_a, "activation"_a = "gelu", "gated"_a = false, "cosines"_a = nb::none(),
            "sines"_a = nb::none())
        .def(
            "keep_in",
            [](Stack& self, std::vector<Any4> keys, std::vector<Any4> values) {
                if (keys.empty() || keys.size() != values.size())
                    throw std::invalid_argument("keys and values are lists of the same length, one for each layer");
                const Kept kept = kept_of(keys[0]);
                for (const auto* both : {&keys, &values})
                    for (const auto& t : *both)
                        if (t.shape(0) != keys[0].shape(0) || int(t.shape(1)) != self.shape.key_heads ||
                            t.shape(2) != keys[0].shape(2))
                            throw std::invalid_argument("caches are of one shape, with the stack's key heads");
                self.keep_in(caches_of(keys, kept, self.shape.head_size), caches_of(values, kept, self.shape.head_size),
                             kept, int(keys[0].shape(0)), int(keys[0].shape(2)));
            },
            "keys"_a, "values"_a,
            "Tensors [rows, key heads, positions, head size] of each layer, float32, or int8 with four values\n"
            "more, which are the float32 the others are to be multiplied by. The caller keeps them.")
        .def(
            "look_at",
            [](Stack& self, int row, std::optional<Floats4> keys, std::optional<Floats4> values) {
                if (!keys || !values) return self.look_at(row, nullptr, nullptr, 0);
                for (const auto& t : {*keys, *values})
                    if (int(t.shape(0)) != self.layers || int(t.shape(1)) != self.shape.heads ||
                        t.shape(2) != keys->shape(2) || int(t.shape(3)) != self.shape.head_size)
                        throw std::invalid_argument("a text is [layers, heads, count, head size]");
                self.look_at(row, keys->data(), values->data(), int(keys->shape(2)));
            },
            "row"_a, "keys"_a.none().noconvert(), "values"_a.none().noconvert(),  // a converted copy would be gone
            "What a row's cross-attention sees, float32, or None. The caller keeps the tensors.")
        .def(
            "step",
            [](Stack& self, Floats2 x, Whole1 rows, Whole1 positions, Out2 hidden, std::optional<Out2> logits) {
                const size_t count = x.shape(0);
                if (int(x.shape(1)) != self.shape.width || rows.shape(0) != count || positions.shape(0) != count ||
                    hidden.shape(0) != count || int(hidden.shape(1)) != self.shape.width)
                    throw std::invalid_argument("x and hidden are [count, width], rows and positions [count]");
                if (logits && (logits->shape(0) != count || int(logits->shape(1)) != self.outputs()))
                    throw std::invalid_argument("logits is [count, outputs of the heads]");
                float* made = logits ? logits->data() : nullptr;
                nb::gil_scoped_release free;
                if (count) self.step(x.data(), rows.data(), positions.data(), int(count), hidden.data(), made);
            },
            "x"_a, "rows"_a, "positions"_a, "hidden"_a.noconvert(), "logits"_a.noconvert() = nb::none());

    nb::class_<Draw>(m, "Draw", "From logits to tokens.")
        .def(
            "__init__",
            [](Draw* self, std::shared_ptr<Crew> crew, Floats1 temperature, Whole1 top_k, Doubles1 top_p, Floats1 scale,
               Flags1 greedy, Whole1 seed, OutWhole2 last, OutWhole2 spoilt) {
                const size_t n = temperature.shape(0);
                if (top_k.shape(0) != n || top_p.shape(0) != n || scale.shape(0) != n || greedy.shape(0) != n ||
                    seed.shape(0) != n || last.shape(0) != n || spoilt.size() != n)
                    throw std::invalid_argument("settings, last and spoilt are of as many slots");
                new (self) Draw(crew, Slots{int(n), int(last.shape(1)), temperature.data(), top_k.data(), top_p.data(),
                                            scale.data(), greedy.data(), seed.data(), last.data(), spoilt.data()});
            },
            "crew"_a, "temperature"_a.noconvert(), "top_k"_a.noconvert(), "top_p"_a.noconvert(), "scale"_a.noconvert(),
            "greedy"_a.noconvert(), "seed"_a.noconvert(), "last"_a.noconvert(), "spoilt"_a.noconvert())
        .def(
            "follow",
            [](Draw& self, Whole3 plan) {
                if (int(plan.shape(0)) != self.slots.count || int(plan.shape(1)) != self.slots.codebooks)
                    throw std::invalid_argument("a plan is [slots, codebooks, steps]");
                self.plan = Plan{plan.data(), long(plan.shape(2))};
            },
            "plan"_a.noconvert(), "Tokens known beforehand, -1 elsewhere. The caller keeps the tensor.")
        .def(
            "draw",
            [](Draw& self, Floats3 logits, Whole1 slots, Whole1 conditional, Whole1 unconditional, Whole1 steps,
               int first, std::optional<Flags1> banned, OutWhole2 tokens) {
                const size_t count = slots.shape(0);
                const int codebooks = int(logits.shape(1)), vocabulary = int(logits.shape(2));
                if (conditional.shape(0) != count || unconditional.shape(0) != count || steps.shape(0) != count ||
                    tokens.shape(0) != count || int(tokens.shape(1)) != codebooks)
                    throw std::invalid_argument("slots, rows and steps are [count], tokens [count, codebooks]");
                if (first < 0 || codebooks < 1 || first + codebooks > self.slots.codebooks || vocabulary < 1)
                    throw std::invalid_argument("logits are [rows, codebooks, vocabulary] of codebooks that are there");
                if (banned && int(banned->shape(0)) != vocabulary)
                    throw std::invalid_argument("banned is [vocabulary]");
                for (const auto& rows : {conditional, unconditional})
                    for (size_t i = 0; i < count; i++)
                        if (rows(i) < 0 || rows(i) >= int64_t(logits.shape(0)))
                            throw std::out_of_range("a row lies outside the logits");
                const bool* not_these = banned ? banned->data() : nullptr;
                nb::gil_scoped_release free;
                self.draw(logits.data(), codebooks, vocabulary, slots.data(), conditional.data(), unconditional.data(),
                          steps.data(), int(count), first, not_these, tokens.data());
            },
            "logits"_a, "slots"_a, "conditional"_a, "unconditional"_a, "steps"_a, "first"_a, "banned"_a.none(),
            "tokens"_a.noconvert());
}
