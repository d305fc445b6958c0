/* Numbers of vector programs: results of which there is one for all elements, or one for a row. They are computed in
   double, and rounded to their dtype. */

#ifndef MOCHA_VECTOR_NUMBERS_H
#define MOCHA_VECTOR_NUMBERS_H

/* The operations of mocha_core/compile/vector_program.py on numbers a, b and c. */
/* clang-format off */
#define VP_NUMBER_FUNCTIONS(F) \
    F(add, a + b) F(subtract, a - b) F(multiply, a * b) F(divide, a / b) F(pow, pow(a, b)) \
    F(maximum, a > b || a != a ? a : b) F(minimum, a < b || a != a ? a : b) F(negative, -a) F(abs, fabs(a)) \
    F(sign, a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a) F(square, a * a) F(sqrt, sqrt(a)) F(exp, exp(a)) F(log, log(a)) \
    F(tanh, tanh(a)) F(floor, floor(a)) F(ceil, ceil(a)) F(round, nearbyint(a)) F(less, a < b) F(less_equal, a <= b) \
    F(equal, a == b) F(not_equal, a != b) F(isnan, a != a) F(isfinite, a - a == 0) F(logical_not, a == 0) \
    F(logical_and, a != 0 && b != 0) F(logical_or, a != 0 || b != 0) F(logical_xor, (a != 0) != (b != 0)) \
    F(where, a != 0 ? b : c) F(astype, a)
/* Others: `inverse` is 0 where `quotient` may not use it, `store` writes a number to an operand, `store_row` one of each
   row, `store_changed` one that differs from number b; `sum_of`, `max_of` and `min_of` end the reduction in block a. */
#define VP_NUMBER_OPERATIONS(O) \
    O(constant) O(input) O(all_finite) O(inverse) O(store) O(store_row) O(store_changed) O(sum_of) O(max_of) O(min_of)
/* clang-format on */
#define VP_FUNCTION_OPCODE(name, ...) VP_##name,
#define VP_OPCODE(name) VP_##name,
enum vp_number_opcode { VP_NUMBER_FUNCTIONS(VP_FUNCTION_OPCODE) VP_NUMBER_OPERATIONS(VP_OPCODE) };

typedef struct {
    int32_t op, to, a, b, c, dtype;
} vp_instruction;

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

static double vp_number(int32_t op, double a, double b, double c) {
    switch (op) {
#define VP_CASE(name, ...) \
    case VP_##name: \
        return __VA_ARGS__;
        VP_NUMBER_FUNCTIONS(VP_CASE)
    default:
        return a;
    }
}

#endif
