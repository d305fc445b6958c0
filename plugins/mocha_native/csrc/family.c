/* One family of kernels for one instruction set. Compiled for each pair, with the flags that allow it and
     FAMILY, SOURCE  the family's name, and its file in kernels/,
     ISA             the name of the instruction set,
     LANE_BYTES      how wide its vectors are.
   The file is included twice, for float and for double. What it holds once (KERNELS, the list of its kernels;
   CONSTANTS, that of its constants, if it has any) it guards like any header. */

#include <math.h>
#include <string.h>

#include "mocha.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define TYPED(name) JOIN(name, SUFFIX)
#define KERNEL(name) static void TYPED(name)(const mocha_args *args, const mocha_team *team)
/* Elements in a thread's share of element-wise work: whole cache lines and whole vectors. */
#define GRAIN 64
#define UNUSED(x) ((void)(x))
/* For functions that get literals, and for loops whose bounds are such: what depends on them is known when compiled. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#include "float32.h"
#include "lanes.h"
#include SOURCE

#include "float64.h"
#include "lanes.h"
#include SOURCE

#ifndef CONSTANTS
#define CONSTANTS(C)
#endif
#define ENTRY(name) {#name "_float32", name##_float32}, {#name "_float64", name##_float64},
#define CONSTANT(name, value) {#name, value},

static const mocha_entry entries[] = {KERNELS(ENTRY){NULL, NULL}};
static const mocha_constant constants[] = {CONSTANTS(CONSTANT){NULL, 0}};

#define TABLE_(family, isa) mocha_##family##_##isa
#define TABLE(family, isa) TABLE_(family, isa)
extern const mocha_family TABLE(FAMILY, ISA);
const mocha_family TABLE(FAMILY, ISA) = {entries, constants};
