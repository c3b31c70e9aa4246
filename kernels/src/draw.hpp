// From logits to tokens: guidance, temperature, top-k, top-p and the draw, of all requests in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "crew.hpp"

namespace tonewheel {

// The settings of all slots, and what a draw reads and writes of them. Whoever owns the arrays keeps them.
struct Slots {
    int count, codebooks;
    const float* temperature;  // [count], as all of these
    const int64_t* top_k;      // 0: all
    const double* top_p;
    const float* scale;  // of the guidance
    const bool* greedy;
    const int64_t* seed;
    int64_t* last;     // [count, codebooks]: what is drawn goes here
    int64_t* spoilt;   // becomes 1 where a draw had no number to go by
};

// Tokens known beforehand, [slots, codebooks, steps]; -1: to be drawn.
struct Plan {
    const int64_t* tokens = nullptr;
    long steps = 0;
};

class Draw {
  public:
    Draw(std::shared_ptr<Crew> crew, Slots slots) : slots(slots), crew_(std::move(crew)) {}

    // Tokens of the codebooks first … first + codebooks - 1 for `count` slots at their steps, from logits
    // [rows, codebooks, vocabulary]: its row conditional[i], and unconditional[i], which may be the same one. `banned`
    // [vocabulary] or null: ids that must not come. → tokens [count, codebooks].
    void draw(const float* logits, int codebooks, int vocabulary, const int64_t* which, const int64_t* conditional,
              const int64_t* unconditional, const int64_t* steps, int count, int first, const bool* banned,
              int64_t* tokens);

    const Slots slots;
    Plan plan;

  private:
    std::shared_ptr<Crew> crew_;
};

}  // namespace tonewheel
