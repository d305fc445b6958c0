/* Between plain blobs (rows, channels, positions) and those with their channels last, (rows, positions, channels
   padded to whole vectors): a vector holds neighbouring channels at one position.

     for every row, for every piece of positions that fits into L1
       for every channel: its positions of the piece, element by element to every padded-channels-th place, or back

   Packing sets padding channels to zero. Later they hold any values, and no kernel lets them reach other channels.
   Threads share the (row, piece) pairs. */

#ifndef MOCHA_CHANNELS_LAST_H
#define MOCHA_CHANNELS_LAST_H

#define PIECE 32
#define KERNELS(K) \
    K(channels_last_pack) \
    K(channels_last_unpack)

#endif

/* buffers: plain, packed; sizes: rows, channels, positions, channels with their padding, whether it is added. */
KERNEL(channels_last_pack) {
    const int64_t *s = args->sizes, channels = s[1], positions = s[2], padded = s[3];
    const int64_t pieces = (positions + PIECE - 1) / PIECE;
    int64_t first, last;
    mocha_share(s[0] * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / pieces, at = i % pieces * PIECE, some = mocha_min(PIECE, positions - at);
        const REAL *from = (const REAL *)args->buffers[0] + row * channels * positions + at;
        REAL *to = (REAL *)args->buffers[1] + (row * positions + at) * padded;
        for (int64_t c = 0; c < channels; c++) {
            if (s[4]) {
                for (int64_t p = 0; p < some; p++) to[p * padded + c] += from[c * positions + p];
            } else {
                for (int64_t p = 0; p < some; p++) to[p * padded + c] = from[c * positions + p];
            }
        }
        for (int64_t p = 0; p < some && !s[4]; p++)
            memset(to + p * padded + channels, 0, (size_t)(padded - channels) * sizeof *to);
    }
}

/* buffers: packed, plain; sizes: as above. */
KERNEL(channels_last_unpack) {
    const int64_t *s = args->sizes, channels = s[1], positions = s[2], padded = s[3];
    const int64_t pieces = (positions + PIECE - 1) / PIECE;
    int64_t first, last;
    mocha_share(s[0] * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / pieces, at = i % pieces * PIECE, some = mocha_min(PIECE, positions - at);
        const REAL *from = (const REAL *)args->buffers[0] + (row * positions + at) * padded;
        REAL *to = (REAL *)args->buffers[1] + row * channels * positions + at;
        for (int64_t c = 0; c < channels; c++) {
            if (s[4]) {
                for (int64_t p = 0; p < some; p++) to[c * positions + p] += from[p * padded + c];
            } else {
                for (int64_t p = 0; p < some; p++) to[c * positions + p] = from[p * padded + c];
            }
        }
    }
}
