/* Runs a traced function: a list of operations on blocks of elements that stay in the first-level cache.

   Slots hold the results: first numbers, one for all elements; then operands in memory; then registers, a block each.
   An instruction takes the slots a, b, c and writes the slot `to`. Instructions on numbers alone run once, before the
   blocks, unless they depend on whether all elements of a block are finite. */

#ifndef MOCHA_VECTOR_PROGRAM_H
#define MOCHA_VECTOR_PROGRAM_H

/* The operations of mocha_core/compile/vector_program.py, and some of this file: `select` is `where` with a number as its
   condition; masks are bool elements, which are bytes in memory and whole elements in registers; `store` writes to an
   operand, and `store_changed` a number that differs from number b. Pairs are two operations at once, the second of the
   result of the first and of c; `from` and `over` take these in the other order. */
#define PAIRS_OF(O, first) \
    O(first##_add) O(first##_subtract) O(first##_multiply) O(first##_divide) O(first##_from) O(first##_over)
#define PAIRS(O) PAIRS_OF(O, add) PAIRS_OF(O, subtract) PAIRS_OF(O, multiply) PAIRS_OF(O, divide)
/* clang-format off */
#define OPCODES(O) \
    O(add) O(subtract) O(multiply) O(divide) O(pow) O(maximum) O(minimum) O(negative) O(abs) O(sign) O(square) \
    O(sqrt) O(exp) O(log) O(tanh) O(floor) O(ceil) O(round) O(less) O(less_equal) O(equal) O(not_equal) O(isnan) \
    O(isfinite) O(logical_and) O(logical_or) O(logical_xor) O(logical_not) O(where) O(astype) O(constant) \
    O(input) O(all_finite) O(select) O(load_mask) O(store_mask) O(store) O(store_changed) PAIRS(O)
/* clang-format on */
#define OPCODE(name) VP_##name,
enum vp_opcode { OPCODES(OPCODE) };
enum { VP_NUMBERS = 96, VP_OPERANDS = 32, VP_REGISTERS = 16, VP_SLOTS = 256, VP_BLOCK_BYTES = 2048 };

#define KERNELS(K) \
    K(vector_program_cells) \
    K(vector_program)
#define OPCODE_CONSTANT(name) {"vp_" #name, VP_##name},
#define CONSTANTS(C) \
    OPCODES(OPCODE_CONSTANT) \
    C(vp_numbers, VP_NUMBERS) \
    C(vp_operands, VP_OPERANDS) \
    C(vp_registers, VP_REGISTERS) \
    C(vp_slots, VP_SLOTS)

typedef struct {
    int32_t op, to, a, b, c, dtype;
} vp_instruction;

/* `bytes` of an element; 0: there is one number for all elements. */
typedef struct {
    int64_t address, bytes, written;
} vp_operand;

enum vp_dtype { VP_BOOL, VP_INT32, VP_INT64, VP_FLOAT32, VP_FLOAT64 };

static double vp_read(const void *p, int32_t dtype) {
    switch (dtype) {
    case VP_BOOL:
        return *(const uint8_t *)p != 0;
    case VP_INT32:
        return *(const int32_t *)p;
    case VP_INT64:
        return (double)*(const int64_t *)p;
    case VP_FLOAT32:
        return (double)*(const float *)p;
    default:
        return *(const double *)p;
    }
}

/* Several threads may write the same number. */
static void vp_write(void *p, int32_t dtype, double x) {
    switch (dtype) {
    case VP_BOOL:
        *(uint8_t *)p = x != 0;
        break;
    case VP_INT32:
        __atomic_store_n((int32_t *)p, (int32_t)x, __ATOMIC_RELAXED);
        break;
    case VP_INT64:
        __atomic_store_n((int64_t *)p, (int64_t)x, __ATOMIC_RELAXED);
        break;
    case VP_FLOAT32:
        *(float *)p = (float)x;
        break;
    default:
        *(double *)p = x;
    }
}

static double vp_rounded(int32_t dtype, double x) {
    switch (dtype) {
    case VP_BOOL:
        return x != 0;
    case VP_FLOAT32:
        return (double)(float)x;
    case VP_FLOAT64:
        return x;
    default:
        return trunc(x);
    }
}

/* An operation on numbers. */
static double vp_number(int32_t op, double a, double b, double c) {
    switch (op) {
    case VP_add:
        return a + b;
    case VP_subtract:
        return a - b;
    case VP_multiply:
        return a * b;
    case VP_divide:
        return a / b;
    case VP_pow:
        return pow(a, b);
    case VP_maximum:
        return a > b || a != a ? a : b;
    case VP_minimum:
        return a < b || a != a ? a : b;
    case VP_negative:
        return -a;
    case VP_abs:
        return fabs(a);
    case VP_sign:
        return a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a;
    case VP_square:
        return a * a;
    case VP_sqrt:
        return sqrt(a);
    case VP_exp:
        return exp(a);
    case VP_log:
        return log(a);
    case VP_tanh:
        return tanh(a);
    case VP_floor:
        return floor(a);
    case VP_ceil:
        return ceil(a);
    case VP_round:
        return nearbyint(a);
    case VP_less:
        return a < b;
    case VP_less_equal:
        return a <= b;
    case VP_equal:
        return a == b;
    case VP_not_equal:
        return a != b;
    case VP_isnan:
        return a != a;
    case VP_isfinite:
        return a - a == 0;
    case VP_logical_and:
        return a != 0 && b != 0;
    case VP_logical_or:
        return a != 0 || b != 0;
    case VP_logical_xor:
        return (a != 0) != (b != 0);
    case VP_logical_not:
        return a == 0;
    case VP_where:
        return a != 0 ? b : c;
    default:
        return a; /* astype, which rounds */
    }
}

#endif

#include "vector_functions.h"

#define BLOCK (VP_BLOCK_BYTES / REAL_BYTES)

typedef struct {
    const mocha_team *team;
    const vp_operand *operands;
    const double *constants;
    int64_t n_numbers, n_operands;
    double numbers[VP_NUMBERS];
    VEC splats[VP_NUMBERS];
    /* Where the elements of each slot are, and how many further the next vector is: 0 for a number. */
    REAL *at[VP_SLOTS];
    int64_t step[VP_SLOTS];
    char *bytes[VP_OPERANDS];
    int changed; /* whether numbers are computed anew, because blocks differ in whether they are finite */
} TYPED(vp_machine);

static void TYPED(vp_set)(TYPED(vp_machine) *m, const vp_instruction *i, double x) {
    x = vp_rounded(i->dtype, x);
    m->numbers[i->to] = x;
    m->splats[i->to] = i->dtype == VP_BOOL ? (VEC)((IVEC){0} - (INT)(x != 0)) : TYPED(splat)((REAL)x);
}

static void TYPED(vp_run_number)(TYPED(vp_machine) *m, const vp_instruction *i) {
    const double *x = m->numbers;
    if (i->op == VP_constant) {
        TYPED(vp_set)(m, i, m->constants[i->a]);
    } else if (i->op == VP_input) {
        TYPED(vp_set)(m, i, vp_read((const void *)(intptr_t)m->operands[i->a].address, i->c));
    } else if (i->op == VP_store) {
        if (m->team->rank == 0) vp_write((void *)(intptr_t)m->operands[i->to].address, i->dtype, x[i->a]);
    } else if (i->op == VP_store_changed) {
        if (x[i->a] != x[i->b]) vp_write((void *)(intptr_t)m->operands[i->to].address, i->dtype, x[i->a]);
    } else {
        TYPED(vp_set)(m, i, vp_number(i->op, x[i->a], x[i->b], x[i->c]));
    }
}

#define EACH(...) \
    _Pragma("GCC unroll 4") for (int64_t k = 0; k < n; k += LANES, a += step_a, b += step_b) { \
        const VEC x = TYPED(load)(a), y = TYPED(load)(b); \
        const VEC z = __VA_ARGS__; \
        UNUSED(y); \
        TYPED(store)(to + k, z); \
    }
#define EACH_3(...) \
    _Pragma("GCC unroll 4") for (int64_t k = 0; k < n; k += LANES, a += step_a, b += step_b, c += step_c) { \
        const VEC x = TYPED(load)(a), y = TYPED(load)(b), w = TYPED(load)(c); \
        const VEC z = __VA_ARGS__; \
        TYPED(store)(to + k, z); \
    }
#define PAIR(first, ...) \
    case VP_##first##_add: \
        EACH_3((__VA_ARGS__) + w) break; \
    case VP_##first##_subtract: \
        EACH_3((__VA_ARGS__) - w) break; \
    case VP_##first##_multiply: \
        EACH_3((__VA_ARGS__) * w) break; \
    case VP_##first##_divide: \
        EACH_3((__VA_ARGS__) / w) break; \
    case VP_##first##_from: \
        EACH_3(w - (__VA_ARGS__)) break; \
    case VP_##first##_over: \
        EACH_3(w / (__VA_ARGS__)) break;
#define EACH_ELEMENT(...) \
    for (int64_t k = 0; k < n; k++) to[k] = __VA_ARGS__;

/* Runs an instruction on n elements, whole vectors. */
static void TYPED(vp_run)(TYPED(vp_machine) *m, const vp_instruction *i, int64_t n) {
    REAL *to = m->at[i->to];
    const REAL *a = m->at[i->a], *b = m->at[i->b], *c = m->at[i->c];
    const int64_t step_a = m->step[i->a], step_b = m->step[i->b], step_c = m->step[i->c];
    switch (i->op) {
    case VP_add:
        EACH(x + y) break;
    case VP_subtract:
        EACH(x - y) break;
    case VP_multiply:
        EACH(x * y) break;
    case VP_divide:
#if LANE_BYTES >= 32 /* where divisions take as long as many multiplications */
        if (!step_b && TYPED(invertible)(*b)) {
            const VEC inverse = 1 / TYPED(load)(b);
            EACH(TYPED(quotient)(x, y, inverse))
            break;
        }
#endif
        EACH(x / y)
        break;
    case VP_maximum:
        EACH(TYPED(choose)((x > y) | (x != x), x, y)) break;
    case VP_minimum:
        EACH(TYPED(choose)((x < y) | (x != x), x, y)) break;
    case VP_negative:
        EACH(-x) break;
    case VP_abs:
        EACH((VEC)((IVEC)x & ~(IVEC)TYPED(splat)((REAL)-0.0))) break;
    case VP_sign:
        EACH(TYPED(choose)(x > 0, TYPED(splat)(1),
                           TYPED(choose)(x < 0, TYPED(splat)(-1), TYPED(choose)(x == 0, (VEC){0}, x))))
        break;
    case VP_square:
        EACH(x * x) break;
    case VP_exp:
        EACH(TYPED(exponential)(x)) break;
    case VP_log:
        EACH(TYPED(logarithm)(x)) break;
    case VP_tanh:
        EACH(TYPED(hyperbolic_tangent)(x)) break;
    case VP_less:
        EACH((VEC)(x < y)) break;
    case VP_less_equal:
        EACH((VEC)(x <= y)) break;
    case VP_equal:
        EACH((VEC)(x == y)) break;
    case VP_not_equal:
        EACH((VEC)(x != y)) break;
    case VP_isnan:
        EACH((VEC)(x != x)) break;
    case VP_isfinite:
        EACH((VEC)(x - x == 0)) break;
    case VP_logical_and:
        EACH((VEC)((IVEC)x & (IVEC)y)) break;
    case VP_logical_or:
        EACH((VEC)((IVEC)x | (IVEC)y)) break;
    case VP_logical_xor:
        EACH((VEC)((IVEC)x ^ (IVEC)y)) break;
    case VP_logical_not:
        EACH((VEC) ~(IVEC)x) break;
    case VP_astype: /* between bool and REAL */
        if (i->dtype == VP_BOOL) {
            EACH((VEC)(x != 0))
        } else {
            EACH((VEC)((IVEC)x & (IVEC)TYPED(splat)(1)))
        }
        break;
    case VP_where:
        EACH_3(TYPED(choose)((IVEC)x, y, w)) break;
        PAIR(add, x + y)
        PAIR(subtract, x - y)
        PAIR(multiply, x * y)
        PAIR(divide, x / y)
    case VP_store:
        EACH(x) break;
    case VP_sqrt:
        EACH_ELEMENT(SQRT(a[k])) break;
    case VP_floor:
        EACH_ELEMENT(FLOOR(a[k])) break;
    case VP_ceil:
        EACH_ELEMENT(CEIL(a[k])) break;
    case VP_round:
        EACH_ELEMENT(NEAREST(a[k])) break;
    case VP_pow:
        for (int64_t k = 0; k < n; k += LANES, a += step_a, b += step_b)
            for (int j = 0; j < LANES; j++) to[k + j] = POW(a[j], b[j]);
        break;
    case VP_load_mask: {
        const uint8_t *bools = (const uint8_t *)m->bytes[i->a - m->n_numbers];
        INT *masks = (INT *)to;
        for (int64_t k = 0; k < n; k++) masks[k] = bools[k] ? -1 : 0;
        break;
    }
    case VP_store_mask: {
        uint8_t *bools = (uint8_t *)m->bytes[i->to - m->n_numbers];
        const INT *masks = (const INT *)a;
        for (int64_t k = 0; k < n; k++) bools[k] = masks[step_a ? k : 0] != 0;
        break;
    }
    case VP_all_finite: {
        /* Several sums, because each addition waits for the one before. */
        VEC poison[4] = {{0}, {0}, {0}, {0}};
        int64_t k = 0;
        for (; k + 4 * LANES <= n; k += 4 * LANES) UNROLL
            for (int s = 0; s < 4; s++) poison[s] += TYPED(load)(a + k + s * LANES) * 0;
        for (; k < n; k += LANES) poison[0] += TYPED(load)(a + k) * 0;
        poison[0] += poison[1] + poison[2] + poison[3];
        const double finite = TYPED(sum)(poison[0]) == 0;
        if (m->numbers[i->to] == finite) break;
        m->changed = 1;
        TYPED(vp_set)(m, i, finite);
        break;
    }
    case VP_select: {
        const int yes = m->numbers[i->a] != 0;
        m->at[i->to] = m->at[yes ? i->b : i->c];
        m->step[i->to] = yes ? step_b : step_c;
        break;
    }
    default:
        break;
    }
}

/* Copies numbers that the program may change, before any thread does. buffers: the operands, the numbers' copies;
   sizes: how many; operands: the place and the bytes of each. */
KERNEL(vector_program_cells) {
    UNUSED(team);
    const vp_operand *cells = args->buffers[0];
    int64_t *copies = args->buffers[1];
    for (int64_t i = 0; i < args->sizes[0]; i++)
        memcpy(copies + i, (const void *)(intptr_t)cells[i].address, (size_t)cells[i].bytes);
}

/* buffers: instructions, constants, operands; sizes: the first element, elements, numbers, operands, registers, the
   instructions that run once, all instructions. */
KERNEL(vector_program) {
    const vp_instruction *code = args->buffers[0];
    const int64_t registers = args->sizes[4], once = args->sizes[5], all = args->sizes[6];
    _Alignas(64) REAL memory[VP_REGISTERS][BLOCK];
    _Alignas(64) REAL rest[VP_OPERANDS][LANES];
    TYPED(vp_machine) m;
    m.team = team, m.constants = args->buffers[1], m.operands = args->buffers[2];
    m.n_numbers = args->sizes[2], m.n_operands = args->sizes[3];
    /* Without results in registers, nothing has to stay in the cache. */
    const int64_t block = registers ? BLOCK : 64 * BLOCK;
    int64_t first, last;
    mocha_share(args->sizes[1], BLOCK, team, &first, &last);
    first += args->sizes[0], last += args->sizes[0];
    for (int64_t i = 0; i < m.n_numbers; i++)
        m.numbers[i] = 0, m.splats[i] = (VEC){0}, m.at[i] = (REAL *)&m.splats[i], m.step[i] = 0;
    const int64_t first_register = m.n_numbers + m.n_operands;
    for (int64_t i = 0; i < registers; i++) m.at[first_register + i] = memory[i], m.step[first_register + i] = LANES;
    for (int64_t i = 0; i < once; i++) TYPED(vp_run_number)(&m, code + i);
    /* While a block is computed, each instruction fetches some lines of the next one into the cache. */
    int64_t lines = 0;
    for (int64_t i = 0; i < m.n_operands; i++) lines += registers && m.operands[i].bytes ? VP_BLOCK_BYTES / 64 : 0;
    const int64_t some = lines ? lines / (all - once) + 1 : 0;
    m.changed = 1;
    while (first < last) {
        /* The last elements, less than a vector, are computed in copies of the operands. */
        const int64_t whole = mocha_min(block, last - first) / LANES * LANES, few = whole ? 0 : last - first;
        for (int64_t i = 0; i < m.n_operands; i++) {
            const vp_operand *operand = m.operands + i;
            char *from = (char *)(intptr_t)operand->address + first * operand->bytes;
            if (few && operand->bytes) {
                for (int64_t k = 0; k < LANES; k++)
                    memcpy((char *)rest[i] + k * operand->bytes, from + mocha_min(k, few - 1) * operand->bytes,
                           (size_t)operand->bytes);
                from = (char *)rest[i];
            }
            m.bytes[i] = from, m.at[m.n_numbers + i] = (REAL *)from, m.step[m.n_numbers + i] = LANES;
        }
        int64_t line = 0, ahead = 0;
        for (int64_t i = once; i < all; i++) {
            for (int64_t k = 0; k < some && ahead < m.n_operands; k++) {
                if (m.operands[ahead].bytes)
                    __builtin_prefetch(m.bytes[ahead] + whole * m.operands[ahead].bytes + line);
                line += 64;
                if (line >= VP_BLOCK_BYTES || !m.operands[ahead].bytes) line = 0, ahead++;
            }
            const int32_t op = code[i].op;
            const int numbers = op == VP_store_changed || (code[i].to < m.n_numbers && op != VP_all_finite);
            if (numbers) {
                if (m.changed) TYPED(vp_run_number)(&m, code + i);
            } else {
                TYPED(vp_run)(&m, code + i, few ? LANES : whole);
            }
        }
        for (int64_t i = 0; few && i < m.n_operands; i++) {
            const vp_operand *operand = m.operands + i;
            char *target = (char *)(intptr_t)operand->address + first * operand->bytes;
            if (operand->written && operand->bytes) memcpy(target, rest[i], (size_t)(few * operand->bytes));
        }
        first += few ? few : whole;
        m.changed = 0;
    }
}

#undef BLOCK
