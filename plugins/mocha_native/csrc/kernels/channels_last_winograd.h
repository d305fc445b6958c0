/* Convolutions of few images by Winograd's algorithms F(4x4, 3x3) and F(4x4, 5x5), for blobs with their channels last,
   of stride 1 and without groups. See winograd.h for the algorithms; here a vector holds neighbouring channels.

     for every group of tiles, neighbours in rows, images one after the other
       for every tile: which results have nothing but zeros in their receptive fields               (small_fields)
       for every vector of channels, for every tile: its data at all points                     (winograd_spread)
       for every block of outputs, BLOCK_VECTORS vectors wide or what is left
         for every point: (tiles x channels) times (channels x block), in registers' tiles      (product)
         for every vector of the block, for every tile: results of the products                 (winograd_gather)

   In a product data are broadcast, and filters are in vectors; they are packed in the order in which they are read, which
   is once for each group. A group's data and a block's products stay in L2.

   Threads share the tiles, where there are enough of them to fill the registers of each thread, else the blocks: then
   every thread transforms all data, which takes less time than a barrier and lines of another core's cache. Each output
   is computed in the same order whoever does it. */

#ifndef MOCHA_CHANNELS_LAST_WINOGRAD_H
#define MOCHA_CHANNELS_LAST_WINOGRAD_H

#define BLOCK_VECTORS 2
/* The most tiles of the image in a tile in registers: this times BLOCK_VECTORS sums, a vector of filters, and data. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define PRODUCT_ROWS 8
#define PRODUCTS(X, V) PRODUCTS_6(X, V) X(7, V) X(8, V)
#else
#define PRODUCT_ROWS 6
#define PRODUCTS(X, V) PRODUCTS_6(X, V)
#endif
#define PRODUCTS_6(X, V) X(1, V) X(2, V) X(3, V) X(4, V) X(5, V) X(6, V)
/* Tiles of a group at most. */
#define GROUP 16
/* Bytes from the filters in use to those that are fetched meanwhile: they often come from L3, where inner products that
   ran since the last prediction have left them. */
#define AHEAD 2048

#define KERNELS(K) \
    K(channels_last_winograd) \
    K(channels_last_winograd_pack)
#define CONSTANTS(C) C(channels_last_winograd_block, BLOCK_VECTORS) C(channels_last_winograd_group, GROUP)

#endif

#include "winograd_tiles.h"

/* Sums over channels at one point: M tiles of the image, whose data are `step` elements apart, times V vectors. */
#define PRODUCT_NAME(M, V) TYPED(product_##M##x##V)
#define PRODUCT(M, V) \
    static void PRODUCT_NAME(M, V)(int64_t channels, const REAL *data, int64_t step, const REAL *filters, \
                                   REAL *sums) { \
        VEC sum[M][V]; \
        UNROLL for (int m = 0; m < M; m++) UNROLL \
            for (int v = 0; v < V; v++) sum[m][v] = (VEC){0}; \
        for (int64_t c = 0; c < channels; c++, filters += V * LANES) { \
            VEC f[V]; \
            UNROLL for (int v = 0; v < V; v++) { \
                __builtin_prefetch(filters + v * LANES + AHEAD / (int)sizeof(REAL)); \
                f[v] = TYPED(load)(filters + v * LANES); \
            } \
            UNROLL for (int m = 0; m < M; m++) { \
                const VEC factor = TYPED(splat)(data[m * step + c]); \
                UNROLL for (int v = 0; v < V; v++) \
                    sum[m][v] += factor * f[v]; \
            } \
        } \
        UNROLL for (int m = 0; m < M; m++) UNROLL \
            for (int v = 0; v < V; v++) TYPED(store)(sums + (m * V + v) * LANES, sum[m][v]); \
    }
PRODUCTS(PRODUCT, 1)
PRODUCTS(PRODUCT, 2)
#undef PRODUCT

#define PRODUCT(M, V) PRODUCT_NAME(M, V),
static void (*const TYPED(
        products)[BLOCK_VECTORS][PRODUCT_ROWS])(int64_t, const REAL *, int64_t, const REAL *,
                                                           REAL *) = {{PRODUCTS(PRODUCT, 1)}, {PRODUCTS(PRODUCT, 2)}};
#undef PRODUCT

/* A vector of a pixel's channels from c on; zeros in place of padding, which may be anything. */
ALWAYS_INLINE IVEC TYPED(some_channels)(const REAL *x, int64_t c, int64_t channels) {
    const IVEC v = (IVEC)TYPED(load)(x + c);
    return c + LANES <= channels ? v : v & TYPED(first_lanes)(channels - c);
}

/* Whether no field of a tile is zero, as its pixels in the middle tell. */
ALWAYS_INLINE int TYPED(small_middle_holds)(const int points, const winograd_shape *s, int64_t row, int64_t column,
                                     const REAL *x, int64_t room) {
    IVEC seen[4] = {{0}};
    int64_t at[4];
    if (!winograd_middle(points, s, row, column, at)) return 0;
    for (int64_t c = 0; c < s->channels; c += LANES) {
        int all = 1;
        UNROLL for (int i = 0; i < 4; i++)
            seen[i] |= TYPED(some_channels)(x + at[i] * room, c, s->channels);
        if (points == 8) {
            seen[0] |= seen[1] | seen[2] | seen[3];
            all = TYPED(any_lane)((VEC)seen[0] != 0);
        } else {
            UNROLL for (int i = 0; i < 4; i++)
                all &= TYPED(any_lane)((VEC)seen[i] != 0);
        }
        if (all) return 1;
    }
    return 0;
}

/* A bit for each column of a tile's data: whether the pixel of a row of x holds something. */
static unsigned
TYPED(row_holds)(int points, const winograd_shape *s, int64_t row, int64_t left, const REAL *x, int64_t room) {
    unsigned bits = 0;
    if (row < 0 || row >= s->height) return 0;
    for (int64_t j = mocha_max(0, -left); j < mocha_min(points, s->width - left); j++) {
        const REAL *pixel = x + (row * s->width + left + j) * room;
        IVEC seen = {0};
        for (int64_t c = 0; c < s->channels; c += LANES) seen |= TYPED(some_channels)(pixel, c, s->channels);
        if (TYPED(any_lane)((VEC)seen != 0)) bits |= 1u << j;
    }
    return bits;
}

/* As winograd_fields in winograd.h, but all lanes of a field are alike: an image's zeros are so for all outputs. */
static int TYPED(small_fields)(const int points, const winograd_shape *s, int64_t row, int64_t column, const REAL *x,
                        int64_t room, REAL *fields) {
    const int size = points - WINOGRAD_TILE + 1;
    const int64_t rows = s->rows - row * WINOGRAD_TILE, columns = s->columns - column * WINOGRAD_TILE;
    const int64_t top = row * WINOGRAD_TILE - s->pad_rows, left = column * WINOGRAD_TILE - s->pad_columns;
    unsigned lines[MOST_POINTS]; /* by the column where the fields begin */
    int zero = 0;
    if (TYPED(small_middle_holds)(points, s, row, column, x, room)) return 0;
    for (int i = 0; i < points; i++) {
        const unsigned line = TYPED(row_holds)(points, s, top + i, left, x, room);
        lines[i] = line;
        for (int tap = 1; tap < size; tap++) lines[i] |= line >> tap;
    }
    for (int i = 0; i < WINOGRAD_TILE && i < rows; i++) {
        for (int tap = 1; tap < size; tap++) lines[i] |= lines[i + tap];
        for (int j = 0; j < WINOGRAD_TILE && j < columns; j++) {
            const int holds = lines[i] >> j & 1;
            TYPED(store)(fields + (i * WINOGRAD_TILE + j) * LANES, (VEC)((IVEC){0} - holds));
            zero |= !holds;
        }
    }
    return zero;
}

ALWAYS_INLINE void TYPED(small_winograd)(const int points, const mocha_args *args, const mocha_team *team) {
    const REAL *x = args->buffers[0], *filters = args->buffers[1], *bias = args->buffers[2];
    REAL *y = args->buffers[3];
    const int64_t *n = args->sizes, room = n[10], top_room = n[11];
    const winograd_shape s = shape_of(n);
    const int64_t tiles = s.blocks * s.tile_rows * s.tile_columns, width = BLOCK_VECTORS * LANES;
    const int64_t blocks = (s.outputs + width - 1) / width;
    int64_t begin = 0, end = tiles, first_block = 0, last_block = blocks;
    if (tiles >= PRODUCT_ROWS * team->size || blocks < team->size) {
        mocha_share(tiles, 1, team, &begin, &end);
    } else {
        mocha_share(blocks, 1, team, &first_block, &last_block);
    }
    if (begin == end || first_block == last_block) return;
    const REAL *mask = args->buffers[5];
    TYPED(winograd_end) result = {.floor = (REAL)args->numbers[0], .mask_floor = (REAL)args->numbers[1], .add = n[13] != 0};
    REAL fields[GROUP * WINOGRAD_RESULTS * LANE_BYTES / sizeof(REAL)];
    const int64_t groups = (end - begin + GROUP - 1) / GROUP;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t first = begin + (end - begin) * g / groups, last = begin + (end - begin) * (g + 1) / groups;
        /* A plane is one vector longer than its tiles. Otherwise all points would lie in the same set of L1. */
        const int64_t count = last - first, data_plane = count * room + LANES;
        REAL *data = (REAL *)args->buffers[4] + team->rank * n[12], *sums = data + points * points * data_plane;
        unsigned zero = 0; /* by the tile: whether a field is */
        winograd_run run;
        for (int64_t t = first; t < last; t += run.count) {
            run = next_run(&s, t, last);
            const REAL *from = x + run.block * s.height * s.width * room;
            for (int64_t k = 0; k < run.count; k++) {
                REAL *found = fields + (t - first + k) * WINOGRAD_RESULTS * LANES;
                const int some = TYPED(small_fields)(points, &s, run.row, run.column + k, from, room, found);
                zero |= (unsigned)some << (t - first + k);
            }
            for (int64_t c = 0; c < room; c += LANES)
                TYPED(
                    winograd_spread)(points, &s, run, from + c, room, data + (t - first) * room + c, data_plane / LANES,
                                room);
        }
        const int64_t parts = (count + PRODUCT_ROWS - 1) / PRODUCT_ROWS;
        for (int64_t b = first_block; b < last_block; b++) {
            const int64_t o = b * width, vectors = mocha_min(width, top_room - o) / LANES;
            const int64_t sum_plane = count * vectors + 1;
            const REAL *w = filters + o * points * points * s.channels;
            for (int64_t p = 0; p < points * points; p++, w += s.channels * vectors * LANES)
                for (int64_t part = 0; part < parts; part++) {
                    const int64_t at = count * part / parts, rows = count * (part + 1) / parts - at;
                    TYPED(products)[vectors - 1][rows - 1](s.channels, data + p * data_plane + at * room, room, w,
                                                    sums + (p * sum_plane + at * vectors) * LANES);
                }
            for (int64_t v = 0; v < vectors; v++) {
                const int64_t f = o + v * LANES;
                result.bias = bias ? TYPED(load_some)(bias + f, s.outputs - f) : (VEC){0};
                for (int64_t t = first; t < last; t += run.count) {
                    run = next_run(&s, t, last);
                    for (int64_t k = 0; k < run.count; k++) {
                        const int64_t row = run.row * WINOGRAD_TILE, column = (run.column + k) * WINOGRAD_TILE;
                        const int64_t at = (run.block * s.rows + row) * s.columns + column;
                        const int64_t tile = t - first + k;
                        result.fields = zero >> tile & 1 ? fields + tile * WINOGRAD_RESULTS * LANES : NULL;
                        result.mask = mask ? mask + at * top_room + f : NULL;
                        TYPED(winograd_gather)(points, sums + (tile * vectors + v) * LANES, sum_plane, s.rows - row,
                                        s.columns - column, s.columns, top_room, y + at * top_room + f, &result);
                    }
                }
            }
        }
    }
}

/* buffers: x, packed filters, bias or NULL, y, scratch, mask of y or NULL; sizes: points each way, images, channels,
   height, width of x, outputs, height, width of y, rows and columns of padding, channels and outputs with their padding,
   elements of scratch for each thread, whether y is added; numbers: floor, what the mask has to be above. */
KERNEL(channels_last_winograd) {
    if (args->sizes[0] == 6) {
        TYPED(small_winograd)(6, args, team);
    } else {
        TYPED(small_winograd)(8, args, team);
    }
}

/* Filters (outputs, channels, size, size) at all points: (blocks, points, channels, outputs of the block), with zeros
   for padding outputs. Mirrored, outputs and channels are exchanged and taps reversed.
   buffers: filters, packed; sizes: points each way, outputs and channels as packed, whether they are mirrored. */
KERNEL(channels_last_winograd_pack) {
    const REAL *filters = args->buffers[0];
    const int64_t points = args->sizes[0], outputs = args->sizes[1], channels = args->sizes[2];
    const int64_t area = (points - WINOGRAD_TILE + 1) * (points - WINOGRAD_TILE + 1), width = BLOCK_VECTORS * LANES;
    const int64_t vectors = (outputs + LANES - 1) / LANES, mirrored = args->sizes[3];
    const int64_t output = mirrored ? area : channels * area, channel = mirrored ? outputs * area : area;
    _Alignas(64) REAL taps[25 * LANE_BYTES / sizeof(REAL)];
    int64_t first, last;
    memset(taps, 0, sizeof taps);
    mocha_share(vectors * channels, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t o = i / channels * LANES, c = i % channels, begin = o / width * width;
        const int64_t block = mocha_min(width, vectors * LANES - begin);
        const REAL *from = filters + o * output + c * channel;
        REAL *to = (REAL *)args->buffers[1] + begin * points * points * channels + c * block + o - begin;
        for (int64_t lane = 0; lane < LANES; lane++)
            for (int64_t tap = 0; tap < area; tap++)
                taps[(mirrored ? area - 1 - tap : tap) * LANES + lane] =
                    o + lane < outputs ? from[lane * output + tap] : 0;
        if (points == 6) {
            TYPED(winograd_filters)(6, taps, to, channels * block, LANES, 0);
        } else {
            TYPED(winograd_filters)(8, taps, to, channels * block, LANES, 0);
        }
    }
}
