/* Softmax over axis 1 of (rows, classes, positions), for REAL. */

/* One sample at one position: `classes` elements that are `stride` apart. */
static void TYPED(softmax_of)(const REAL *x, REAL *y, int64_t classes, int64_t stride) {
    REAL most = x[0], total = 0;
    /* NaN counts as the largest, and makes all results NaN. */
    for (int64_t c = 1; c < classes; c++)
        if (!(x[c * stride] <= most) && most == most) most = x[c * stride];
    for (int64_t c = 0; c < classes; c += LANES) {
        const int64_t some = mocha_min(LANES, classes - c);
        VEC part = (VEC){0};
        for (int64_t i = 0; i < some; i++) part[i] = x[(c + i) * stride] - most;
        part = TYPED(exponential)(part);
        for (int64_t i = 0; i < some; i++) {
            y[(c + i) * stride] = part[i];
            total += part[i];
        }
    }
    for (int64_t c = 0; c < classes; c++) y[c * stride] /= total;
}

/* One sample at all positions. */
static void TYPED(softmax_row)(const REAL *x, REAL *y, int64_t classes, int64_t positions) {
    for (int64_t p = 0; p < positions; p++) TYPED(softmax_of)(x + p, y + p, classes, positions);
}
