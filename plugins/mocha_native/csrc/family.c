/* One family of kernels for one instruction set. It is compiled for each pair, with the flags for the set, and
     FAMILY, SOURCE  the family's name, and its file in kernels/,
     ISA             the name of the instruction set,
     LANE_BYTES      the width of its vectors.
   The family's file is included twice, for float and for double. An include guard in it protects the parts that it
   defines once: KERNELS, the list of its kernels, and CONSTANTS, that of its constants, if it has any. */

#include <math.h>
#include <string.h>

#include "mocha.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define TYPED(name) JOIN(name, SUFFIX)
#define KERNEL(name) static void TYPED(name)(const mocha_args *args, const mocha_team *team)
/* The grain of a thread's share of element-wise work, in elements: whole cache lines and whole vectors. */
#define GRAIN 64
#define UNUSED(x) ((void)(x))
/* For functions with literal arguments and loops with literal bounds, so that the compiler evaluates them. */
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
