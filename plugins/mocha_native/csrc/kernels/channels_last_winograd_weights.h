/* Winograd's algorithms backward to the filters, for few images with their channels last; see winograd_weights.h.

     for every group of tiles, neighbours in rows, images one after the other
       for every vector of channels and of outputs, for every tile: data, and gradients, at all points       (spread)
       for every point: (channels x tiles) times (tiles x outputs), added to the sums of the groups before  (product)
     for every filter: its gradient from the sums at all points                                               (taps)

   Threads share channels and outputs of the first, points of the second, filters of the third; in between they meet. */

#ifndef MOCHA_CHANNELS_LAST_WINOGRAD_WEIGHTS_H
#define MOCHA_CHANNELS_LAST_WINOGRAD_WEIGHTS_H

#define KERNELS(K) K(channels_last_winograd_weights)

#endif

#include "matmul.h"
#include "winograd_tiles.h"

ALWAYS_INLINE void TYPED(small_weights)(const int points, const mocha_args *args, const mocha_team *team) {
    static const mocha_team alone = {0, 1, NULL};
    const REAL *x = args->buffers[0], *dy = args->buffers[1];
    const int64_t *n = args->sizes, room = n[10], top_room = n[11], group = n[12], units = points * points;
    const winograd_shape s = shape_of(n);
    const int64_t tiles = s.blocks * s.tile_rows * s.tile_columns, side = points - WINOGRAD_TILE + 1;
    /* One vector longer than what it holds. Otherwise all points would lie in the same set of L1. */
    const int64_t data_plane = group * room + LANES, top_plane = group * top_room + LANES;
    const int64_t sum_plane = s.channels * top_room + LANES;
    REAL *data = args->buffers[3], *top = data + units * data_plane, *sums = top + units * top_plane;
    REAL *own = (REAL *)args->buffers[4] + team->rank * n[13];
    _Alignas(64) REAL taps[25 * LANE_BYTES / sizeof(REAL)];
    int meets[25];
    for (int64_t tap = 0; tap < side * side; tap++)
        meets[tap] = meets_image(tap / side, s.pad_rows, s.height, s.rows) &&
                     meets_image(tap % side, s.pad_columns, s.width, s.columns);
    int64_t begin, end, vector, vectors, first, last;
    mocha_share(units, 1, team, &begin, &end);
    mocha_share(room + top_room, LANES, team, &vector, &vectors);
    mocha_share(top_room * s.channels / LANES, 1, team, &first, &last);
    for (int64_t from = 0; from < tiles; from += group) {
        const int64_t stop = mocha_min(tiles, from + group);
        winograd_run run;
        for (int64_t t = from; t < stop; t += run.count) {
            run = next_run(&s, t, stop);
            for (int64_t v = vector; v < vectors; v += LANES)
                if (v < room) {
                    TYPED(winograd_spread)(points, &s, run, x + run.block * s.height * s.width * room + v, room,
                                    data + (t - from) * room + v, data_plane / LANES, room);
                } else {
                    const int64_t o = v - room;
                    TYPED(
                        winograd_spread_top)(points, &s, run, dy + run.block * s.rows * s.columns * top_room + o, top_room,
                                        top + (t - from) * top_room + o, top_plane / LANES, top_room);
                }
        }
        mocha_meet(team);
        for (int64_t p = begin; p < end; p++) {
            const TYPED(factors) a = {data + p * data_plane, 1, room, stop - from, 0};
            const TYPED(matrix) b = {top + p * top_plane, top_room, LANES, 0};
            const TYPED(matrix) c = {sums + p * sum_plane, top_room, LANES, 0};
            const TYPED(finish) f = {.add = from > 0, .floor = -(REAL)INFINITY};
            TYPED(product)(s.channels, top_room, stop - from, a, b, c, &f, own, &alone);
        }
        mocha_meet(team);
    }
    for (int64_t i = first; i < last; i++) {
        const int64_t o = i / s.channels * LANES, c = i % s.channels;
        TYPED(winograd_taps)(points, sums + c * top_room + o, sum_plane, taps);
        for (int64_t lane = 0; lane < mocha_min(LANES, s.outputs - o); lane++) {
            REAL *to = (REAL *)args->buffers[2] + ((o + lane) * s.channels + c) * side * side;
            for (int64_t tap = 0; tap < side * side; tap++)
                to[tap] = (meets[tap] ? taps[tap * LANES + lane] : 0) + (n[14] ? to[tap] : 0);
        }
    }
}

/* buffers: x, dy, dw, scratch of all threads, and of each; sizes: points each way, images, channels, height, width,
   outputs, rows, columns, padding above, padding to the left, channels and outputs with their padding, tiles of a group,
   elements of each thread's scratch, whether dw is added. */
KERNEL(channels_last_winograd_weights) {
    if (args->sizes[0] == 6) {
        TYPED(small_weights)(6, args, team);
    } else {
        TYPED(small_weights)(8, args, team);
    }
}
