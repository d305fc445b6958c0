/* Makes the library of an extension: compiles its kernels for each dtype and each instruction set. Define before:
     MOCHA_LIBRARY     the name of the function that gives the library to Python,
     MOCHA_SOURCE      the file with the kernels, in quotes; its folder is in the include path,
     MOCHA_KERNELS(K)  K(name) for each of them.
   In the file, MOCHA_KERNEL(name) { ... } defines a kernel of (args, team), MOCHA_REAL is float or double, and
   MOCHA_NAME(name) is a name of its own for each variant. mocha_meet(team) is a barrier. */
#include "kernel.h"

static void (*mocha_meet)(const mocha_team *team);

#define MOCHA_JOIN_(a, b, c) a##_##b##_##c
#define MOCHA_JOIN(a, b, c) MOCHA_JOIN_(a, b, c)
#define MOCHA_NAME(name) MOCHA_JOIN(name, MOCHA_DTYPE, MOCHA_ISA)
#define MOCHA_KERNEL(name) static void MOCHA_NAME(name)(const mocha_args *args, const mocha_team *team)
#define MOCHA_ENTRIES(name) \
    {#name "_float32", MOCHA_JOIN(name, float32, MOCHA_ISA)}, {#name "_float64", MOCHA_JOIN(name, float64, MOCHA_ISA)},

#define MOCHA_ISA baseline
#include "variant.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define MOCHA_ISA avx2
#include "variant.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512")
#endif
#define MOCHA_ISA avx512
#include "variant.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

const void *MOCHA_LIBRARY(void);
const void *MOCHA_LIBRARY(void) {
    static const mocha_table tables[] = {
#ifdef __x86_64__
        {"avx512", entries_of_avx512},
        {"avx2", entries_of_avx2},
#endif
        {"baseline", entries_of_baseline},
        {NULL, NULL},
    };
    static const mocha_library library = {MOCHA_ABI, tables, &mocha_meet};
    return &library;
}
