/* Functions of vectors of REAL. Errors are below 2 units in the last place; special values are those of C. */

/* Keeps the sign of zero. */
static inline VEC TYPED(hyperbolic_tangent)(VEC x) {
    const IVEC sign = (IVEC)TYPED(splat)((REAL)-0.0);
    const VEC t = TYPED(exponential_minus_1)((VEC)((IVEC)x | sign) * 2);
    return (VEC)(((IVEC)(t / (t + 2)) & ~sign) | ((IVEC)x & sign));
}

/* x = 2**n * (1 + f), and s = f / (2 + f), so that log(1 + f) = 2 s + 2/3 s**3 + 2/5 s**5 + ..., arranged as in
   FreeBSD's e_log.c to lose few bits. */
static inline VEC TYPED(logarithm)(VEC x) {
    const REAL tiny = REAL_BYTES == 4 ? (REAL)0x1p-126 : (REAL)0x1p-1022,
               scale = REAL_BYTES == 4 ? (REAL)0x1p24 : (REAL)0x1p54;
    const IVEC small = x < tiny;
    const VEC scaled = TYPED(choose)(small, x * scale, x);
    const IVEC root = (IVEC)TYPED(splat)((REAL)0.70710678118654752440);
    /* Of |x|, so that no difference of bits overflows. */
    const IVEC bits = (IVEC)scaled & ~(IVEC)TYPED(splat)((REAL)-0.0), above = bits - root;
    const IVEC exponent = above & -((INT)1 << EXP_SHIFT);
    const VEC f = (VEC)(bits - exponent) - 1;
    VEC k = __builtin_convertvector(exponent >> EXP_SHIFT, VEC);
    k -= (VEC)(small & (IVEC)TYPED(splat)(REAL_BYTES == 4 ? 24 : 54));
    const VEC s = f / (f + 2), z = s * s, half = (REAL)0.5 * f * f;
    VEC series = TYPED(splat)(REAL_BYTES == 4 ? 2 / (REAL)9 : 2 / (REAL)23);
    for (int i = REAL_BYTES == 4 ? 7 : 21; i >= 3; i -= 2) series = series * z + 2 / (REAL)i;
    series *= z;
    VEC y = k * (REAL)EXP_LN2_HIGH - ((half - (s * (half + series) + k * (REAL)EXP_LN2_LOW)) - f);
    y = TYPED(choose)((x < 0) | (x != x), TYPED(splat)((REAL)NAN), y);
    y = TYPED(choose)(x == 0, TYPED(splat)((REAL)-INFINITY), y);
    return TYPED(choose)(x == (REAL)INFINITY, x, y);
}

/* Whether x times the inverse is near x / y: neither y nor its inverse is near the ends of the range. */
static inline int TYPED(invertible)(REAL y) {
    const REAL big = REAL_BYTES == 4 ? (REAL)0x1p100 : (REAL)0x1p1000, size = y < 0 ? -y : y;
    return size < big && size > 1 / big;
}
