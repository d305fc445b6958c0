/* Convolution with filters of 1x1 and stride 1, as matrix products (matmul.h), one for each block of images in lanes:

            A(m, r), broadcast   B(r, c)       C(m, c)     columns c
     y      w(m, r)              x(r, c)       y(m, c)     pixels of the block's images
     dx     w(r, m)              dy(r, c)      dx(m, c)    pixels of the block's images
     dw     dy(m, r)             x(c, r)       dw(m, c)    channels; r are the pixels of the block's images */

#ifndef MOCHA_POINTWISE_H
#define MOCHA_POINTWISE_H

#define KERNELS(K) \
    K(pointwise) \
    K(pointwise_weights)

#endif

#include "matmul.h"

/* y, or dx. buffers: x, w, bias or NULL, what masks the result or NULL, y, room of the threads, epilogue of y or NULL;
   sizes: blocks, channels of x and of y, pixels, the elements from a channel of y to the next in w, and from a channel of x, elements of each
   thread's room, whether y is added; numbers: the least value of y, and what the mask has to be above. */
KERNEL(pointwise) {
    static const mocha_team alone = {0, 1, NULL};
    const int64_t *sizes = args->sizes, blocks = sizes[0], inputs = sizes[1], outputs = sizes[2];
    const int64_t columns = sizes[3] * LANES;
    const REAL *mask = args->buffers[3];
    REAL *x = args->buffers[0], *y = args->buffers[4], *room = (REAL *)args->buffers[5] + team->rank * sizes[6];
    const TYPED(factors) a = {args->buffers[1], sizes[4], sizes[5], inputs, 0};
    TYPED(finish) f = {.add = sizes[7] != 0,
                .bias = args->buffers[2],
                .floor = (REAL)args->numbers[0],
                .mask_floor = (REAL)args->numbers[1],
                .epilogue = args->buffers[6]};
    for (int64_t n = 0; n < blocks; n++) {
        /* Each thread has blocks of its own, and they share those that are left over. */
        const int shared = n >= blocks / team->size * team->size;
        if (!shared && n % team->size != team->rank) continue;
        const TYPED(matrix) b = {x + n * inputs * columns, columns, LANES, 0};
        const TYPED(matrix) c = {y + n * outputs * columns, columns, LANES, 0};
        f.first = n * outputs * columns;
        f.mask = mask ? mask + f.first : NULL;
        TYPED(product)(outputs, columns, inputs, a, b, c, &f, room, shared ? team : &alone);
    }
}

/* dw. buffers: x, dy, dw, room of the threads; sizes: blocks, channels of x and of dy, pixels, elements of each thread's
   room, whether dw is added. */
KERNEL(pointwise_weights) {
    const int64_t *sizes = args->sizes, inputs = sizes[1], outputs = sizes[2], columns = sizes[3] * LANES;
    REAL *x = args->buffers[0], *dy = args->buffers[1], *room = (REAL *)args->buffers[3] + team->rank * sizes[4];
    const TYPED(matrix) c = {args->buffers[2], inputs, LANES, 0};
    for (int64_t n = 0; n < sizes[0]; n++) {
        const TYPED(factors) a = {dy + n * outputs * columns, columns, 1, columns, 0};
        const TYPED(matrix) b = {x + n * inputs * columns, 1, LANES * columns, columns};
        const TYPED(finish) f = {.add = n > 0 || sizes[5], .floor = -(REAL)INFINITY};
        TYPED(product)(outputs, inputs, columns, a, b, c, &f, room, team);
    }
}
