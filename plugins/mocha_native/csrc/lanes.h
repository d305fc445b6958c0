/* Vectors of REAL with the width of the instruction set, LANE_BYTES. This file is included once for each REAL. */

#define VEC TYPED(vec)
#define IVEC TYPED(ivec)
#define LANES ((int)(LANE_BYTES / sizeof(REAL)))

typedef REAL VEC __attribute__((vector_size(LANE_BYTES)));
typedef INT IVEC __attribute__((vector_size(LANE_BYTES)));
/* A vector in memory, with the alignment of its elements. */
typedef REAL TYPED(vec_at) __attribute__((vector_size(LANE_BYTES), aligned(sizeof(REAL)), may_alias));

static inline VEC TYPED(load)(const REAL *p) { return *(const TYPED(vec_at) *)p; }

static inline void TYPED(store)(REAL *p, VEC v) { *(TYPED(vec_at) *)p = v; }

/* The first `count` elements; zeros after them. */
static inline VEC TYPED(load_some)(const REAL *p, int64_t count) {
    if (count >= LANES) return TYPED(load)(p);
    VEC v = {0};
    memcpy(&v, p, (size_t)count * sizeof *p);
    return v;
}

static inline void TYPED(store_some)(REAL *p, VEC v, int64_t count) {
    if (count >= LANES) {
        TYPED(store)(p, v);
    } else {
        memcpy(p, &v, (size_t)count * sizeof *p);
    }
}

/* The compiler can drop x - 0, which is x for every x, but not 0 + x, which differs if x is -0. */
static inline VEC TYPED(splat)(REAL x) { return x - (VEC){0}; }

static inline VEC TYPED(choose)(IVEC where, VEC yes, VEC no) { return (VEC)((where & (IVEC)yes) | (~where & (IVEC)no)); }

/* All bits of the first `count` lanes. */
static inline IVEC TYPED(first_lanes)(int64_t count) {
    static const INT numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    IVEC v;
    memcpy(&v, numbers, sizeof v);
    return v < (INT)count;
}

/* Whether a bit of a lane is set. */
static inline int TYPED(any_lane)(IVEC v) {
    uint64_t words[LANE_BYTES / 8], bits = 0;
    memcpy(words, &v, sizeof words);
    for (int i = 0; i < LANE_BYTES / 8; i++) bits |= words[i];
    return bits != 0;
}

static inline REAL TYPED(sum)(VEC v) {
    REAL s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
}

/* exp(x) is power * (1 + rest). x = n * ln 2 + r with a whole n, so that power = 2**n, and rest = exp(r) - 1 is a
   polynomial of the small r. The power comes in two factors: 2**n alone may overflow where the product does not. */
typedef struct {
    VEC rest, power1, power2;
} TYPED(exponential_parts);

static inline TYPED(exponential_parts) TYPED(exponential_of)(VEC x) {
    static const REAL terms[] = {EXP_TERMS};
    const VEC magic = TYPED(splat)(EXP_MAGIC);
    x = TYPED(choose)(x < EXP_LOWEST, TYPED(splat)(EXP_LOWEST), x);
    x = TYPED(choose)(x > EXP_HIGHEST, TYPED(splat)(EXP_HIGHEST), x);
    /* Adding a number so large that no bits are left for a fraction rounds x; n is then in the lowest bits. */
    VEC shifted = x * (REAL)1.44269504088896340736 + magic;
    VEC whole = shifted - magic;
    IVEC n = (IVEC)shifted - (IVEC)magic;
    VEC r = x - whole * (REAL)EXP_LN2_HIGH - whole * (REAL)EXP_LN2_LOW;
    VEC p = TYPED(splat)(terms[0]);
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++) p = p * r + terms[i];
    IVEC half = n >> 1;
    TYPED(exponential_parts) parts = {p * r * r + r, (VEC)((half + EXP_BIAS) << EXP_SHIFT),
                               (VEC)((n - half + EXP_BIAS) << EXP_SHIFT)};
    return parts;
}

static inline VEC TYPED(exponential)(VEC x) {
    TYPED(exponential_parts) e = TYPED(exponential_of)(x);
    return (e.rest + 1) * e.power1 * e.power2;
}

/* exp(x) - 1, exact near zero too. */
static inline VEC TYPED(exponential_minus_1)(VEC x) {
    TYPED(exponential_parts) e = TYPED(exponential_of)(x);
    VEC power = e.power1 * e.power2;
    return e.rest * power + (power - 1);
}
