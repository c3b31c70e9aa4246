// Threads that do one thing together: short pieces of work, one after another, with hardly a pause in between.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tonewheel {

// `run` lets every member call the same function; inside it, `share` hands out items to whoever is free and returns
// when all are done. The caller of `run` is a member, so that a crew of one starts no thread. Who does which item does
// not change any result.
class Crew {
  public:
    // `watch`: how long a member looks for the next run before it sleeps, in microseconds. Waking it takes some 0.1 ms,
    // and between two calls of a frame, or two frames, lies up to 1 ms of other work; but where others' threads do that
    // work, who looks is in their way.
    explicit Crew(int threads, int watch = 1500);
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    int size() const { return size_; }

    // One run at a time; others wait.
    void run(const std::function<void(int)>& work);

    // From inside a run, by every member alike.
    template <typename F>
    void share(int items, F&& f) {
        for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < items;) f(i);
        meet();
    }

    // The same of items that lie side by side in memory: each member has a stretch of its own, in order, so that it reads
    // straight on, and helps out in those of others once it is through.
    template <typename F>
    void share_in_order(int items, F&& f) {
        for (int k = 0; k < size_; k++) {
            const int whose = (member_ + k) % size_;
            const int first = int(long(items) * whose / size_), last = int(long(items) * (whose + 1) / size_);
            std::atomic<int>& next = stretches_[size_t(whose)].next;
            for (int i; (i = first + next.fetch_add(1, std::memory_order_relaxed)) < last;) f(i);
        }
        meet();
    }

  private:
    struct alignas(64) Stretch {
        std::atomic<int> next{0};  // of its items
    };

    void meet();
    void wait_for_work(int member);
    void end();

    static thread_local int member_;  // who this thread is in the run it takes part in
    const int size_, watch_;
    std::vector<Stretch> stretches_;
    std::vector<std::thread> threads_;
    std::mutex one_at_a_time_;
    const std::function<void(int)>* work_ = nullptr;
    bool ending_ = false;
    alignas(64) std::atomic<int> next_{0};     // the next item of the share under way
    alignas(64) std::atomic<int> arrived_{0};  // members that wait for the others
    alignas(64) std::atomic<unsigned> meetings_{0};  // these two count on for days, and around
    alignas(64) std::atomic<unsigned> runs_{0};
    alignas(64) std::atomic<int> left_{0};  // members still in this run
};

}  // namespace tonewheel
