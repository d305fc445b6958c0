/* Between plain blobs (rows, features) and those with lanes, (blocks, features, lanes): a vector holds one feature of
   as many neighbouring rows. Rows that are not there are copies of the last one, or zeros in a gradient.

     for every block of rows, for every piece of its features
       squares of LANES x LANES elements, transposed in registers: see transpose.h

   Threads share the (block, piece) pairs. */

#ifndef MOCHA_LAYOUT_H
#define MOCHA_LAYOUT_H

/* Features; whole squares of every width. */
#define PIECE 256
#define KERNELS(K) \
    K(lanes_pack) \
    K(lanes_unpack)

#endif

#include "transpose.h"

/* buffers: plain, packed; sizes: rows, features, whether it is added, whether it is a gradient. */
KERNEL(lanes_pack) {
    const REAL *plain = args->buffers[0];
    REAL *packed = args->buffers[1];
    const int64_t rows = args->sizes[0], features = args->sizes[1];
    const int64_t pieces = (features + PIECE - 1) / PIECE, blocks = (rows + LANES - 1) / LANES;
    int64_t first, last;
    mocha_share(blocks * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / pieces * LANES, feature = i % pieces * PIECE;
        TYPED(interleave)(plain + row * features + feature, rows - row, features, mocha_min(PIECE, features - feature),
                   args->sizes[3] != 0, args->sizes[2] != 0, packed + row * features + feature * LANES);
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
        const int64_t row = i / pieces * LANES, feature = i % pieces * PIECE;
        TYPED(deinterleave)(packed + row * features + feature * LANES, mocha_min(PIECE, features - feature), rows - row,
                     features, args->sizes[2] != 0, plain + row * features + feature);
    }
}
