/* Local response normalization of few images with their channels last: y = x * base**(-power), where
   base = shift + scale * (sum of x**2 over the window around the element).

   Across channels: for every pixel, the squares of its channels are written between zeros, then
     for every vector of channels: the sum of `kernel` vectors that begin one element apart.
   Within a channel:
     for every pixel, for every vector of channels: the sum over the pixels of the window that are inside the image.

   Threads share the (image, row) pairs. */

#ifndef MOCHA_CHANNELS_LAST_LRN_H
#define MOCHA_CHANNELS_LAST_LRN_H

#define KERNELS(K) K(channels_last_lrn_across) K(channels_last_lrn_within)

#endif

static inline VEC TYPED(root)(VEC x) {
    VEC y;
    for (int i = 0; i < LANES; i++) y[i] = sizeof(REAL) == sizeof(float) ? (REAL)sqrtf((float)x[i]) : (REAL)sqrt((double)x[i]);
    return y;
}

/* x * base**(-power). The usual powers are products of roots; NaN and what is not finite are as of `pow`. */
static inline VEC TYPED(normalized)(VEC x, VEC base, REAL power) {
    if (power == (REAL)0.75) {
        const VEC half = TYPED(root)(base);
        return x / (half * TYPED(root)(half));
    }
    if (power == (REAL)0.5) return x / TYPED(root)(base);
    if (power == (REAL)1) return x / base;
    for (int i = 0; i < LANES; i++) x[i] *= POW(base[i], -power);
    return x;
}

/* buffers: x, y, a line for each thread; sizes: images, channels with their padding, height, width, kernel, channels,
   elements of a line; numbers: scale, shift, power. */
KERNEL(channels_last_lrn_across) {
    const int64_t *s = args->sizes, padded = s[1], width = s[3], kernel = s[4], channels = s[5], front = (kernel - 1) / 2;
    const VEC scale = TYPED(splat)((REAL)args->numbers[0]), shift = TYPED(splat)((REAL)args->numbers[1]);
    const REAL power = (REAL)args->numbers[2];
    REAL *line = (REAL *)args->buffers[2] + team->rank * s[6];
    int64_t first, last;
    mocha_share(s[0] * s[2], 1, team, &first, &last);
    memset(line, 0, (size_t)s[6] * sizeof *line);
    for (int64_t i = first * width; i < last * width; i++) {
        const REAL *x = (const REAL *)args->buffers[0] + i * padded;
        REAL *y = (REAL *)args->buffers[1] + i * padded;
        for (int64_t c = 0; c < channels; c++) line[front + c] = x[c] * x[c];
        for (int64_t c = 0; c < padded; c += LANES) {
            VEC sum = (VEC){0};
            for (int64_t k = 0; k < kernel; k++) sum += TYPED(load)(line + c + k);
            TYPED(store)(y + c, TYPED(normalized)(TYPED(load)(x + c), shift + scale * sum, power));
        }
    }
}

/* buffers: x, y; sizes: images, channels with their padding, height, width, kernel; numbers: scale, shift, power. */
KERNEL(channels_last_lrn_within) {
    const int64_t *s = args->sizes, padded = s[1], height = s[2], width = s[3], kernel = s[4], front = (kernel - 1) / 2;
    const VEC scale = TYPED(splat)((REAL)args->numbers[0]), shift = TYPED(splat)((REAL)args->numbers[1]);
    const REAL power = (REAL)args->numbers[2];
    int64_t first, last;
    mocha_share(s[0] * height, 1, team, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const int64_t i = r % height, top = i < front ? 0 : i - front, bottom = mocha_min(height, i - front + kernel);
        const REAL *image = (const REAL *)args->buffers[0] + (r - i) * width * padded;
        REAL *y = (REAL *)args->buffers[1] + r * width * padded;
        for (int64_t j = 0; j < width; j++) {
            const int64_t left = j < front ? 0 : j - front, right = mocha_min(width, j - front + kernel);
            for (int64_t c = 0; c < padded; c += LANES) {
                VEC sum = (VEC){0};
                for (int64_t p = top; p < bottom; p++)
                    for (int64_t q = left; q < right; q++) {
                        const VEC here = TYPED(load)(image + (p * width + q) * padded + c);
                        sum += here * here;
                    }
                const VEC here = TYPED(load)(image + (i * width + j) * padded + c);
                TYPED(store)(y + j * padded + c, TYPED(normalized)(here, shift + scale * sum, power));
            }
        }
    }
}
