/* The ops of the core: they move, sum and check values. */

#ifndef MOCHA_STRUCTURAL_H
#define MOCHA_STRUCTURAL_H

#define KERNELS(K) \
    K(objective_forward) \
    K(objective_backward) \
    K(check_finite_forward) \
    K(fill_forward) \
    K(gather_forward) \
    K(commit_forward)
#define MOST_LOSSES 8

#endif

/* One thread runs it. buffers: objective, losses; sizes: losses; numbers: weights. */
KERNEL(objective_forward) {
    REAL sum = 0;
    UNUSED(team);
    for (int64_t i = 0; i < args->sizes[0]; i++) sum += *(const REAL *)args->buffers[1 + i] * (REAL)args->numbers[i];
    *(REAL *)args->buffers[0] = sum;
}

/* One thread runs it. buffers: dy, the losses' gradients or NULL; sizes: losses, then a bit for each whether it is
   added; numbers: weights. */
KERNEL(objective_backward) {
    const REAL dy = *(const REAL *)args->buffers[0];
    UNUSED(team);
    for (int64_t i = 0; i < args->sizes[0]; i++) {
        REAL *out = args->buffers[1 + i];
        if (out) *out = dy * (REAL)args->numbers[i] + (args->sizes[1] >> i & 1 ? *out : 0);
    }
}

/* One thread runs it. buffers: x, status; sizes: elements, fault. */
KERNEL(check_finite_forward) {
    const REAL *x = args->buffers[0];
    int32_t *status = args->buffers[1];
    UNUSED(team);
    for (int64_t i = 0; i < args->sizes[0]; i++)
        if (x[i] - x[i] != 0 && *status == 0) *status = (int32_t)args->sizes[1];
}

/* buffers: x; sizes: elements; numbers: the constant. */
KERNEL(fill_forward) {
    REAL *x = args->buffers[0];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i++) x[i] = (REAL)args->numbers[0];
}

/* buffers: table, row numbers, y; sizes: rows of the table, elements of a row, rows of y. A row that the table does not
   have is zero: the program refuses such row numbers before it runs. */
KERNEL(gather_forward) {
    const REAL *table = args->buffers[0];
    const int64_t *rows = args->buffers[1];
    REAL *y = args->buffers[2];
    const int64_t size = args->sizes[1];
    int64_t first, last;
    mocha_share(args->sizes[2], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) {
        if (rows[n] >= 0 && rows[n] < args->sizes[0]) {
            memcpy(y + n * size, table + rows[n] * size, (size_t)size * sizeof *y);
        } else {
            memset(y + n * size, 0, (size_t)size * sizeof *y);
        }
    }
}

/* The contents of a value of any type into another, unless there is a status and it is not 0. buffers: status or NULL,
   source, target; sizes: bytes. */
KERNEL(commit_forward) {
    const int32_t *status = args->buffers[0];
    const char *source = args->buffers[1];
    char *target = args->buffers[2];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    if (first < last && !(status && *status)) memcpy(target + first, source + first, (size_t)(last - first));
}
