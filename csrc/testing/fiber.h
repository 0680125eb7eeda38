// Runs a function on a separate stack, and switches between that stack and the one that resumed it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__) && !defined(GPGAN_FIBER_UCONTEXT)
#define GPGAN_FIBER_UCONTEXT  // slow: swapcontext makes a system call
#endif
#ifdef GPGAN_FIBER_UCONTEXT
#include <ucontext.h>
#endif

namespace gpgan::cuda::on_host {

#ifdef GPGAN_FIBER_UCONTEXT
using Context = ucontext_t;
inline void switch_context(Context* from, Context* to) { swapcontext(from, to); }
#else
// A suspended context is a stack pointer; above it are the six registers that a called function must preserve.
using Context = void*;
[[gnu::naked, gnu::noinline]] inline void switch_context(Context* /*from*/, Context* /*to*/) {
  asm volatile(
      "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n"
      "movq (%rsi), %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
      "ret");
}
#endif

class Fiber {
 public:
  using Entry = void (*)();  // never returns

  explicit Fiber(Entry entry) : entry_(entry) {
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // The lowest page is protected, so that a stack overflow faults.
    if (memory == MAP_FAILED || mprotect(memory, page_, PROT_NONE) != 0) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(memory);
    restart();
  }
  ~Fiber() { munmap(stack_, kStackBytes); }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Abandons the running function; the next resume starts it again.
  void restart() {
#ifdef GPGAN_FIBER_UCONTEXT
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_ + page_;
    inside_.uc_stack.ss_size = kStackBytes - page_;
    inside_.uc_link = nullptr;
    makecontext(&inside_, entry_, 0);
#else
    // Six registers, the address to which ret jumps, and a null return address, which also aligns the stack as a call
    // does.
    auto* top = reinterpret_cast<void**>(stack_ + kStackBytes);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(entry_);
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
    inside_ = top - 8;
#endif
  }

  void resume() { switch_context(&outside_, &inside_); }
  void suspend() { switch_context(&inside_, &outside_); }

 private:
  static constexpr size_t kStackBytes = size_t{256} << 10;
  Entry entry_;
  size_t page_;
  std::byte* stack_;
  Context inside_{}, outside_{};
};

}  // namespace gpgan::cuda::on_host
