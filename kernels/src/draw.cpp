#include "draw.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

namespace tonewheel {
namespace {

constexpr double trace = 1.0 / (1 << 30);  // of equal tokens the first counts as so much likelier

struct Candidate {
    double rank;  // logit by temperature, less a trace for each token before it
    float scaled;
    int token;
};

bool likelier(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.token < b.token;
}

struct Scratch {
    std::vector<float> scaled, tops;
    std::vector<Candidate> candidates;
    std::vector<double> weights;
};

// Random numbers by counter: splitmix64's finaliser of the seed, then of step and codebook (engine/randomness.py).
uint64_t mixed(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

double uniform(int64_t seed, int64_t step, int codebook) {
    constexpr uint64_t golden = 0x9e3779b97f4a7c15u;
    const uint64_t counter = (uint64_t(step) << 8) + uint64_t(codebook);
    const uint64_t bits = mixed(mixed(uint64_t(seed) + golden) + counter * golden);
    return double(bits >> 11) * 0x1p-53;
}

// Guided logits by temperature into scratch.scaled, what is banned as -infinity → the largest, NaN where any is.
float prepare(const float* conditional, const float* unconditional, float scale, float temperature, const bool* banned,
              int n, std::vector<float>& scaled) {
    scaled.resize(size_t(n));
    float* to = scaled.data();
    if (conditional == unconditional || scale == 1)
        std::copy(conditional, conditional + n, to);
    else
        for (int v = 0; v < n; v++) to[v] = (conditional[v] - unconditional[v]) * scale + unconditional[v];
    if (banned)
        for (int v = 0; v < n; v++) to[v] = banned[v] ? -std::numeric_limits<float>::infinity() : to[v];
    float most = -std::numeric_limits<float>::infinity();
    bool spoilt = false;
    for (int v = 0; v < n; v++) {
        spoilt |= to[v] != to[v];
        most = to[v] > most ? to[v] : most;
    }
    if (temperature != 1)
        for (int v = 0; v < n; v++) to[v] /= temperature;
    return spoilt ? std::numeric_limits<float>::quiet_NaN() : most;
}

// The tokens that can be among the `k` likeliest, and few others, into s.candidates.
void preselect(Scratch& s, int n, int k) {
    const float* scaled = s.scaled.data();
    double least = -std::numeric_limits<double>::infinity();
    if (k < n / 4) {
        // Cut into pieces, at least k of them: the k-th largest of their tops is no larger than the k-th of all.
        const int piece = std::max(1, std::min(64, n / (2 * k)));
        s.tops.clear();
        for (int v = 0; v < n; v += piece) {
            float top = scaled[v];
            for (int i = v + 1; i < std::min(n, v + piece); i++) top = scaled[i] > top ? scaled[i] : top;
            s.tops.push_back(top);
        }
        std::nth_element(s.tops.begin(), s.tops.begin() + (k - 1), s.tops.end(), std::greater<float>());
        least = double(s.tops[size_t(k) - 1]) - n * trace;
    }
    s.candidates.clear();
    for (int v = 0; v < n; v++)
        if (double(scaled[v]) >= least) s.candidates.push_back({double(scaled[v]) - v * trace, scaled[v], v});
}

int drawn(Scratch& s, int n, int64_t top_k, double top_p, double number) {
    const int k = top_k > 0 && top_k < n ? int(top_k) : n;
    preselect(s, n, k);
    auto& found = s.candidates;
    if (int(found.size()) > k) {
        std::nth_element(found.begin(), found.begin() + (k - 1), found.end(), likelier);
        found.resize(size_t(k));
    }
    std::sort(found.begin(), found.end(), likelier);
    s.weights.resize(found.size());
    double most = -std::numeric_limits<double>::infinity(), all = 0;
    for (const Candidate& c : found) most = std::max(most, double(c.scaled));
    for (size_t i = 0; i < found.size(); i++) all += s.weights[i] = std::exp(double(found[i].scaled) - most);
    size_t count = found.size();
    if (top_p < 1) {  // a token stays while those before it do not hold top-p yet; the first one always
        double before = 0;
        for (size_t i = 0; i < count; before += s.weights[i++] / all)
            if (i && before >= top_p) count = i;
    }
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += s.weights[i];
    const double wanted = number * sum;
    double so_far = 0;
    size_t last = 0;  // of those with any weight: where rounding could point past the end
    for (size_t i = 0; i < count; i++) {
        if (s.weights[i] > 0) last = i;
        so_far += s.weights[i];
        if (so_far > wanted) return found[i].token;
    }
    return found[last].token;
}

}  // namespace

void Draw::draw(const float* logits, int codebooks, int vocabulary, const int64_t* which, const int64_t* conditional,
                const int64_t* unconditional, const int64_t* steps, int count, int first, const bool* banned,
                int64_t* tokens) {
    for (int i = 0; i < count; i++)
        if (which[i] < 0 || which[i] >= slots.count || steps[i] < 0 || steps[i] >= plan.steps)
            throw std::out_of_range("a slot or step lies outside the plan");
    crew_->run([&](int) {
        thread_local Scratch scratch;
        crew_->share(count * codebooks, [&](int item) {
            const int i = item / codebooks, c = item % codebooks, codebook = first + c;
            const int64_t slot = which[i];
            const float temperature = slots.greedy[slot] ? 1 : slots.temperature[slot];
            const float most = prepare(logits + (conditional[i] * codebooks + c) * vocabulary,
                                       logits + (unconditional[i] * codebooks + c) * vocabulary, slots.scale[slot],
                                       temperature, banned, vocabulary, scratch.scaled);
            int64_t token = 0;
            if (!std::isfinite(most)) {
                __atomic_store_n(&slots.spoilt[slot], 1, __ATOMIC_RELAXED);  // no atomic_ref in older libc++
            } else if (slots.greedy[slot]) {
                token = std::find(scratch.scaled.begin(), scratch.scaled.end(), most) - scratch.scaled.begin();
            } else {
                token = drawn(scratch, vocabulary, slots.top_k[slot], slots.top_p[slot],
                              uniform(slots.seed[slot], steps[i], codebook));
            }
            const int64_t known = plan.tokens[(slot * slots.codebooks + codebook) * plan.steps + steps[i]];
            if (known >= 0) token = known;
            tokens[long(i) * codebooks + c] = slots.last[slot * slots.codebooks + codebook] = token;
        });
    });
}

}  // namespace tonewheel
