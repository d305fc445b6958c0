/* Counts the labels that equal the class of the largest prediction. */

#ifndef MOCHA_ACCURACY_H
#define MOCHA_ACCURACY_H

#define KERNELS(K) K(accuracy_forward)

#endif

/* The first of the largest of `classes` elements that are `stride` apart; NaN is larger than any number. */
static int64_t TYPED(largest)(const REAL *x, int64_t classes, int64_t stride) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes && x[best * stride] == x[best * stride]; c++)
        if (!(x[c * stride] <= x[best * stride])) best = c;
    return best;
}

/* One thread runs it. buffers: prediction, labels, valid_rows, status, total; sizes: rows, classes, positions, fault. */
KERNEL(accuracy_forward) {
    const REAL *prediction = args->buffers[0];
    const int32_t *labels = args->buffers[1];
    int32_t *status = args->buffers[3];
    double *total = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2];
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]);
    int64_t right = 0;
    UNUSED(team);
    for (int64_t n = 0; n < valid; n++)
        for (int64_t p = 0; p < positions; p++) {
            const int32_t label = labels[n * positions + p];
            if ((label < 0 || label >= classes) && *status == 0) *status = (int32_t)args->sizes[3];
            right += label == TYPED(largest)(prediction + n * classes * positions + p, classes, positions);
        }
    total[0] += (double)right;
    total[1] += (double)(valid * positions);
}
