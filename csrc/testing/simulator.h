// A CUDA block on the CPU: its threads are fibers that run one at a time and switch at barriers and shuffles. It finds
// the mistakes that on a GPU end in a hang, a fault or a wrong number, and stops at the first.
//
// Threads switch only where they wait, so a kernel that loops until another thread stores something never ends.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "testing/fiber.h"
#include "vector_types.h"

namespace gpgan::cuda::on_host {

constexpr int kWarp = 32;
constexpr unsigned kMaxThreads = 1024, kMaxBlockZ = 64, kMaxGridX = 0x7fffffff, kMaxGridYZ = 65535;
constexpr size_t kMaxShared = size_t{48} << 10;

// What happened to one element of shared memory since the block's last barrier, and which block last wrote it. -1: no
// thread. Only a barrier orders two threads, so two different readers are all that a later write has to be checked
// against.
struct Mark {
  uint64_t written_in = 0, interval = 0;
  int writer = -1;
  std::array<int, 2> readers{-1, -1};
};

enum class Use { kRead, kWrite };

// Where a thread waits, and for whom.
enum class State { kReady, kAtBarrier, kAtShuffle, kReturned };

struct Wait {
  const char* name = "";
  std::source_location site;
  uint32_t mask = 0;
  uint64_t payload = 0;  // what the thread gives to a shuffle
  int source = 0;        // the lane it takes from
};

class Simulator {
 public:
  // The names a kernel knows; set before a thread runs.
  uint3 thread_index{}, block_index{};
  dim3 block_dim, grid_dim;

  // Runs the last blocks and threads first, which must not change the results of a correct kernel.
  bool reversed = false;

  // Runs kernel(state) once per thread of every block. Throws what the kernel threw, or std::runtime_error.
  void launch(const char* name, dim3 grid, dim3 block, void (*kernel)(void*), void* state) {
    ++launch_;
    name_ = name;
    grid_dim = grid;
    block_dim = block;
    kernel_ = kernel;
    state_ = state;
    shared_bytes_ = 0;
    check_limits();
    threads_used_ = static_cast<int>(block.x * block.y * block.z);
    while (static_cast<int>(threads_.size()) < threads_used_) {
      threads_.push_back(std::make_unique<Thread>(&thread_main));
    }
    const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks; ++i) {
      const uint64_t at = reversed ? blocks - 1 - i : i;
      block_index = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                     static_cast<unsigned>(at / grid.x / grid.y)};
      run_block();
    }
  }

  // Waits until all threads of the block have arrived.
  void barrier(const std::source_location& site) {
    Thread& self = *current_;
    self.wait = {.name = "__syncthreads", .site = site};
    if (waiting_ == 0) {
      first_waiting_ = current_;
    } else if (!same(site, first_waiting_->wait.site)) {
      fail("waits in " + text(self.wait) + " while thread " + text(first_waiting_->index) + " waits in " +
           text(first_waiting_->wait) + ": a barrier has to be the same one for all threads of a block");
    }
    self.state = State::kAtBarrier;
    if (++waiting_ < threads_used_) {
      self.fiber.suspend();
    } else {
      for (int i = 0; i < threads_used_; ++i) threads_[i]->state = State::kReady;
      waiting_ = 0;
      ++interval_;
    }
  }

  // Waits until all lanes of the mask are here; returns the payload of the source lane.
  uint64_t shuffle(const Wait& wait) {
    Thread& self = *current_;
    self.wait = wait;
    if (!(wait.mask >> lane() & 1)) fail("calls " + text(wait) + ", which does not name its own lane");
    if (!(wait.mask >> wait.source & 1)) {
      fail("reads lane " + std::to_string(wait.source) + " in " + text(wait) + ", which does not name that lane");
    }
    self.state = State::kAtShuffle;
    uint32_t& arrived = arrived_[self.number / kWarp];
    arrived |= uint32_t{1} << lane();
    if ((arrived & wait.mask) == wait.mask && all_wait_for_the_same()) {
      arrived &= ~wait.mask;
      complete();
    } else {
      self.fiber.suspend();
    }
    return self.result;
  }

  int lane() const { return current_->number % kWarp; }

  // Checks an access to element i of a shared array, which has this mark.
  void access(Mark& mark, Use use, int64_t i) {
    if (current_ == nullptr) throw std::runtime_error("shared memory was used outside of a kernel");
    const int thread = current_->number;
    if (use == Use::kRead && mark.written_in != block_) {
      fail("reads element " + std::to_string(i) + " of shared memory, which no thread of the block wrote");
    }
    if (mark.interval != interval_) {
      mark.interval = interval_;
      mark.writer = -1;
      mark.readers = {-1, -1};
    }
    if (mark.writer >= 0 && mark.writer != thread) race(use, i, "wrote", mark.writer);
    if (use == Use::kRead) {
      int& reader = mark.readers[mark.readers[0] >= 0 && mark.readers[0] != thread];
      reader = thread;
      return;
    }
    for (int reader : mark.readers) {
      if (reader >= 0 && reader != thread) race(use, i, "read", reader);
    }
    mark.writer = thread;
    mark.written_in = block_;
  }

  // Counts a shared array towards the launch's limit at its first use.
  void use_array(uint64_t& launch, size_t bytes) {
    if (launch == launch_) return;
    launch = launch_;
    shared_bytes_ += bytes;
    if (shared_bytes_ > kMaxShared) {
      fail("uses " + std::to_string(shared_bytes_) + " bytes of shared memory; expected at most " +
           std::to_string(kMaxShared));
    }
  }

  // Stops the launch. Called from a kernel's thread, it never returns.
  [[noreturn]] void fail(const std::string& what) {
    auto error = std::make_exception_ptr(std::runtime_error(where() + what));
    if (current_ == nullptr) std::rethrow_exception(error);
    failure_ = std::move(error);
    current_->fiber.suspend();
    std::terminate();  // an abandoned fiber is never resumed
  }

 private:
  struct Thread {
    explicit Thread(Fiber::Entry entry) : fiber(entry) {}
    Fiber fiber;
    State state = State::kReturned;
    int number = 0;
    uint3 index{};
    Wait wait;
    uint64_t result = 0;
  };

  static void thread_main();

  void run_block() {
    ++block_;
    ++interval_;
    waiting_ = 0;
    arrived_.fill(0);
    for (int i = 0; i < threads_used_; ++i) {
      Thread& thread = *threads_[i];
      thread.number = i;
      thread.index = {i % block_dim.x, i / block_dim.x % block_dim.y, i / block_dim.x / block_dim.y};
      thread.state = State::kReady;
    }
    returned_ = 0;
    while (returned_ < threads_used_) {
      bool moved = false;
      for (int i = 0; i < threads_used_; ++i) {
        Thread* thread = threads_[reversed ? threads_used_ - 1 - i : i].get();
        if (thread->state != State::kReady) continue;
        moved = true;
        current_ = thread;
        thread_index = thread->index;
        thread->fiber.resume();
        if (failure_) abandon(std::exchange(failure_, nullptr));
      }
      if (!moved) report_stall();
    }
    current_ = nullptr;
  }

  [[noreturn]] void abandon(std::exception_ptr error) {
    current_ = nullptr;
    for (auto& thread : threads_) thread->fiber.restart();
    std::rethrow_exception(std::move(error));
  }

  // Every thread that has not returned waits. A shuffle without its lanes is reported first: it keeps its own thread
  // from the barrier.
  [[noreturn]] void report_stall() {
    std::string what;
    for (State stuck : {State::kAtShuffle, State::kAtBarrier}) {
      for (int i = 0; i < threads_used_ && what.empty(); ++i) {
        if (threads_[i]->state != stuck) continue;
        current_ = threads_[i].get();
        what = where() + "waits in " + text(current_->wait) + ", which " + who_is_missing();
      }
    }
    abandon(std::make_exception_ptr(std::runtime_error(what)));
  }

  std::string who_is_missing() const {
    const Wait& wait = current_->wait;
    const bool at_barrier = current_->state == State::kAtBarrier;
    const int first = at_barrier ? 0 : current_->number / kWarp * kWarp;
    const int end = at_barrier ? threads_used_ : first + kWarp;
    for (int i = first; i < end; ++i) {
      if (!at_barrier && !(wait.mask >> (i - first) & 1)) continue;
      const std::string lane = at_barrier ? "" : "lane " + std::to_string(i - first) + ", ";
      if (i >= threads_used_) return lane + "that the block does not have, never reaches";
      const Thread& other = *threads_[i];
      const bool here = other.state == current_->state && (at_barrier || matches(other.wait, wait));
      if (here) continue;
      return lane + "thread " + text(other.index) + ", never reaches: it " +
             (other.state == State::kReturned ? "has returned" : "waits in " + text(other.wait));
    }
    return "never ends";
  }

  static bool same(const std::source_location& a, const std::source_location& b) {
    return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
  }
  static bool matches(const Wait& a, const Wait& b) { return a.mask == b.mask && same(a.site, b.site); }

  template <class Do>
  void for_lanes(const Do& action) {
    const int first = current_->number / kWarp * kWarp;
    for (uint32_t rest = current_->wait.mask; rest != 0; rest &= rest - 1) {
      action(*threads_[first + __builtin_ctz(rest)], __builtin_ctz(rest));
    }
  }

  bool all_wait_for_the_same() {
    bool all = true;
    for_lanes([&](const Thread& other, int) { all = all && matches(other.wait, current_->wait); });
    return all;
  }

  // The last lane to arrive collects the results for all, before any of them continues and sets another payload.
  void complete() {
    const int first = current_->number / kWarp * kWarp;
    for_lanes([&](Thread& thread, int) {
      thread.result = threads_[first + thread.wait.source]->wait.payload;
      thread.state = State::kReady;
    });
  }

  [[noreturn]] void race(Use use, int64_t i, const char* did, int other) {
    fail((use == Use::kRead ? "reads element " : "writes element ") + std::to_string(i) +
         " of shared memory, which thread " + text(threads_[other]->index) + " " + did +
         " with no barrier between them");
  }

  void check_limits() {
    const dim3 &grid = grid_dim, &block = block_dim;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) fail("the grid " + text(grid) + " has no blocks");
    if (block.x == 0 || block.y == 0 || block.z == 0) fail("the block " + text(block) + " has no threads");
    if (uint64_t{block.x} * block.y * block.z > kMaxThreads || block.z > kMaxBlockZ) {
      fail("the block " + text(block) + " has too many threads; expected at most 1024 together and 64 in z");
    }
    if (grid.x > kMaxGridX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ) {
      fail("the grid " + text(grid) + " is too large; expected at most 2147483647 in x and 65535 in y and z");
    }
  }

  template <class Index>
  static std::string text(const Index& at) {
    return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
  }
  static std::string text(const Wait& wait) {
    const std::string file = wait.site.file_name();
    const std::string at = file.substr(file.rfind('/') + 1) + ":" + std::to_string(wait.site.line());
    char mask[24] = "";
    if (wait.mask != 0) std::snprintf(mask, sizeof(mask), ", mask 0x%08x", wait.mask);
    return std::string(wait.name) + " (" + at + mask + ")";
  }
  std::string where() const {
    const std::string kernel = "kernel " + std::string(name_) + ": ";
    if (current_ == nullptr) return kernel;
    return kernel + "block " + text(block_index) + ", thread " + text(current_->index) + " ";
  }

  const char* name_ = "";
  void (*kernel_)(void*) = nullptr;
  void* state_ = nullptr;
  size_t shared_bytes_ = 0;
  // Serial numbers of launches, blocks and the intervals between barriers; they are never reused, so that marks need no
  // reset.
  uint64_t launch_ = 0, block_ = 0, interval_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;  // made once, reused by every block
  int threads_used_ = 0, returned_ = 0;
  Thread* current_ = nullptr;
  int waiting_ = 0;
  const Thread* first_waiting_ = nullptr;
  std::array<uint32_t, kMaxThreads / kWarp> arrived_{};  // lanes of each warp that wait in a shuffle
  std::exception_ptr failure_;
};

inline Simulator simulator;

inline void Simulator::thread_main() {
  for (;;) {
    try {
      simulator.kernel_(simulator.state_);
    } catch (...) {
      simulator.failure_ = std::current_exception();
    }
    simulator.current_->state = State::kReturned;
    ++simulator.returned_;
    simulator.current_->fiber.suspend();
  }
}

}  // namespace gpgan::cuda::on_host
