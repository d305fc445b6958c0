/* Softmax over axis 1 of (rows, classes, positions). A group of `lanes` threads takes an item: a row at a
   position. */

#include "softmax.cuh"

KERNEL(softmax_forward)(const REAL *x, REAL *y, int items, int classes, int positions, int lanes) {
    FOR_EACH_GROUP(item, items, lanes) {
        const int begin = item_begin(item, items, classes, positions);
        const struct softmax row = softmax_of(x + begin, classes, positions, lanes);
        if (item >= items) continue;
        for (int c = threadIdx.x % lanes; c < classes; c += lanes) {
            const int at = begin + c * positions;
            y[at] = row.of(x[at]);
        }
    }
}

/* dx = y * (dy - sum of dy * y). */
KERNEL(softmax_backward)
(const REAL *dy, const REAL *y, REAL *dx, int items, int classes, int positions, int lanes, int add) {
    FOR_EACH_GROUP(item, items, lanes) {
        const int begin = item_begin(item, items, classes, positions);
        REAL total = 0;
        for (int c = threadIdx.x % lanes; c < classes; c += lanes) {
            const int at = begin + c * positions;
            total += dy[at] * y[at];
        }
        for (int distance = lanes / 2; distance; distance /= 2) total += __shfl_xor_sync(0xffffffffu, total, distance);
        if (item >= items) continue;
        for (int c = threadIdx.x % lanes; c < classes; c += lanes) {
            const int at = begin + c * positions;
            give(dx + at, y[at] * (dy[at] - total), add);
        }
    }
}
