/* Pooling of few images with their channels last: the largest or the mean of windows of pixels.

     for every image, for every row of windows, for every window
       for every vector of channels
         for every pixel of the window that is inside the image

   Threads share the (image, row of windows) pairs; backward, where windows overlap, the (image, vector of channels)
   pairs, and go through the windows. */

#ifndef MOCHA_CHANNELS_LAST_POOLING_H
#define MOCHA_CHANNELS_LAST_POOLING_H

#define KERNELS(K) \
    K(channels_last_max_pooling) \
    K(channels_last_mean_pooling) \
    K(channels_last_max_pooling_backward) \
    K(channels_last_mean_pooling_backward)

/* A window: its pixels inside the image, and how many it has inside the padded image. */
typedef struct {
    int64_t top, bottom, left, right, size;
} pooling_window;

/* sizes as of the kernels, for window (i, j). */
static inline pooling_window window_of(const int64_t *s, int64_t i, int64_t j) {
    const int64_t top = i * s[7] - s[9], left = j * s[8] - s[10];
    const int64_t high = mocha_min(s[5], s[2] + s[9] - top), wide = mocha_min(s[6], s[3] + s[10] - left);
    return (pooling_window){top < 0 ? 0 : top, mocha_min(top + s[5], s[2]), left < 0 ? 0 : left,
                            mocha_min(left + s[6], s[3]), high * wide};
}

#endif

/* For each vector of channels of each window of this thread: `at`, the vector's place in x's pixels, and `out`, in y. */
#define FOR_EACH_WINDOW(BODY) \
    const REAL *x = args->buffers[0]; \
    REAL *y = args->buffers[1]; \
    const int64_t *s = args->sizes, padded = s[4], height = s[11], width = s[12]; \
    const VEC floor = TYPED(splat)((REAL)args->numbers[0]); \
    int64_t first, last; \
    mocha_share(s[0] * height, 1, team, &first, &last); \
    for (int64_t r = first; r < last; r++) { \
        const int64_t n = r / height, i = r % height; \
        const REAL *image = x + n * s[2] * s[3] * padded; \
        for (int64_t j = 0; j < width; j++) { \
            const pooling_window in = window_of(s, i, j); \
            REAL *out = y + (r * width + j) * padded; \
            for (int64_t c = 0; c < padded; c += LANES) BODY \
        } \
    }

/* buffers: x, y, index of the largest as plain int32 or NULL; sizes: images, channels, height, width, channels with
   their padding, kernel, stride and padding down and across, height and width of y; numbers: floor of y. */
KERNEL(channels_last_max_pooling) {
    int32_t *winners = args->buffers[2];
    FOR_EACH_WINDOW({
        VEC best = TYPED(splat)(-(REAL)INFINITY);
        IVEC index = (IVEC){0} + (INT)(in.top * s[3] + in.left);
        for (int64_t p = in.top; p < in.bottom; p++)
            for (int64_t q = in.left; q < in.right; q++) {
                const VEC here = TYPED(load)(image + (p * s[3] + q) * padded + c);
                const IVEC better = (here > best) | (here != here);
                best = TYPED(choose)(better, here, best);
                if (winners) index = (better & (INT)(p * s[3] + q)) | (~better & index);
            }
        TYPED(store)(out + c, TYPED(choose)(best <= floor, floor, best));
        for (int64_t k = 0; winners && k < mocha_min(LANES, s[1] - c); k++)
            winners[((n * s[1] + c + k) * height + i) * width + j] = (int32_t)index[k];
    })
}

/* buffers: x, y; sizes and numbers as above. */
KERNEL(channels_last_mean_pooling){FOR_EACH_WINDOW({
    VEC sum = (VEC){0};
    for (int64_t p = in.top; p < in.bottom; p++)
        for (int64_t q = in.left; q < in.right; q++) sum += TYPED(load)(image + (p * s[3] + q) * padded + c);
    sum /= (REAL)in.size;
        TYPED(store)(out + c, TYPED(choose)(sum <= floor, floor, sum));
})}

/* For each window of each vector of channels of this thread: `top`, its vector of dy, and `bottom`, that of dx's first
   pixel, where zeros are unless it is added. */
#define FOR_EACH_VECTOR(BODY) \
    const int64_t *s = args->sizes, padded = s[4], height = s[11], width = s[12], vectors = padded / LANES; \
    int64_t first, last; \
    mocha_share(s[0] * vectors, 1, team, &first, &last); \
    for (int64_t r = first; r < last; r++) { \
        const int64_t n = r / vectors, c = r % vectors * LANES; \
        REAL *bottom = (REAL *)args->buffers[1] + n * s[2] * s[3] * padded + c; \
        for (int64_t p = 0; p < s[2] * s[3] && !s[13]; p++) TYPED(store)(bottom + p * padded, (VEC){0}); \
        for (int64_t i = 0; i < height; i++) \
            for (int64_t j = 0; j < width; j++) { \
                const REAL *top = (const REAL *)args->buffers[0] + ((n * height + i) * width + j) * padded + c; \
                BODY \
            } \
    }

/* buffers: dy, dx, plain index of the largest; sizes as of forward, and whether it is added. */
KERNEL(channels_last_max_pooling_backward) {
    const int32_t *winners = args->buffers[2];
    FOR_EACH_VECTOR({
        for (int64_t k = 0; k < mocha_min(LANES, s[1] - c); k++)
            bottom[winners[((n * s[1] + c + k) * height + i) * width + j] * padded + k] += top[k];
    })
}

/* buffers: dy, dx; sizes as above. */
KERNEL(channels_last_mean_pooling_backward) {
    FOR_EACH_VECTOR({
        const pooling_window in = window_of(s, i, j);
        const VEC share = TYPED(load)(top) / (REAL)in.size;
        for (int64_t p = in.top; p < in.bottom; p++)
            for (int64_t q = in.left; q < in.right; q++) {
                REAL *to = bottom + (p * s[3] + q) * padded;
                TYPED(store)(to, TYPED(load)(to) + share);
            }
    })
}
