/* The standard neurons, element by element: y is a function of x, and dx is dy times its slope, which can be had
   from y. */

#ifndef MOCHA_NEURONS_H
#define MOCHA_NEURONS_H

#define LRELU_SLOPE 0.01

/* Forward: buffers x, y; sizes: elements; numbers: epsilon.
   Backward: buffers dy, y, dx; sizes: elements, whether it is added; numbers: epsilon. */
#define NEURON(NAME, FORWARD, BACKWARD) \
    KERNEL(NAME##_forward) { \
        const REAL *in = args->buffers[0]; \
        REAL *out = args->buffers[1]; \
        const REAL epsilon = (REAL)args->numbers[0]; \
        int64_t first, last; \
        UNUSED(epsilon); \
        mocha_share(args->sizes[0], GRAIN, team, &first, &last); \
        for (int64_t i = first; i < last; i += LANES) { \
            const VEC x = TYPED(load_some)(in + i, last - i); \
            TYPED(store_some)(out + i, FORWARD, last - i); \
        } \
    } \
    KERNEL(NAME##_backward) { \
        const REAL *top = args->buffers[0], *result = args->buffers[1]; \
        REAL *out = args->buffers[2]; \
        const REAL epsilon = (REAL)args->numbers[0]; \
        int64_t first, last; \
        UNUSED(epsilon); \
        mocha_share(args->sizes[0], GRAIN, team, &first, &last); \
        for (int64_t i = first; i < last; i += LANES) { \
            const VEC dy = TYPED(load_some)(top + i, last - i), y = TYPED(load_some)(result + i, last - i); \
            VEC dx = BACKWARD; \
            if (args->sizes[1]) dx += TYPED(load_some)(out + i, last - i); \
            TYPED(store_some)(out + i, dx, last - i); \
        } \
    }

#define NEURON_NAMES(K, name) \
    K(name##_forward) \
    K(name##_backward)
#define KERNELS(K) \
    NEURON_NAMES(K, relu) \
    NEURON_NAMES(K, lrelu) NEURON_NAMES(K, sigmoid) NEURON_NAMES(K, tanh) NEURON_NAMES(K, exponential)

#endif

/* Of a negative number, so that nothing overflows; below zero the fraction is expanded by exp(x). */
static inline VEC TYPED(sigmoid)(VEC x) {
    const VEC small = TYPED(exponential)(TYPED(choose)(x < 0, x, -x));
    return TYPED(choose)(x < 0, small, TYPED(splat)(1)) / (small + 1);
}

/* With t = exp(-2|x|) - 1, tanh(|x|) = -t / (t + 2). */
static inline VEC TYPED(tangent)(VEC x) {
    const VEC t = TYPED(exponential_minus_1)(TYPED(choose)(x < 0, x, -x) * 2);
    const VEC y = t / (t + 2);
    return TYPED(choose)(x < 0, y, -y);
}

/* Comparisons are such that NaN stays NaN. */
NEURON(relu, TYPED(choose)(x <= epsilon, TYPED(splat)(epsilon), x), TYPED(choose)(y > epsilon, dy, (VEC){0}))
NEURON(lrelu, TYPED(choose)(x > 0, x, x *(REAL)LRELU_SLOPE), TYPED(choose)(y > 0, dy, dy *(REAL)LRELU_SLOPE))
NEURON(sigmoid, TYPED(sigmoid)(x), dy * y * (1 - y))
NEURON(tanh, TYPED(tangent)(x), dy * (1 - y * y))
NEURON(exponential, TYPED(exponential)(x), dy *y)
