/* The update of stochastic gradient descent with momentum for a block of a parameter, for REAL. */

/* The larger is the penalty's gradient: L2's is decay * w, L1's sparsity * sign(w). */
typedef struct {
    REAL rate, momentum, decay, sparsity;
} TYPED(sgd_rule);

static TYPED(sgd_rule) TYPED(sgd_rule_of)(const REAL *rate, const REAL *momentum, const double *numbers) {
    const TYPED(sgd_rule) rule = {(REAL)((double)*rate * numbers[0]), *momentum, (REAL)numbers[1], (REAL)numbers[2]};
    return rule;
}

/* The new velocity of a vector of w. */
static inline __attribute__((always_inline)) VEC TYPED(sgd_velocity)(TYPED(sgd_rule) rule, VEC w, VEC g, VEC velocity) {
    VEC gradient = g + rule.decay * w;
    if (rule.sparsity != 0) {
        const VEC sign = TYPED(choose)(w > 0, TYPED(splat)(1), TYPED(choose)(w < 0, TYPED(splat)(-1), w));
        gradient += rule.sparsity * sign;
    }
    return rule.momentum * velocity + rule.rate * gradient;
}

static inline __attribute__((always_inline)) int TYPED(sgd_some)(TYPED(sgd_rule) rule, const int64_t most, int64_t n, REAL *w,
                                                                 const REAL *g, REAL *velocity, int checked) {
    _Alignas(64) REAL new_w[most], new_velocity[most];
    IVEC bad = (IVEC){0};
#pragma GCC unroll 4
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t some = n - i;
        const VEC old = TYPED(load_some)(w + i, some);
        const VEC v = TYPED(sgd_velocity)(rule, old, TYPED(load_some)(g + i, some), TYPED(load_some)(velocity + i, some));
        const VEC next = old - v;
        TYPED(store)(new_velocity + i, v);
        TYPED(store)(new_w + i, next);
        bad |= next - next != 0;
    }
    INT worst = 0;
    for (int i = 0; i < LANES; i++) worst |= bad[i];
    if (checked && worst) return 0;
    memcpy(w, new_w, (size_t)n * sizeof *w);
    memcpy(velocity, new_velocity, (size_t)n * sizeof *velocity);
    return 1;
}

/* Updates n elements, at most `most`, a literal. Where a new one is not finite and `checked`, it writes nothing and
   returns 0. */
static inline __attribute__((always_inline)) int TYPED(sgd_block)(TYPED(sgd_rule) rule, const int64_t most, int64_t n, REAL *w,
                                                                  const REAL *g, REAL *velocity, int checked) {
    return n == most ? TYPED(sgd_some)(rule, most, most, w, g, velocity, checked)
                     : TYPED(sgd_some)(rule, most, n, w, g, velocity, checked);
}
