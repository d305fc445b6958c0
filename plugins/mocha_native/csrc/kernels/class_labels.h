/* Class indices of floating-point labels. */

#ifndef MOCHA_CLASS_LABELS_H
#define MOCHA_CLASS_LABELS_H

#define KERNELS(K) K(labels_forward)

#endif

/* One thread runs it. buffers: x, status, labels; sizes: elements, fault. */
KERNEL(labels_forward) {
    const REAL *x = args->buffers[0];
    int32_t *status = args->buffers[1], *labels = args->buffers[2];
    UNUSED(team);
    for (int64_t i = 0; i < args->sizes[0]; i++) {
        /* False for NaN as well; a number of this size can be cast. */
        const int small = x[i] > (REAL)-2147483648.0 && x[i] < (REAL)2147483648.0;
        const int whole = small && (REAL)(int64_t)x[i] == x[i];
        labels[i] = whole ? (int32_t)x[i] : 0;
        if (!whole && *status == 0) *status = (int32_t)args->sizes[1];
    }
}
