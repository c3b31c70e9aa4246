#include "crew.hpp"

#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace tonewheel {
namespace {

void rest_a_moment() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A meeting is over within microseconds where every member has a core. Where one has none, whoever waits hands its
// core over rather than burning it.
template <typename F>
void wait_until(F&& done) {
    for (int tries = 0; !done(); tries++) {
        if (tries < 4000) rest_a_moment();
        else std::this_thread::yield();
    }
}

}  // namespace

thread_local int Crew::member_ = 0;

Crew::Crew(int threads, int watch) : size_(threads < 1 ? 1 : threads), watch_(watch), stretches_(size_t(size_)) {
    try {
        for (int member = 1; member < size_; member++) threads_.emplace_back([this, member] { wait_for_work(member); });
    } catch (...) {  // the system gives no more: those that are there must not outlive this
        end();
        throw;
    }
}

Crew::~Crew() { end(); }

void Crew::end() {
    ending_ = true;
    runs_.fetch_add(1, std::memory_order_release);
    runs_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void Crew::run(const std::function<void(int)>& work) {
    std::lock_guard<std::mutex> alone(one_at_a_time_);
    work_ = &work;
    left_.store(size_ - 1, std::memory_order_relaxed);
    runs_.fetch_add(1, std::memory_order_release);
    runs_.notify_all();
    member_ = 0;
    work(0);
    wait_until([this] { return left_.load(std::memory_order_acquire) == 0; });
}

void Crew::wait_for_work(int member) {
    for (unsigned seen = 0;;) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(watch_);
        for (int tries = 1; runs_.load(std::memory_order_acquire) == seen; tries++) {
            if (tries % 64 || std::chrono::steady_clock::now() < until) rest_a_moment();
            else runs_.wait(seen, std::memory_order_acquire);
        }
        seen++;
        if (ending_) return;
        member_ = member;
        (*work_)(member);
        left_.fetch_sub(1, std::memory_order_release);
    }
}

void Crew::meet() {
    const unsigned meeting = meetings_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        next_.store(0, std::memory_order_relaxed);
        for (Stretch& stretch : stretches_) stretch.next.store(0, std::memory_order_relaxed);
        meetings_.store(meeting + 1, std::memory_order_release);
    } else {
        wait_until([&] { return meetings_.load(std::memory_order_acquire) != meeting; });
    }
}

}  // namespace tonewheel
