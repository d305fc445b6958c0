/* The update of stochastic gradient descent with momentum for a block of a parameter, for REAL. */

#ifndef SGD_BLOCK
#define SGD_BLOCK 1024 /* elements, at most */
#endif

/* The penalty's gradient is decay * w for L2, and sparsity * sign(w) for L1; the other number is 0. */
typedef struct {
    REAL rate, momentum, decay, sparsity;
} TYPED(sgd_rule);

static inline TYPED(sgd_rule) TYPED(sgd_rule_of)(const REAL *rate, const REAL *momentum, const double *numbers) {
    const TYPED(sgd_rule) rule = {(REAL)((double)*rate * numbers[0]), *momentum, (REAL)numbers[1], (REAL)numbers[2]};
    return rule;
}

/* The new velocity of a vector of w. */
ALWAYS_INLINE VEC TYPED(sgd_velocity)(TYPED(sgd_rule) rule, VEC w, VEC g, VEC velocity) {
    VEC gradient = g + rule.decay * w;
    if (rule.sparsity != 0) {
        const VEC sign = TYPED(choose)(w > 0, TYPED(splat)(1), TYPED(choose)(w < 0, TYPED(splat)(-1), w));
        gradient += rule.sparsity * sign;
    }
    return rule.momentum * velocity + rule.rate * gradient;
}

/* Computes new values of a row of n elements. Each element of the result is 0 if its value is finite, else NaN. */
ALWAYS_INLINE VEC TYPED(sgd_row)(
    TYPED(sgd_rule) rule, int64_t n, const REAL *w, const REAL *g, const REAL *velocity, REAL *new_w,
                          REAL *new_velocity) {
    VEC poison = (VEC){0};
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t some = n - i;
        const VEC old = TYPED(load_some)(w + i, some);
        const VEC v =
            TYPED(sgd_velocity)(rule, old, TYPED(load_some)(g + i, some), TYPED(load_some)(velocity + i, some));
        TYPED(store)(new_velocity + i, v);
        TYPED(store)(new_w + i, old - v);
        poison += (old - v) * 0;
    }
    return poison;
}

/* Updates (rows, columns) elements of w, whose rows are `row` apart, by gradients whose rows are `g_row` apart: whole
   vectors, and at most SGD_BLOCK in all. Where a new value is not finite and `checked`, it writes nothing and returns
   0. Rows are often as long as g_row, which is a literal. */
ALWAYS_INLINE int TYPED(sgd_block)(
    TYPED(sgd_rule) rule, int64_t rows, int64_t columns, int64_t row, REAL *w, REAL *velocity,
                            const REAL *g, const int64_t g_row, int checked) {
    _Alignas(64) REAL new_w[SGD_BLOCK], new_velocity[SGD_BLOCK];
    VEC poison = (VEC){0};
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = i * row, here = i * g_row;
        REAL *to_w = new_w + here, *to_velocity = new_velocity + here;
        if (columns == g_row) {
            poison += TYPED(sgd_row)(rule, g_row, w + at, g + here, velocity + at, to_w, to_velocity);
        } else {
            poison += TYPED(sgd_row)(rule, columns, w + at, g + here, velocity + at, to_w, to_velocity);
        }
    }
    if (checked && !(TYPED(sum)(poison) == 0)) return 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += LANES) {
            TYPED(store_some)(w + i * row + j, TYPED(load)(new_w + i * g_row + j), columns - j);
            TYPED(store_some)(velocity + i * row + j, TYPED(load)(new_velocity + i * g_row + j), columns - j);
        }
    return 1;
}
