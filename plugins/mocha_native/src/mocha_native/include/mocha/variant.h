/* The kernels for one instruction set. library.h includes this file for each. */

#define MOCHA_REAL float
#define MOCHA_DTYPE float32
#include MOCHA_SOURCE
#undef MOCHA_REAL
#undef MOCHA_DTYPE

#define MOCHA_REAL double
#define MOCHA_DTYPE float64
#include MOCHA_SOURCE
#undef MOCHA_REAL
#undef MOCHA_DTYPE

static const mocha_entry MOCHA_JOIN(entries, of, MOCHA_ISA)[] = {MOCHA_KERNELS(MOCHA_ENTRIES){NULL, NULL}};
#undef MOCHA_ISA
