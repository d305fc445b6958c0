/* Softmax over axis 1. A blob is (rows, classes, positions); threads share the rows. */

#ifndef MOCHA_SOFTMAX_H
#define MOCHA_SOFTMAX_H

#define KERNELS(K) \
    K(softmax_forward) \
    K(softmax_backward)

#endif

#include "softmax_rows.h"

/* buffers: x, y; sizes: rows, classes, positions. */
KERNEL(softmax_forward) {
    const REAL *x = args->buffers[0];
    REAL *y = args->buffers[1];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) TYPED(softmax_row)(x + n * size, y + n * size, classes, positions);
}

/* dx = y * (dy - sum of dy * y). buffers: dy, y, dx; sizes: rows, classes, positions, whether it is added. */
KERNEL(softmax_backward) {
    const REAL *dy = args->buffers[0], *y = args->buffers[1];
    REAL *dx = args->buffers[2];
    const int64_t classes = args->sizes[1], positions = args->sizes[2];
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++)
        for (int64_t p = 0; p < positions; p++) {
            REAL total = 0;
            const int64_t begin = n * classes * positions + p, end = begin + classes * positions;
            for (int64_t i = begin; i < end; i += positions) total += dy[i] * y[i];
            for (int64_t i = begin; i < end; i += positions)
                dx[i] = y[i] * (dy[i] - total) + (args->sizes[3] ? dx[i] : 0);
        }
}
