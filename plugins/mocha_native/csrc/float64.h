/* Definitions that depend on REAL, for double. */

#undef REAL
#undef REAL_BYTES
#undef INT
#undef SUFFIX
#undef POW
#undef LOG
#undef SQRT
#undef FLOOR
#undef CEIL
#undef NEAREST
#undef EXP_TERMS
#undef EXP_MAGIC
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_BIAS
#undef EXP_SHIFT
#undef VEC
#undef IVEC
#undef LANES

#define REAL double
#define REAL_BYTES 8
#define INT int64_t
#define SUFFIX _float64
#define POW pow
#define LOG log
#define SQRT sqrt
#define FLOOR floor
#define CEIL ceil
#define NEAREST nearbyint
#define EXP_TERMS \
    1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0, \
        1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 1 / 2.0
#define EXP_MAGIC 6755399441055744.0
#define EXP_LOWEST -746.0
#define EXP_HIGHEST 710.0
#define EXP_LN2_HIGH 6.93145751953125e-1
#define EXP_LN2_LOW 1.42860682030941723212e-6
#define EXP_BIAS 1023
#define EXP_SHIFT 52
