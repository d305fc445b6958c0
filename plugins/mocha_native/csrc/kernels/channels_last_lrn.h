/* Local response normalization of few images with their channels last: y = x * base**(-power), where
   base = shift + scale * (sum of x**2 over the window around the element); and
   dx = direct - 2 power scale * x * (sum of x * direct / base over the mirrored window), with direct = dy base**(-power).

   Across channels: for every pixel, the squares of its channels are written between zeros, then
     for every vector of channels: the sum of `kernel` vectors that begin one element apart.
   Within a channel:
     for every pixel, for every vector of channels: the sum over the pixels of the window that are inside the image.

   Threads share the rows of all images. */

#ifndef MOCHA_CHANNELS_LAST_LRN_H
#define MOCHA_CHANNELS_LAST_LRN_H

#define KERNELS(K) \
    K(channels_last_lrn_across) \
    K(channels_last_lrn_across_backward) \
    K(channels_last_lrn_within) \
    K(channels_last_lrn_within_factors) \
    K(channels_last_lrn_within_backward)

#endif

static inline VEC TYPED(root)(VEC x) {
    VEC y;
    for (int i = 0; i < LANES; i++)
        y[i] = sizeof(REAL) == sizeof(float) ? (REAL)sqrtf((float)x[i]) : (REAL)sqrt((double)x[i]);
    return y;
}

/* x * base**(-power). The usual powers are products of roots, with the results of `pow` for NaN and infinity. */
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

/* For each element, the sum over `kernel` neighbours that begin with it. */
static inline VEC TYPED(across)(const REAL *line, int64_t kernel) {
    VEC sum = (VEC){0};
    for (int64_t k = 0; k < kernel; k++) sum += TYPED(load)(line + k);
    return sum;
}

/* A window over an image of `height` x `width` pixels that begins `front` before a pixel (i, j). */
typedef struct {
    int64_t height, width, padded, kernel, front;
} TYPED(square);

/* The sum of x or, `squared`, of x**2 over the window. */
ALWAYS_INLINE VEC TYPED(within)(const REAL *x, const TYPED(square) *s, int64_t i, int64_t j, const int squared) {
    const int64_t top = i < s->front ? 0 : i - s->front, bottom = mocha_min(s->height, i - s->front + s->kernel);
    const int64_t left = j < s->front ? 0 : j - s->front, right = mocha_min(s->width, j - s->front + s->kernel);
    VEC sum = (VEC){0};
    for (int64_t p = top; p < bottom; p++)
        for (int64_t q = left; q < right; q++) {
            const VEC here = TYPED(load)(x + (p * s->width + q) * s->padded);
            sum += squared ? here * here : here;
        }
    return sum;
}

/* Common arguments. sizes: images, channels with their padding, height, width, kernel, channels, elements of
   a line, whether it is added; numbers: scale, shift, power. */
#define BEGIN \
    const int64_t *s = args->sizes, padded = s[1], height = s[2], width = s[3], kernel = s[4], \
                  front = (kernel - 1) / 2; \
    const VEC scale = TYPED(splat)((REAL)args->numbers[0]), shift = TYPED(splat)((REAL)args->numbers[1]); \
    const REAL power = (REAL)args->numbers[2]; \
    int64_t first, last; \
    mocha_share(s[0] * height, 1, team, &first, &last)

/* buffers: x, y, a line for each thread. */
KERNEL(channels_last_lrn_across) {
    BEGIN;
    REAL *line = (REAL *)args->buffers[2] + team->rank * s[6];
    memset(line, 0, (size_t)s[6] * sizeof *line);
    for (int64_t i = first * width * padded; i < last * width * padded; i += padded) {
        const REAL *x = (const REAL *)args->buffers[0] + i;
        REAL *y = (REAL *)args->buffers[1] + i;
        for (int64_t c = 0; c < s[5]; c++) line[front + c] = x[c] * x[c];
        for (int64_t c = 0; c < padded; c += LANES) {
            const VEC base = shift + scale * TYPED(across)(line + c, kernel);
            TYPED(store)(y + c, TYPED(normalized)(TYPED(load)(x + c), base, power));
        }
    }
}

/* buffers: dy, x, dx, three lines for each thread: squares, direct, and the factors of the sum. */
KERNEL(channels_last_lrn_across_backward) {
    BEGIN;
    REAL *line = (REAL *)args->buffers[3] + team->rank * 3 * s[6], *direct = line + s[6], *factors = direct + s[6];
    const int64_t behind = kernel - 1 - front;
    memset(line, 0, (size_t)(3 * s[6]) * sizeof *line);
    for (int64_t i = first * width * padded; i < last * width * padded; i += padded) {
        const REAL *dy = (const REAL *)args->buffers[0] + i, *x = (const REAL *)args->buffers[1] + i;
        REAL *dx = (REAL *)args->buffers[2] + i;
        for (int64_t c = 0; c < s[5]; c++) line[front + c] = x[c] * x[c];
        for (int64_t c = 0; c < padded; c += LANES) {
            const VEC base = shift + scale * TYPED(across)(line + c, kernel);
            const VEC part = TYPED(normalized)(TYPED(load)(dy + c), base, power);
            TYPED(store)(direct + c, part);
            TYPED(store)(factors + behind + c, TYPED(load)(x + c) * part / base);
        }
        for (int64_t c = s[5]; c < padded; c++) factors[behind + c] = 0;
        for (int64_t c = 0; c < padded; c += LANES) {
            const VEC others = TYPED(across)(factors + c, kernel) * TYPED(load)(x + c);
            VEC result = TYPED(load)(direct + c) - 2 * power * scale * others;
            if (s[7]) result += TYPED(load)(dx + c);
            TYPED(store)(dx + c, result);
        }
    }
}

/* For each vector of channels of each pixel of this thread: the place of its image's first vector, and its own. */
#define FOR_EACH_PIXEL(FRONT, BODY) \
    const TYPED(square) square = {height, width, padded, kernel, FRONT}; \
    for (int64_t r = first; r < last; r++) \
        for (int64_t j = 0; j < width; j++) \
            for (int64_t c = 0; c < padded; c += LANES) { \
                const int64_t i = r % height, image = (r - i) * width * padded + c, at = (r * width + j) * padded + c; \
                BODY \
            }

/* buffers: x, y. */
KERNEL(channels_last_lrn_within) {
    BEGIN;
    const REAL *x = args->buffers[0];
    REAL *y = args->buffers[1];
    FOR_EACH_PIXEL(front, {
        const VEC base = shift + scale * TYPED(within)(x + image, &square, i, j, 1);
        TYPED(store)(y + at, TYPED(normalized)(TYPED(load)(x + at), base, power));
    })
}

/* buffers: dy, x, direct, factors of the sum. */
KERNEL(channels_last_lrn_within_factors) {
    BEGIN;
    const REAL *dy = args->buffers[0], *x = args->buffers[1];
    REAL *direct = args->buffers[2], *factors = args->buffers[3];
    FOR_EACH_PIXEL(front, {
        const VEC base = shift + scale * TYPED(within)(x + image, &square, i, j, 1);
        const VEC part = TYPED(normalized)(TYPED(load)(dy + at), base, power);
        TYPED(store)(direct + at, part);
        TYPED(store)(factors + at, TYPED(load)(x + at) * part / base);
    })
}

/* buffers: direct, factors of the sum, x, dx. */
KERNEL(channels_last_lrn_within_backward) {
    BEGIN;
    const REAL *direct = args->buffers[0], *factors = args->buffers[1], *x = args->buffers[2];
    REAL *dx = args->buffers[3];
    UNUSED(shift);
    FOR_EACH_PIXEL(kernel - 1 - front, {
        const VEC others = TYPED(within)(factors + image, &square, i, j, 0) * TYPED(load)(x + at);
        VEC result = TYPED(load)(direct + at) - 2 * power * scale * others;
        if (s[7]) result += TYPED(load)(dx + at);
        TYPED(store)(dx + at, result);
    })
}
