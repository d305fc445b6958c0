/* The operations of vector programs on blocks of VP_VECTORS vectors: links of a chain. The results stay in registers: a
   link computes with the accumulators v0 to v7, which are its arguments, and calls the next link with them.

   The letters at the end of a link's name say where its operands are: a, the accumulators; b, a block in memory; n, a
   number, which is one vector in memory. Masks are bool elements: bytes in memory, and all bits of a lane elsewhere. */

#ifndef MOCHA_VECTOR_LINKS_H
#define MOCHA_VECTOR_LINKS_H

/* Where operands commute, these are all links that are needed; others have more. */
#define VP_COMMUTING(L, name) L(name, a, b) L(name, a, n) L(name, b, b) L(name, b, n)
#define VP_ORDERED(L, name) VP_COMMUTING(L, name) L(name, b, a) L(name, n, a) L(name, n, b)
/* clang-format off */
#define VP_TWO(L) \
    VP_COMMUTING(L, add) VP_COMMUTING(L, multiply) VP_COMMUTING(L, maximum) VP_COMMUTING(L, minimum) \
    VP_COMMUTING(L, equal) VP_COMMUTING(L, not_equal) VP_COMMUTING(L, logical_and) VP_COMMUTING(L, logical_or) \
    VP_COMMUTING(L, logical_xor) VP_ORDERED(L, subtract) VP_ORDERED(L, divide) VP_ORDERED(L, less) \
    VP_ORDERED(L, less_equal)
#define VP_ONE(L) \
    L(negative) L(abs) L(sign) L(square) L(exp) L(log) L(tanh) L(isnan) L(isfinite) L(logical_not) L(to_number) \
    L(to_mask)
#define VP_ELEMENTS(L) L(sqrt, SQRT) L(floor, FLOOR) L(ceil, CEIL) L(round, NEAREST)
#define VP_WHERE(L) \
    L(a, b, b) L(a, b, n) L(a, n, b) L(a, n, n) L(b, a, b) L(b, a, n) L(b, b, a) L(b, n, a)
/* x * y + z, x * y - z, z - x * y. */
#define VP_PRODUCT(L, name) \
    L(name, a, b, b) L(name, a, b, n) L(name, a, n, b) L(name, a, n, n) L(name, b, b, a) L(name, b, n, a) \
    L(name, b, b, b) L(name, b, b, n) L(name, b, n, b) L(name, b, n, n)
#define VP_THREE(L) VP_PRODUCT(L, multiply_add) VP_PRODUCT(L, multiply_subtract) VP_PRODUCT(L, multiply_from)
/* A comparison with a number, and `where`. */
#define VP_TAKEN(L, name, x, y) L(name, x, y, b, b) L(name, x, y, b, n) L(name, x, y, n, b)
#define VP_COMPARED(L, name, x, y) \
    VP_TAKEN(L, name, x, y) L(name, x, y, a, b) L(name, x, y, b, a) L(name, x, y, a, n) L(name, x, y, n, a)
#define VP_COMPARE(L, name) \
    VP_COMPARED(L, name, b, n) VP_COMPARED(L, name, n, b) VP_TAKEN(L, name, a, n) VP_TAKEN(L, name, n, a)
#define VP_WHERE_COMPARED(L) VP_COMPARE(L, less) VP_COMPARE(L, less_equal)
#define VP_EITHER(L) L(a, b) L(a, n) L(b, a) L(b, b) L(b, n) L(n, a) L(n, b) L(n, n)
#define VP_REDUCE(L) L(sum, add) L(max, maximum) L(min, minimum)
/* clang-format on */

/* `quotient` divides by number b, whose inverse is number c. `either` is `where` with a number as its condition.
   `check` collects whether all elements of the block are finite, and `decide` computes the numbers that depend on it. */
#define VP_NAMES(name) VP_LINK(name) VP_LINK(name##_last)
#define VP_NAME_2(name, x, y) VP_NAMES(name##_##x##y)
#define VP_NAME_3(name, x, y, z) VP_NAMES(name##_##x##y##z)
#define VP_NAME_POWER(name, x, y) VP_LINK(name##_##x##y)
#define VP_NAME_1(name) VP_LINK(name##_a)
#define VP_NAME_ELEMENTS(name, function) VP_LINK(name##_a)
#define VP_NAME_WHERE(x, y, z) VP_LINK(where_##x##y##z)
#define VP_NAME_COMPARED(name, x, y, yes, no) VP_NAMES(where_##name##_##x##y##yes##no)
#define VP_NAME_EITHER(x, y) VP_LINK(either_##x##y)
#define VP_NAME_REDUCE(name, combine) VP_LINK(name)
#define VP_LINKS_ALL \
    VP_TWO(VP_NAME_2) \
    VP_THREE(VP_NAME_3) \
    VP_ORDERED(VP_NAME_POWER, pow) \
    VP_ONE(VP_NAME_1) \
    VP_ELEMENTS(VP_NAME_ELEMENTS) \
    VP_WHERE(VP_NAME_WHERE) \
    VP_WHERE_COMPARED(VP_NAME_COMPARED) \
    VP_EITHER(VP_NAME_EITHER) \
    VP_REDUCE(VP_NAME_REDUCE) \
    VP_LINK(quotient) \
    VP_LINK(load_b) \
    VP_LINK(load_n) \
    VP_LINK(store) \
    VP_LINK(store_last) \
    VP_LINK(put) \
    VP_LINK(load_mask) \
    VP_LINK(store_mask) \
    VP_LINK(check) \
    VP_LINK(decide) \
    VP_LINK(again)

#define VP_LINK(name) VP_LINK_##name,
enum vp_link_opcode { VP_LINKS_ALL VP_LINK_OPS };
#undef VP_LINK

#endif

typedef void TYPED(vp_run)(
    TYPED(vp_machine) *, const TYPED(vp_link) *, int64_t, VEC, VEC, VEC, VEC, VEC, VEC, VEC, VEC);

/* An operand is at `at` + (i & moves), where i is the place of the block in bytes, and `row` bytes further in the next
   row. Numbers do not move. */
struct TYPED(vp_link) {
    TYPED(vp_run) *run;
    TYPED(vp_place) operands[5];
};

/* E(k, ...) for each accumulator. */
#define EACH(E, ...) \
    E(0, __VA_ARGS__) \
    E(1, __VA_ARGS__) \
    E(2, __VA_ARGS__) E(3, __VA_ARGS__) E(4, __VA_ARGS__) E(5, __VA_ARGS__) E(6, __VA_ARGS__) E(7, __VA_ARGS__)
#define PARAMETERS \
    TYPED(vp_machine) * m, const TYPED(vp_link) * link, int64_t i, VEC v0, VEC v1, VEC v2, VEC v3, VEC v4, VEC v5, \
        VEC v6, VEC v7
#define OPERAND(p, k) \
    const REAL *p = TYPED(vp_moved)(link, k, i), *p##_still = (const REAL *)link->operands[k].at; \
    UNUSED(p), UNUSED(p##_still);
#define OPERANDS OPERAND(p, 0) OPERAND(q, 1) OPERAND(r, 2) OPERAND(s, 3) /* of which each link takes some */
#define LINK(name, ...) \
    static void TYPED(vp_link_##name)(PARAMETERS) { \
        OPERANDS __VA_ARGS__ link[1].run(m, link + 1, i, v0, v1, v2, v3, v4, v5, v6, v7); \
    }
/* Stores its result, and begins the chain anew for the next block, if there are more: a loop if it is the whole chain. */
#define STEP(p, k) const int64_t p##_step = link->operands[k].moves & BLOCK;
#define LAST(name, ...) \
    static void TYPED(vp_link_##name##_last)(PARAMETERS) { \
        const int64_t bytes = BLOCK * REAL_BYTES, all = m->end, end = link == m->chain ? all : i + bytes; \
        OPERANDS STEP(p, 0) STEP(q, 1) STEP(r, 2) STEP(s, 3) STEP(to, 4) REAL *to = TYPED(vp_moved)(link, 4, i); \
        for (; i < end; i += bytes, p += p_step, q += q_step, r += r_step, s += s_step, to += to_step) { \
            __VA_ARGS__ EACH(TO_MEMORY, to) \
        } \
        if (i < all) m->chain->run(m, m->chain, i, v0, v1, v2, v3, v4, v5, v6, v7); \
    }
#define LINKS(name, ...) LINK(name, __VA_ARGS__) LAST(name, __VA_ARGS__)
#define TO_MEMORY(k, to) TYPED(store)((to) + k * LANES, v##k);
/* Vector k of an operand that is at p. */
#define FROM_a(k, p) v##k
#define FROM_b(k, p) TYPED(load)((p) + k * LANES)
#define FROM_n(k, p) TYPED(load)(p##_still)

ALWAYS_INLINE REAL *TYPED(vp_moved)(const TYPED(vp_link) *link, int k, int64_t i) {
    return (REAL *)(link->operands[k].at + (i & link->operands[k].moves));
}

#define ONE(name, ...) \
    ALWAYS_INLINE VEC TYPED(vp_##name)(VEC x) { return __VA_ARGS__; }
#define TWO(name, ...) \
    ALWAYS_INLINE VEC TYPED(vp_##name)(VEC x, VEC y) { return __VA_ARGS__; }
#define THREE(name, ...) \
    ALWAYS_INLINE VEC TYPED(vp_##name)(VEC x, VEC y, VEC z) { return __VA_ARGS__; }
THREE(multiply_add, x *y + z)
THREE(multiply_subtract, x *y - z)
THREE(multiply_from, z - x * y)
TWO(add, x + y)
TWO(subtract, x - y)
TWO(multiply, x *y)
TWO(divide, x / y)
TWO(maximum, TYPED(choose)((x > y) | (x != x), x, y))
TWO(minimum, TYPED(choose)((x < y) | (x != x), x, y))
TWO(equal, (VEC)(x == y))
TWO(not_equal, (VEC)(x != y))
TWO(less, (VEC)(x < y))
TWO(less_equal, (VEC)(x <= y))
TWO(logical_and, (VEC)((IVEC)x & (IVEC)y))
TWO(logical_or, (VEC)((IVEC)x | (IVEC)y))
TWO(logical_xor, (VEC)((IVEC)x ^ (IVEC)y))
ONE(negative, -x)
ONE(abs, (VEC)((IVEC)x & ~(IVEC)TYPED(splat)((REAL)-0.0)))
ONE(sign,
    TYPED(choose)(x > 0, TYPED(splat)(1), TYPED(choose)(x < 0, TYPED(splat)(-1), TYPED(choose)(x == 0, (VEC){0}, x))))
ONE(square, x *x)
ONE(exp, TYPED(exponential)(x))
ONE(log, TYPED(logarithm)(x))
ONE(tanh, TYPED(hyperbolic_tangent)(x))
ONE(isnan, (VEC)(x != x))
ONE(isfinite, (VEC)(x - x == 0))
ONE(logical_not, (VEC) ~(IVEC)x)
ONE(to_number, (VEC)((IVEC)x & (IVEC)TYPED(splat)(1)))
ONE(to_mask, (VEC)(x != 0))

#define STEP_1(k, name) v##k = TYPED(vp_##name)(v##k);
#define LINK_1(name) LINK(name##_a, EACH(STEP_1, name))
#define STEP_2(k, name, x, y) v##k = TYPED(vp_##name)(FROM_##x(k, p), FROM_##y(k, q));
#define LINK_2(name, x, y) LINKS(name##_##x##y, EACH(STEP_2, name, x, y))
#define STEP_3(k, name, x, y, z) v##k = TYPED(vp_##name)(FROM_##x(k, p), FROM_##y(k, q), FROM_##z(k, r));
#define LINK_3(name, x, y, z) LINKS(name##_##x##y##z, EACH(STEP_3, name, x, y, z))
VP_ONE(LINK_1)
VP_TWO(LINK_2)
VP_THREE(LINK_3)

/* Of each element, in loops that the compiler makes vectors of where it can. */
#define FROM_MEMORY(k, x, from) v##k = FROM_##x(k, from);
#define ELEMENT_a(p) x[j]
#define ELEMENT_b(p) p[j]
#define ELEMENT_n(p) *p
#define LINK_ELEMENTS(name, ...) \
    LINK(name, REAL *x = (REAL *)m->scratch; EACH(TO_MEMORY, x) /* each */ \
                                             for (int j = 0; j < VP_VECTORS * LANES; j++) x[j] = __VA_ARGS__; \
         EACH(FROM_MEMORY, b, x))
#define LINK_FUNCTION(name, function) LINK_ELEMENTS(name##_a, function(x[j]))
#define LINK_POWER(name, x, y) LINK_ELEMENTS(name##_##x##y, POW(ELEMENT_##x(p), ELEMENT_##y(q)))
VP_ELEMENTS(LINK_FUNCTION)
VP_ORDERED(LINK_POWER, pow)

/* Operands: a mask, the elements where it is set, and the others. */
#define STEP_WHERE(k, x, y, z) v##k = TYPED(choose)((IVEC)FROM_##x(k, p), FROM_##y(k, q), FROM_##z(k, r));
#define LINK_WHERE(x, y, z) LINK(where_##x##y##z, EACH(STEP_WHERE, x, y, z))
#define LINK_EITHER(x, y) \
    LINK( \
        either_##x##y, INT yes; memcpy(&yes, p_still, sizeof yes); \
        if (yes) { EACH(FROM_MEMORY, x, q) } else {EACH(FROM_MEMORY, y, r)})
#define STEP_COMPARED(k, name, x, y, yes, no) \
    v##k = TYPED(choose)((IVEC)TYPED(vp_##name)(FROM_##x(k, p), FROM_##y(k, q)), FROM_##yes(k, r), FROM_##no(k, s));
#define LINK_COMPARED(name, x, y, yes, no) \
    LINKS(where_##name##_##x##y##yes##no, EACH(STEP_COMPARED, name, x, y, yes, no))
VP_WHERE(LINK_WHERE)
VP_WHERE_COMPARED(LINK_COMPARED)
VP_EITHER(LINK_EITHER)

LINK(load_b, EACH(FROM_MEMORY, b, p))
LINK(load_n, EACH(FROM_MEMORY, n, p))
/* Copies one of two blocks to another place. Operands: as of either_bb, and that place. */
#define STEP_COPY(k, from, to) TYPED(store)((to) + k * LANES, TYPED(load)((from) + k * LANES));
LINK(put, INT yes; memcpy(&yes, p_still, sizeof yes); const REAL *from = yes ? q : r; EACH(STEP_COPY, from, (REAL *)s))
LINK(store, REAL *to = TYPED(vp_moved)(link, 0, i); EACH(TO_MEMORY, to))

/* Operands: none, a number, and its rounded inverse, or 0 where the product would not be near the quotient. */
#define STEP_BY(k, by, y) v##k = v##k by y;
LINK(
    quotient, const VEC y = FROM_n(0, q), inverse = FROM_n(0, r);
    if (*r_still == 0) { EACH(STEP_BY, /, y) } else {EACH(STEP_BY, *, inverse)})

#define MASKS \
    char *at = link->operands[0].at + (i & link->operands[0].moves) / REAL_BYTES; \
    INT *x = (INT *)m->scratch;
LINK(load_mask, MASKS for (int j = 0; j < VP_VECTORS * LANES; j++) x[j] = at[j] ? -1 : 0;
     EACH(FROM_MEMORY, b, (const REAL *)x))
LINK(store_mask, MASKS EACH(TO_MEMORY, (REAL *)x) /* each */
                 for (int j = 0; j < VP_VECTORS * LANES; j++) at[j] = x[j] != 0;)

/* Combines the block with what memory has of the reduction of the row. */
#define KEEP(k, neutral) v##k = TYPED(choose)(TYPED(first_lanes)(m->few - k * LANES), v##k, neutral);
#define STEP_REDUCE(k, combine) \
    TYPED(store)(so_far + k * LANES, TYPED(vp_##combine)(TYPED(load)(so_far + k * LANES), v##k));
#define LINK_REDUCE(name, combine) \
    LINK(name, const VEC neutral = TYPED(splat)(TYPED(vp_neutral)(VP_##name##_of)); \
         REAL *so_far = TYPED(vp_moved)(link, 0, 0); if (m->few){EACH(KEEP, neutral)} EACH(STEP_REDUCE, combine))
VP_REDUCE(LINK_REDUCE)

LINK(check, m->poison += ((v0 * 0 + v1 * 0) + (v2 * 0 + v3 * 0)) + ((v4 * 0 + v5 * 0) + (v6 * 0 + v7 * 0));)
LINK(decide, TYPED(vp_decide)(m);)

/* Ends a chain that does not end with a store. */
static void TYPED(vp_link_again)(PARAMETERS) {
    i += VP_VECTORS * LANE_BYTES;
    link = m->chain;
    if (i < m->end) link->run(m, link, i, v0, v1, v2, v3, v4, v5, v6, v7);
}

LAST(store, )

#undef VP_LINK
#define VP_LINK(name) TYPED(vp_link_##name),
static TYPED(vp_run) *const TYPED(vp_links)[] = {VP_LINKS_ALL};
#undef VP_LINK
