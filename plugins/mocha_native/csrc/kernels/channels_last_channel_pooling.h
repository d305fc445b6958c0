/* Channel pooling of few images with their channels last: the largest or the mean of windows of channels.

     for every position of every row
       for every window of channels: over those of its channels that there are

   A window's channels are neighbours, but windows may be any stride apart: one element at a time. Threads share the
   positions. */

#ifndef MOCHA_CHANNELS_LAST_CHANNEL_POOLING_H
#define MOCHA_CHANNELS_LAST_CHANNEL_POOLING_H

#define KERNELS(K) \
    K(channels_last_max_channel_pooling) \
    K(channels_last_mean_channel_pooling) \
    K(channels_last_max_channel_pooling_backward) \
    K(channels_last_mean_channel_pooling_backward)

#endif

/* buffers: x, y, index of the largest as plain int32 or NULL; sizes: rows, positions, channels, channels with their
   padding, windows, windows with their padding, kernel, stride, padding before the channels. */
KERNEL(channels_last_max_channel_pooling) {
    int32_t *winners = args->buffers[2];
    const int64_t *s = args->sizes;
    int64_t first, last;
    mocha_share(s[0] * s[1], 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const REAL *x = (const REAL *)args->buffers[0] + i * s[3];
        REAL *y = (REAL *)args->buffers[1] + i * s[5];
        for (int64_t o = 0; o < s[4]; o++) {
            const int64_t begin = o * s[7] - s[8], end = mocha_min(begin + s[6], s[2]);
            int64_t c = begin < 0 ? 0 : begin, index = c;
            REAL best = -(REAL)INFINITY;
            for (; c < end; c++)
                if (x[c] > best || x[c] != x[c]) best = x[c], index = c;
            y[o] = best;
            if (winners) winners[(i / s[1] * s[4] + o) * s[1] + i % s[1]] = (int32_t)index;
        }
        memset(y + s[4], 0, (size_t)(s[5] - s[4]) * sizeof *y);
    }
}

/* buffers: x, y; sizes as above. */
KERNEL(channels_last_mean_channel_pooling) {
    const int64_t *s = args->sizes;
    int64_t first, last;
    mocha_share(s[0] * s[1], 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const REAL *x = (const REAL *)args->buffers[0] + i * s[3];
        REAL *y = (REAL *)args->buffers[1] + i * s[5];
        for (int64_t o = 0; o < s[4]; o++) {
            const int64_t begin = o * s[7] - s[8], end = mocha_min(begin + s[6], s[2]);
            REAL sum = 0;
            for (int64_t c = begin < 0 ? 0 : begin; c < end; c++) sum += x[c];
            y[o] = sum / (REAL)s[6];
        }
        memset(y + s[4], 0, (size_t)(s[5] - s[4]) * sizeof *y);
    }
}

/* buffers: dy, dx, plain index of the largest; sizes as above, and whether it is added. */
KERNEL(channels_last_max_channel_pooling_backward) {
    const int32_t *winners = args->buffers[2];
    const int64_t *s = args->sizes;
    int64_t first, last;
    mocha_share(s[0] * s[1], 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const REAL *dy = (const REAL *)args->buffers[0] + i * s[5];
        REAL *dx = (REAL *)args->buffers[1] + i * s[3];
        if (!s[9]) memset(dx, 0, (size_t)s[3] * sizeof *dx);
        for (int64_t o = 0; o < s[4]; o++) dx[winners[(i / s[1] * s[4] + o) * s[1] + i % s[1]]] += dy[o];
    }
}

/* buffers: dy, dx; sizes as above. */
KERNEL(channels_last_mean_channel_pooling_backward) {
    const int64_t *s = args->sizes;
    int64_t first, last;
    mocha_share(s[0] * s[1], 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const REAL *dy = (const REAL *)args->buffers[0] + i * s[5];
        REAL *dx = (REAL *)args->buffers[1] + i * s[3];
        if (!s[9]) memset(dx, 0, (size_t)s[3] * sizeof *dx);
        for (int64_t o = 0; o < s[4]; o++) {
            const int64_t begin = o * s[7] - s[8], end = mocha_min(begin + s[6], s[2]);
            for (int64_t c = begin < 0 ? 0 : begin; c < end; c++) dx[c] += dy[o] / (REAL)s[6];
        }
    }
}
