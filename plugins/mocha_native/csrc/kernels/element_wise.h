/* Arithmetic on two blobs, element by element. A blob may be both operands, and one gradient both results: they are
   written one after the other. */

#ifndef MOCHA_ELEMENT_WISE_H
#define MOCHA_ELEMENT_WISE_H

/* Forward: buffers a, b, y; sizes: elements.
   Backward: buffers dy, a, b, y, then da, db, each NULL where it is not wanted; sizes: elements, and for each gradient
   whether it is added. */
#define ELEMENT_WISE(NAME, FORWARD, LEFT, RIGHT) \
    KERNEL(NAME##_forward) { \
        const REAL *a = args->buffers[0], *b = args->buffers[1]; \
        REAL *y = args->buffers[2]; \
        int64_t first, last; \
        mocha_share(args->sizes[0], GRAIN, team, &first, &last); \
        for (int64_t i = first; i < last; i++) y[i] = FORWARD; \
    } \
    KERNEL(NAME##_backward) { \
        const REAL *dy = args->buffers[0], *a = args->buffers[1], *b = args->buffers[2], *y = args->buffers[3]; \
        REAL *da = args->buffers[4], *db = args->buffers[5]; \
        int64_t first, last; \
        UNUSED(a), UNUSED(b), UNUSED(y); \
        mocha_share(args->sizes[0], GRAIN, team, &first, &last); \
        if (da && args->sizes[1]) \
            for (int64_t i = first; i < last; i++) da[i] += LEFT; \
        else if (da) \
            for (int64_t i = first; i < last; i++) da[i] = LEFT; \
        if (db && args->sizes[2]) \
            for (int64_t i = first; i < last; i++) db[i] += RIGHT; \
        else if (db) \
            for (int64_t i = first; i < last; i++) db[i] = RIGHT; \
    }

#define ELEMENT_WISE_NAMES(K, name) \
    K(name##_forward) \
    K(name##_backward)
#define KERNELS(K) \
    ELEMENT_WISE_NAMES(K, add) \
    ELEMENT_WISE_NAMES(K, subtract) ELEMENT_WISE_NAMES(K, multiply) ELEMENT_WISE_NAMES(K, divide)

#endif

ELEMENT_WISE(add, a[i] + b[i], dy[i], dy[i])
ELEMENT_WISE(subtract, a[i] - b[i], dy[i], -dy[i])
ELEMENT_WISE(multiply, a[i] * b[i], dy[i] * b[i], dy[i] * a[i])
ELEMENT_WISE(divide, a[i] / b[i], dy[i] / b[i], -(dy[i] / b[i]) * y[i])
