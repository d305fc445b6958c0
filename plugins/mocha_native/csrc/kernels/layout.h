/* Between plain blobs (rows, features) and those with lanes, (blocks, features, lanes): a vector holds one feature of
   as many neighbouring rows. Rows that are not there are copies of the last one, or zeros in a gradient.

     for every block of rows, for every piece of features that fits into L1
       for every lane: its row of the piece, element by element to every LANES-th place, or back

   Threads share the (block, piece) pairs. */

#ifndef MOCHA_LAYOUT_H
#define MOCHA_LAYOUT_H

#define PIECE 128
#define KERNELS(K) K(lanes_pack) K(lanes_unpack)

#endif

/* buffers: plain, packed; sizes: rows, features, whether it is added, whether it is a gradient. */
KERNEL(lanes_pack) {
    const REAL *plain = args->buffers[0];
    REAL *packed = args->buffers[1];
    const int64_t rows = args->sizes[0], features = args->sizes[1];
    const int64_t pieces = (features + PIECE - 1) / PIECE, blocks = (rows + LANES - 1) / LANES;
    int64_t first, last;
    mocha_share(blocks * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t block = i / pieces, feature = i % pieces * PIECE, some = mocha_min(PIECE, features - feature);
        REAL *to = packed + (block * features + feature) * LANES;
        for (int64_t lane = 0; lane < LANES; lane++) {
            const int64_t row = block * LANES + lane;
            const REAL *from = plain + mocha_min(row, rows - 1) * features + feature;
            if (row >= rows && args->sizes[3]) {
                for (int64_t f = 0; f < some && !args->sizes[2]; f++) to[f * LANES + lane] = 0;
            } else if (args->sizes[2]) {
                for (int64_t f = 0; f < some; f++) to[f * LANES + lane] += from[f];
            } else {
                for (int64_t f = 0; f < some; f++) to[f * LANES + lane] = from[f];
            }
        }
    }
}

/* buffers: packed, plain; sizes: rows, features, whether it is added. */
KERNEL(lanes_unpack) {
    const REAL *packed = args->buffers[0];
    REAL *plain = args->buffers[1];
    const int64_t rows = args->sizes[0], features = args->sizes[1];
    const int64_t pieces = (features + PIECE - 1) / PIECE, blocks = (rows + LANES - 1) / LANES;
    int64_t first, last;
    mocha_share(blocks * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t block = i / pieces, feature = i % pieces * PIECE, some = mocha_min(PIECE, features - feature);
        const REAL *from = packed + (block * features + feature) * LANES;
        for (int64_t lane = 0; lane < LANES && block * LANES + lane < rows; lane++) {
            REAL *to = plain + (block * LANES + lane) * features + feature;
            if (args->sizes[2]) {
                for (int64_t f = 0; f < some; f++) to[f] += from[f * LANES + lane];
            } else {
                for (int64_t f = 0; f < some; f++) to[f] = from[f * LANES + lane];
            }
        }
    }
}
