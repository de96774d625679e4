// CUDA on the CPU, for tests: the kernels' own sources compile with this header in front and run thread by thread.
//
// The threads of a block are fibers, and blocks run one after another, all in an order that can be chosen; with
// EMULATION_THREADS they are real threads, two blocks at a time, so that ThreadSanitizer sees what races. A barrier
// that only some threads of a block, or lanes of a warp, reach ends the program, as does a launch that CUDA would
// refuse. Warps are whole: a block has a multiple of 32 threads, a collective takes all lanes.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define VX_SHARED(Type, name)    \
  static const char name##_of{}; \
  Type& name = *static_cast<Type*>(::emulation::shared(&name##_of, sizeof(Type), alignof(Type)))
#define VX_LAUNCH(kernel, grid, block, stream, ...) \
  ::emulation::launch(grid, block, stream, [=] { kernel(__VA_ARGS__); })

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline thread_local dim3 threadIdx(0), blockIdx(0), blockDim(1), gridDim(1);

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};

namespace emulation {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulation: %s\n", what);
  std::_Exit(86);
}

inline unsigned order_seed = 0;  // 0 ascending, 1 descending, else shuffled

inline std::vector<unsigned> order(unsigned count) {
  std::vector<unsigned> places(count);
  for (unsigned i = 0; i < count; ++i) places[i] = i;
  if (order_seed == 1) std::reverse(places.begin(), places.end());
  if (order_seed > 1) std::shuffle(places.begin(), places.end(), std::mt19937(order_seed));
  return places;
}

constexpr unsigned kWarp = 32;

// Shared memory of a block, which holds rubbish at first, as it does on a GPU.
class Shared {
 public:
  void* find(const void* key, size_t bytes, size_t alignment) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& found = memory_[key];
    if (!found) {
      // of exactly this size, so that AddressSanitizer sees its end
      found.reset(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
      std::memset(found.get(), 0xA5, bytes);
    }
    return found.get();
  }
  void clear() { memory_.clear(); }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::mutex mutex_;
  std::map<const void*, std::unique_ptr<void, Free>> memory_;
};

struct Block {
  Shared shared;
  std::vector<uint64_t> exchanged;  // what each thread gives to its warp
};

inline thread_local Block* block = nullptr;

inline void* shared(const void* key, size_t bytes, size_t alignment) {
  return block->shared.find(key, bytes, alignment);
}

inline void enter(Block& own, unsigned thread, unsigned index, dim3 grid, unsigned threads) {
  block = &own;
  threadIdx = dim3(thread), blockDim = dim3(threads), gridDim = grid;
  blockIdx = dim3(index % grid.x, index / grid.x);
}

#ifdef EMULATION_THREADS

class Barrier {
 public:
  explicit Barrier(unsigned count) : count_(count) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const unsigned own = round_;
    if (++here_ == count_) {
      here_ = 0, ++round_;
      changed_.notify_all();
    } else if (!changed_.wait_for(lock, std::chrono::seconds(60), [&] { return round_ != own; })) {
      fail("a barrier that not every thread reached");
    }
  }

 private:
  const unsigned count_;
  unsigned here_ = 0, round_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

inline thread_local Barrier *of_block, *of_warp;
inline void wait_for_block() { of_block->wait(); }
inline void wait_for_warp() { of_warp->wait(); }

inline void run(dim3 grid, unsigned threads, const std::function<void()>& body) {
  constexpr unsigned kTogether = 2;
  const std::vector<unsigned> blocks = order(grid.x * grid.y);
  std::vector<std::thread> running;
  std::vector<std::unique_ptr<Block>> own;
  std::vector<std::unique_ptr<Barrier>> barriers;
  for (unsigned lane = 0; lane < kTogether; ++lane) {
    own.push_back(std::make_unique<Block>());
    own.back()->exchanged.resize(threads);
    barriers.push_back(std::make_unique<Barrier>(threads));
    Barrier* whole = barriers.back().get();
    Block* mine = own.back().get();
    for (unsigned thread = 0; thread < threads; ++thread) {
      if (thread % kWarp == 0) barriers.push_back(std::make_unique<Barrier>(kWarp));
      running.emplace_back([=, &blocks, &body, warp = barriers.back().get()] {
        of_block = whole, of_warp = warp;
        for (size_t i = lane; i < blocks.size(); i += kTogether) {
          enter(*mine, thread, blocks[i], grid, threads);
          body();
          whole->wait();
          if (thread == 0) mine->shared.clear();
          whole->wait();
        }
      });
    }
  }
  for (std::thread& thread : running) thread.join();
}

#else

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

// A thread of a block: its own stack, and the place where it stopped.
struct Fiber {
  static constexpr size_t kStack = 256 * 1024;
  std::unique_ptr<char[]> stack{new char[kStack]};
  ucontext_t context;
  State state = State::kDone;
  void* fake_stack = nullptr;
};

inline std::vector<std::unique_ptr<Fiber>> fibers;
inline ucontext_t scheduler;
inline Fiber* current = nullptr;
inline const std::function<void()>* work = nullptr;
inline const void* scheduler_stack = nullptr;
inline size_t scheduler_size = 0;

inline void leaving([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack, [[maybe_unused]] size_t size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake, stack, size);
#endif
}
inline void arrived([[maybe_unused]] void* fake, [[maybe_unused]] const void** from, [[maybe_unused]] size_t* size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, from, size);
#endif
}

inline void pause(State state) {
  Fiber* self = current;
  self->state = state;
  leaving(&self->fake_stack, scheduler_stack, scheduler_size);
  swapcontext(&self->context, &scheduler);
  arrived(self->fake_stack, &scheduler_stack, &scheduler_size);
}
inline void wait_for_block() { pause(State::kAtBlockBarrier); }
inline void wait_for_warp() { pause(State::kAtWarpBarrier); }

inline void fiber_main() {
  arrived(nullptr, &scheduler_stack, &scheduler_size);
  for (;;) {
    (*work)();
    pause(State::kDone);
  }
}

inline void resume(Fiber& fiber) {
  void* fake = nullptr;
  current = &fiber;
  leaving(&fake, fiber.stack.get(), Fiber::kStack);
  swapcontext(&scheduler, &fiber.context);
  arrived(fake, nullptr, nullptr);
}

// Lets those of [begin, end) go on that wait, if all of them do.
inline bool release(unsigned begin, unsigned end, State waiting) {
  for (unsigned i = begin; i < end; ++i)
    if (fibers[i]->state != waiting) return false;
  for (unsigned i = begin; i < end; ++i) fibers[i]->state = State::kReady;
  return true;
}

inline void run_block(unsigned index, dim3 grid, unsigned threads) {
  Block own;
  own.exchanged.resize(threads);
  for (unsigned i = 0; i < threads; ++i) fibers[i]->state = State::kReady;
  const std::vector<unsigned> places = order(threads);
  for (;;) {
    for (const unsigned i : places) {
      if (fibers[i]->state != State::kReady) continue;
      enter(own, i, index, grid, threads);
      resume(*fibers[i]);
    }
    if (release(0, threads, State::kDone)) return;
    bool any = release(0, threads, State::kAtBlockBarrier);
    for (unsigned warp = 0; warp < threads; warp += kWarp) any |= release(warp, warp + kWarp, State::kAtWarpBarrier);
    if (!any) fail("a barrier that not every thread reached");
  }
}

inline void run(dim3 grid, unsigned threads, const std::function<void()>& body) {
  while (fibers.size() < threads) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers.back();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = Fiber::kStack;
    makecontext(&fiber.context, fiber_main, 0);
  }
  work = &body;
  for (const unsigned index : order(grid.x * grid.y)) run_block(index, grid, threads);
}

#endif

inline void launch(dim3 grid, dim3 block_size, void* /*stream*/, const std::function<void()>& body) {
  if (grid.x == 0 || grid.y == 0 || grid.y > 65535 || block_size.x == 0 || block_size.x > 1024)
    fail("a launch that CUDA refuses");
  if (grid.z != 1 || block_size.y != 1 || block_size.x % kWarp != 0) fail("a launch that is not emulated");
  run(grid, block_size.x, body);
}

// Every lane gives a value and sees those of its warp.
template <typename Value, typename Look>
auto collective(unsigned mask, Value value, const Look& look) {
  static_assert(sizeof(Value) <= sizeof(uint64_t), "too large for a shuffle");
  if (mask != 0xffffffffu) fail("a collective of some lanes only");
  uint64_t* warp = block->exchanged.data() + threadIdx.x / kWarp * kWarp;
  std::memcpy(warp + threadIdx.x % kWarp, &value, sizeof value);
  wait_for_warp();
  const auto seen = look([warp](unsigned lane) {
    Value other;
    std::memcpy(&other, warp + lane, sizeof other);
    return other;
  });
  wait_for_warp();
  return seen;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait_for_block(); }
inline void __syncwarp() { emulation::wait_for_warp(); }
inline unsigned __ballot_sync(unsigned mask, int vote) {
  return emulation::collective(mask, vote, [](const auto& of) {
    unsigned bits = 0;
    for (unsigned lane = 0; lane < emulation::kWarp; ++lane) bits |= (of(lane) != 0 ? 1u : 0u) << lane;
    return bits;
  });
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
template <typename Value>
Value __shfl_sync(unsigned mask, Value value, int lane) {
  return emulation::collective(mask, value, [lane](const auto& of) { return of(lane % emulation::kWarp); });
}
template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int bits) {
  const unsigned own = threadIdx.x % emulation::kWarp;
  return emulation::collective(mask, value, [=](const auto& of) { return of(own ^ bits); });
}

template <typename Value>
Value atomicAdd(Value* at, Value value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
template <typename Value, typename Better>
Value exchange_if(Value* at, Value value, const Better& better) {
  Value seen = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (better(value, seen) &&
         !__atomic_compare_exchange_n(at, &seen, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    continue;
  return seen;
}
template <typename Value>
Value atomicMin(Value* at, Value value) {
  return exchange_if(at, value, std::less<Value>());
}
template <typename Value>
Value atomicMax(Value* at, Value value) {
  return exchange_if(at, value, std::greater<Value>());
}
// loads and stores that other blocks see
template <typename Value>
Value __ldcg(const Value* at) {
  return __atomic_load_n(at, __ATOMIC_RELAXED);
}
template <typename Value>
void __stcg(Value* at, Value value) {
  __atomic_store_n(at, value, __ATOMIC_RELAXED);
}

template <typename To, typename From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float value) { return same_bits<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return same_bits<float>(value); }
inline int __float_as_int(float value) { return same_bits<int>(value); }
inline float __int_as_float(int value) { return same_bits<float>(value); }
inline long long __double_as_longlong(double value) { return same_bits<long long>(value); }
inline long long __double2ll_rn(double value) { return std::llrint(value); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
