/* Runs a CUDA kernel's source on the host, for tests.

   The blocks of a grid run one after the other: in their order, or in the one that MOCHA_CUDA_BLOCK_ORDER says,
   "reversed" or "shuffled" (anew for each launch). None may matter. The first thread of a block tells whether its
   kernel has barriers: if it comes to its end without one, the others are called one by one; if not, all of them run as
   fibers, which a barrier lets take turns. So barriers and shuffles have to be reached by all threads of a block, as in
   CUDA they must be by all that take part. Shared memory is a block's, as the blocks take turns.

   Of CUDA there is what the kernels use. */

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __restrict__ __restrict
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

/* CUDA's functions for both types, in the global namespace. */
using std::ceil;
using std::exp;
using std::fabs;
using std::floor;
using std::isfinite;
using std::isnan;
using std::log;
using std::max;
using std::min;
using std::pow;
using std::rint;
using std::sqrt;
using std::tanh;
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
/* The threads run one after the other. */
template <class T> static inline T atomicCAS(T *cell, T expected, T value) {
    const T old = *cell;
    if (old == expected) *cell = value;
    return old;
}
static inline unsigned atomicInc(unsigned *cell, unsigned most) {
    const unsigned old = *cell;
    *cell = old >= most ? 0 : old + 1;
    return old;
}
static inline void __threadfence() {}

namespace host {

constexpr size_t STACK = 64 << 10;
constexpr unsigned MOST_THREADS = 1024;

struct fiber {
    ucontext_t context;
    bool done;
};

static std::vector<fiber> fibers(MOST_THREADS);
/* Not initialized: memory is used only for threads that run, in each of hundreds of libraries. */
static char *const stacks = new char[STACK * MOST_THREADS];
static std::vector<uint64_t> lanes(MOST_THREADS);
static ucontext_t scheduler;
static unsigned current;
static bool met; /* a barrier was reached */
static std::function<void()> body;

static void enter() {
    body();
    fibers[current].done = true;
}

static void resume(unsigned thread) {
    current = thread;
    threadIdx.x = thread;
    swapcontext(&scheduler, &fibers[thread].context);
}

static void begin(unsigned thread) {
    fiber &f = fibers[thread];
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks + STACK * thread;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = &scheduler;
    f.done = false;
    makecontext(&f.context, enter, 0);
}

static void barrier() {
    met = true;
    swapcontext(&fibers[current].context, &scheduler);
}

/* Another lane's value; every thread of the block takes part. */
template <class T> static T exchange(T value, unsigned from) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    const unsigned me = threadIdx.x;
    std::memcpy(&lanes[me], &value, sizeof value);
    barrier();
    std::memcpy(&value, &lanes[std::min(me / 32 * 32 + from, blockDim.x - 1)], sizeof value);
    barrier();
    return value;
}

static void run_block() {
    met = false;
    begin(0);
    resume(0);
    if (!met) {
        for (unsigned t = 1; t < blockDim.x; t++) {
            threadIdx.x = t;
            body();
        }
        return;
    }
    for (unsigned t = 1; t < blockDim.x; t++) {
        begin(t);
        resume(t);
    }
    /* All stand at the same barrier, or all have ended: where they differ, CUDA would hang. */
    while (!fibers[0].done) {
        for (unsigned t = 0; t < blockDim.x; t++) {
            if (fibers[t].done) {
                std::fprintf(stderr, "thread %u ended before a barrier\n", t);
                std::abort();
            }
            resume(t);
        }
    }
    for (unsigned t = 0; t < blockDim.x; t++)
        if (!fibers[t].done) {
            std::fprintf(stderr, "thread %u waits at a barrier that thread 0 does not reach\n", t);
            std::abort();
        }
}

template <class... A, size_t... I>
static void invoke(void (*kernel)(A...), void **operands, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A> *>(operands[I])...);
}

static std::vector<unsigned> order(unsigned blocks) {
    static std::mt19937 random;
    std::vector<unsigned> numbers(blocks);
    std::iota(numbers.begin(), numbers.end(), 0u);
    const char *wanted = std::getenv("MOCHA_CUDA_BLOCK_ORDER");
    if (wanted && !std::strcmp(wanted, "reversed")) std::reverse(numbers.begin(), numbers.end());
    if (wanted && !std::strcmp(wanted, "shuffled")) std::shuffle(numbers.begin(), numbers.end(), random);
    return numbers;
}

template <class... A>
static void launch(void (*kernel)(A...), const unsigned *grid, unsigned threads, void **operands) {
    body = [=] { invoke(kernel, operands, std::index_sequence_for<A...>{}); };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x : order(grid[0])) {
                blockIdx = {x, y, z};
                run_block();
            }
}

/* NumPy's name of a type; of a pointer, that of what it points to, and an asterisk. */
template <class T> static std::string name_of() {
    using V
    = std::remove_cv_t<std::remove_pointer_t<T>>;
    const char *name = std::is_same_v < V
    , float > ? "float32" : std::is_same_v < V
    , double > ? "float64" : std::is_same_v < V
    , int > ? "int32" : std::is_same_v < V
    , unsigned > ? "uint32" : std::is_same_v < V
    , long long > ? "int64" : std::is_same_v < V
    , unsigned long long > ? "uint64" : std::is_same_v < V
    , bool > ? "bool" : "?";
    return std::string(name) + (std::is_pointer_v<T> ? "*" : "");
}

template <class... A> static const char *signature(void (*)(A...)) {
    static std::string text = ((name_of<A>() + " ") + ...);
    return text.c_str();
}

}  // namespace host

#define __syncthreads() host::barrier()
#define __shfl_xor_sync(mask, value, lanes) host::exchange(value, (threadIdx.x & 31u) ^ (lanes))

/* What Python calls. */
#define ON_HOST(name) \
    extern "C" void host_##name(const unsigned *grid, unsigned threads, void **operands) { \
        host::launch(name, grid, threads, operands); \
    } \
    extern "C" const char *signature_##name() { return host::signature(name); }
