/* Winograd's algorithms backward to the filters and the bias: dw = weights'(sum over tiles of spread(dy) * spread(x)),
   with a product for each pair of points.

     for every group of tiles, neighbours in rows, images one after the other
       for every channel and every output, for every tile: data, and gradients of results, at all points    (spread)
       for every point: (outputs x tiles) times (tiles x channels), added to the sums of the groups before    (pair)
     for every filter: its gradient from the sums at all points                                             (finish)

   An element is a vector; its lanes are images, and are summed in the end of each product of a group. Threads share
   channels and outputs of the first, points and outputs of the second, filters of the third; in between they meet.
   The sum of dy over a tile is what it is at the point 1 of both directions: so the bias needs no pass of its own. */

#ifndef MOCHA_WINOGRAD_WEIGHTS_H
#define MOCHA_WINOGRAD_WEIGHTS_H

/* A tile in registers: its numbers of outputs and channels. Sums and both factors have to fit. */
#define PAIR_ROWS 4
#if LANE_BYTES >= 64
#define PAIR_COLUMNS 4
#else
#define PAIR_COLUMNS 2
#endif
#define PAIRS (PAIR_ROWS * PAIR_COLUMNS)
/* Tiles of outputs whose data stay in L1 while those of the channels pass. */
#define BLOCK_TILES 4
#define KERNELS(K) K(winograd_weights)
#define CONSTANTS(C) C(winograd_pair_rows, PAIR_ROWS) C(winograd_pair_columns, PAIR_COLUMNS)

#endif

#include "lane_sums.h"
#include "winograd_tiles.h"

/* A use of the kernel. Sums at one point lie as [tile of outputs][tile of channels][pair]. */
typedef struct {
    winograd_shape shape;
    int64_t group, stride;         /* tiles, and elements, of a row of data */
    int64_t high, wide;            /* register tiles of outputs and channels */
    int64_t top_plane, data_plane; /* vectors; one more than rows have, as planes in steps of a power of two collide */
    int64_t pairs, sum_plane; /* elements; likewise */
    int64_t blocks; /* of BLOCK_TILES tiles of outputs */
    const REAL *x, *dy;
    REAL *top, *data, *sums, *bias_sums, *dw, *db;
    int add_weights, add_bias;
} TYPED(correlation);

ALWAYS_INLINE TYPED(correlation) TYPED(correlation_of)(const int points, const mocha_args *args) {
    const int64_t *n = args->sizes, units = points * points;
    TYPED(correlation) k = {.shape = shape_of(n), .group = n[12], .stride = n[12] * LANES};
    k.high = (k.shape.outputs + PAIR_ROWS - 1) / PAIR_ROWS;
    k.wide = (k.shape.channels + PAIR_COLUMNS - 1) / PAIR_COLUMNS;
    k.top_plane = k.high * PAIR_ROWS * k.group + 1, k.data_plane = k.wide * PAIR_COLUMNS * k.group + 1;
    k.pairs = k.high * k.wide * PAIRS, k.sum_plane = k.pairs + PAIRS;
    k.blocks = (k.high + BLOCK_TILES - 1) / BLOCK_TILES;
    k.x = args->buffers[0], k.dy = args->buffers[1], k.dw = args->buffers[2], k.db = args->buffers[3];
    k.add_weights = n[10] != 0, k.add_bias = n[11] != 0;
    k.top = args->buffers[4], k.data = k.top + units * k.top_plane * LANES;
    k.sums = k.data + units * k.data_plane * LANES, k.bias_sums = k.sums + units * k.sum_plane;
    return k;
}

/* Rows [first, last) of data at all points, which no channel or output has. */
static void TYPED(clear_rows)(int64_t units, REAL *data, int64_t plane, int64_t group, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++)
        for (int64_t p = 0; p < units; p++)
            memset(data + (p * plane + row * group) * LANES, 0, (size_t)(group * LANES) * sizeof *data);
}

/* Tiles [first, last) of channels [channel, channels) and outputs [output, outputs). */
ALWAYS_INLINE void
TYPED(spread)(const int points, const TYPED(correlation) *k, int64_t first, int64_t last, int64_t channel,
                          int64_t channels, int64_t output, int64_t outputs) {
    const winograd_shape *s = &k->shape;
    winograd_run run;
    for (int64_t t = first; t < last; t += run.count) {
        run = next_run(s, t, last);
        const REAL *dy = k->dy + run.block * s->outputs * s->rows * s->columns * LANES;
        const REAL *x = k->x + run.block * s->channels * s->height * s->width * LANES;
        for (int64_t o = output; o < mocha_min(outputs, s->outputs); o++)
            TYPED(winograd_spread_top)(points, s, run, dy + o * s->rows * s->columns * LANES, LANES,
                                k->top + o * k->stride + (t - first) * LANES, k->top_plane, LANES);
        for (int64_t c = channel; c < mocha_min(channels, s->channels) && k->dw; c++)
            TYPED(winograd_spread)(points, s, run, x + c * s->height * s->width * LANES, LANES,
                            k->data + c * k->stride + (t - first) * LANES, k->data_plane, LANES);
    }
}

/* PAIR_ROWS outputs with PAIR_COLUMNS channels: sums over tiles and lanes become or are added to `sums`. */
static void
TYPED(winograd_pairs)(int64_t tiles, const REAL *top, const REAL *data, int64_t stride, REAL *sums, int add) {
    VEC sum[PAIRS];
    UNROLL for (int i = 0; i < PAIRS; i++)
        sum[i] = (VEC){0};
    for (int64_t t = 0; t < tiles; t++, top += LANES, data += LANES) {
        VEC a[PAIR_ROWS], b[PAIR_COLUMNS];
        UNROLL for (int i = 0; i < PAIR_ROWS; i++)
            a[i] = TYPED(load)(top + i * stride);
        UNROLL for (int j = 0; j < PAIR_COLUMNS; j++)
            b[j] = TYPED(load)(data + j * stride);
        UNROLL for (int i = 0; i < PAIR_ROWS; i++) UNROLL
            for (int j = 0; j < PAIR_COLUMNS; j++) sum[i * PAIR_COLUMNS + j] += a[i] * b[j];
    }
    for (int i = 0; i < PAIRS; i += LANES)
        TYPED(store)(sums + i, TYPED(lane_sums)(sum + i) + (add ? TYPED(load)(sums + i) : (VEC){0}));
}

/* One block of outputs with all channels at one point; `sums_bias` at that which has the sums of dy. */
static void
TYPED(pair)(const TYPED(correlation) *k, int64_t point, int64_t block, int64_t tiles, int add, int sums_bias) {
    const int64_t first = block * BLOCK_TILES, last = mocha_min(k->high, first + BLOCK_TILES);
    const REAL *top = k->top + point * k->top_plane * LANES, *data = k->data + point * k->data_plane * LANES;
    for (int64_t c = 0; c < k->wide && k->dw; c++)
        for (int64_t o = first; o < last; o++)
            TYPED(
                winograd_pairs)(tiles, top + o * PAIR_ROWS * k->stride, data + c * PAIR_COLUMNS * k->stride, k->stride,
                           k->sums + point * k->sum_plane + (o * k->wide + c) * PAIRS, add);
    for (int64_t o = first * PAIR_ROWS; o < last * PAIR_ROWS && sums_bias; o++) {
        VEC sum = add ? TYPED(load)(k->bias_sums + o * LANES) : (VEC){0};
        for (int64_t t = 0; t < tiles; t++) sum += TYPED(load)(top + o * k->stride + t * LANES);
        TYPED(store)(k->bias_sums + o * LANES, sum);
    }
}

/* Filters' gradients from pairs [first, last), whose number is one of whole vectors. Those of taps that meet nothing but
   padding are zero, not what rounding leaves. */
ALWAYS_INLINE void TYPED(finish)(const int points, const TYPED(correlation) *k, int64_t first, int64_t last) {
    const winograd_shape *s = &k->shape;
    const int64_t side = points - WINOGRAD_TILE + 1, area = side * side;
    _Alignas(64) REAL taps[25 * LANE_BYTES / sizeof(REAL)];
    int meets[25];
    for (int64_t tap = 0; tap < area; tap++)
        meets[tap] = meets_image(tap / side, s->pad_rows, s->height, s->rows) &&
                     meets_image(tap % side, s->pad_columns, s->width, s->columns);
    for (int64_t i = first; i < last; i += LANES) {
        TYPED(winograd_taps)(points, k->sums + i, k->sum_plane, taps);
        for (int64_t lane = 0; lane < LANES; lane++) {
            const int64_t pair = (i + lane) % PAIRS, tile = (i + lane) / PAIRS;
            const int64_t o = tile / k->wide * PAIR_ROWS + pair / PAIR_COLUMNS;
            const int64_t c = tile % k->wide * PAIR_COLUMNS + pair % PAIR_COLUMNS;
            REAL *to = k->dw + (o * s->channels + c) * area;
            if (o >= s->outputs || c >= s->channels) continue;
            for (int64_t tap = 0; tap < area; tap++)
                to[tap] = (meets[tap] ? taps[tap * LANES + lane] : 0) + (k->add_weights ? to[tap] : 0);
        }
    }
}

ALWAYS_INLINE void TYPED(correlate)(const int points, const mocha_args *args, const mocha_team *team) {
    const TYPED(correlation) k = TYPED(correlation_of)(points, args);
    const winograd_shape *s = &k.shape;
    const int64_t tiles = s->blocks * s->tile_rows * s->tile_columns, units = points * points;
    int64_t begin, end, output, outputs, channel, channels, pair, pairs;
    mocha_share(k.high * PAIR_ROWS, 1, team, &output, &outputs);
    mocha_share(k.wide * PAIR_COLUMNS, 1, team, &channel, &channels);
    mocha_share(units * k.blocks, 1, team, &begin, &end);
    mocha_share(k.pairs, PAIRS > LANES ? PAIRS : LANES, team, &pair, &pairs);
    TYPED(clear_rows)(units, k.top, k.top_plane, k.group, output > s->outputs ? output : s->outputs, outputs);
    TYPED(clear_rows)(units, k.data, k.data_plane, k.group, channel > s->channels ? channel : s->channels, channels);
    for (int64_t first = 0; first < tiles; first += k.group) {
        const int64_t some = mocha_min(k.group, tiles - first);
        TYPED(spread)(points, &k, first, first + some, channel, channels, output, outputs);
        mocha_meet(team);
        for (int64_t u = begin; u < end; u++)
            TYPED(pair)(&k, u / k.blocks, u % k.blocks, some, first > 0, u / k.blocks == points + 1);
        mocha_meet(team);
    }
    if (k.dw) TYPED(finish)(points, &k, pair, pairs);
    for (int64_t o = output; o < mocha_min(outputs, s->outputs) && k.db; o++)
        k.db[o] = TYPED(sum)(TYPED(load)(k.bias_sums + o * LANES)) + (k.add_bias ? k.db[o] : 0);
}

/* buffers: x, dy, dw or NULL, db or NULL, scratch of all threads; sizes: points each way, blocks, channels, height,
   width, outputs, rows, columns, padding above, padding to the left, whether dw is added, whether db is, tiles of a
   group. */
KERNEL(winograd_weights) {
    if (args->sizes[0] == 6) {
        TYPED(correlate)(6, args, team);
    } else {
        TYPED(correlate)(8, args, team);
    }
}
