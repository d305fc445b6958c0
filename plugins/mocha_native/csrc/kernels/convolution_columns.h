/* What a convolution of few pixels is besides a matrix product: blobs with their channels last become columns, and back.

     columns(p, (c, u, v)) = x(n, c, i * sh + u - ph, j * sw + v - pw)       p: the pixel (n, i, j) of y

   Then y = columns w', dcolumns = dy w and dw = dy' columns are those of an inner product, which reads filters as they
   are: where pixels are few, packing filters would take more time than all products. */

#ifndef MOCHA_CONVOLUTION_COLUMNS_H
#define MOCHA_CONVOLUTION_COLUMNS_H

#define KERNELS(K) \
    K(convolution_columns) \
    K(convolution_columns_back)

#endif

/* Sizes of both: images, channels, height, width of x, channels with their padding, kh, kw, sh, sw, ph, pw, rows and
   columns of y. */

/* buffers: x, columns. */
KERNEL(convolution_columns) {
    const int64_t *s = args->sizes, channels = s[1], high = s[5], wide = s[6], taps = high * wide;
    int64_t first, last;
    mocha_share(s[0] * s[11] * s[12], 1, team, &first, &last);
    for (int64_t p = first; p < last; p++) {
        const int64_t top = p / s[12] % s[11] * s[7] - s[9], left = p % s[12] * s[8] - s[10];
        REAL *to = (REAL *)args->buffers[1] + p * channels * taps;
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t row = top + tap / wide, column = left + tap % wide;
            if (row < 0 || row >= s[2] || column < 0 || column >= s[3]) {
                for (int64_t c = 0; c < channels; c++) to[c * taps + tap] = 0;
                continue;
            }
            const int64_t image = p / (s[11] * s[12]), pixel = (image * s[2] + row) * s[3] + column;
            const REAL *from = (const REAL *)args->buffers[0] + pixel * s[4];
            for (int64_t c = 0; c < channels; c++) to[c * taps + tap] = from[c];
        }
    }
}

/* buffers: gradients of columns, those of x, mask or NULL; sizes: also whether they are added; numbers: what the mask
   has to be above. */
KERNEL(convolution_columns_back) {
    const int64_t *s = args->sizes, channels = s[1], high = s[5], wide = s[6], taps = high * wide;
    const REAL *columns = args->buffers[0], *mask = args->buffers[2], floor = (REAL)args->numbers[0];
    int64_t first, last;
    mocha_share(s[0] * s[2] * s[3], 1, team, &first, &last);
    for (int64_t pixel = first; pixel < last; pixel++) {
        const int64_t image = pixel / (s[2] * s[3]), row = pixel / s[3] % s[2] + s[9], column = pixel % s[3] + s[10];
        for (int64_t c = 0; c < s[4]; c += LANES) {
            const int64_t some = mocha_min(LANES, channels - c), at = pixel * s[4] + c;
            REAL *to = (REAL *)args->buffers[1] + at;
            VEC sum = (VEC){0};
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t over = row - tap / wide, beside = column - tap % wide, i = over / s[7], j = beside / s[8];
                if (over < 0 || beside < 0 || over % s[7] || beside % s[8] || i >= s[11] || j >= s[12]) continue;
                const REAL *from = columns + (((image * s[11] + i) * s[12] + j) * channels + c) * taps + tap;
                VEC in = (VEC){0};
                for (int64_t lane = 0; lane < some; lane++) in[lane] = from[lane * taps];
                sum += in;
            }
            if (mask) sum = TYPED(choose)(TYPED(load)(mask + at) > floor, sum, (VEC){0});
            if (s[13]) sum += TYPED(load)(to);
            TYPED(store)(to, sum);
        }
    }
}
