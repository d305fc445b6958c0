/* Convolutions of stride 1 with filters of 3x3 and 5x5, by Winograd's algorithms F(4x4, 3x3) and F(4x4, 5x5), for blobs
   with lanes. A tile of 4x4 results takes products at 6x6 or 8x8 points instead of 144 or 400.

     for every group of tiles, neighbours in rows, images one after the other
       for every channel, for every tile: its data at all points                                (winograd_spread)
       for every chunk of outputs
         for every point: (outputs x channels) times (channels x tiles), in registers' tiles    (winograd_product)
         for every output, for every tile: results of the products                              (winograd_gather)

   An element of these matrices is a vector, as everywhere, except that filters are broadcast. A group's data and a
   chunk's products stay in L2, what a point needs of them in L1. Threads share the tiles.
   Backward to the data is the same with filters flipped and transposed. */

#include "lane_sums.h"
#include "winograd_transforms.h"

#ifndef MOCHA_WINOGRAD_H
#define MOCHA_WINOGRAD_H

/* A tile in registers: so many outputs, so many tiles of the image; sums, data and a filter's element have to fit. */
#define PRODUCT_ROWS 6
#if LANE_BYTES >= 64
#define PRODUCT_COLUMNS 4
#else
#define PRODUCT_COLUMNS 2
#endif
/* Channels whose data stay in L1 while the outputs pass; longer sums are sums of such parts, and so more exact. */
#define PRODUCT_DEPTH 128
/* The same where both factors are data and the sums are over tiles of the image. */
#define PAIR_ROWS 4
#if LANE_BYTES >= 64
#define PAIR_COLUMNS 4
#else
#define PAIR_COLUMNS 2
#endif
#define PAIRS (PAIR_ROWS * PAIR_COLUMNS)
/* Outputs whose data stay in L1 while those of the channels pass. */
#define PAIR_BLOCK (4 * PAIR_ROWS)
/* Neighbouring tiles whose columns are transformed together. */
#define RUN 8
/* Rows of packed filters that are written in turns: each a line of the cache at a time. */
#define FILTER_BLOCK 16

#define KERNELS(K) K(winograd_forward) K(winograd_weights) K(winograd_pack)
#define CONSTANTS(C) C(winograd_pair_rows, PAIR_ROWS) C(winograd_pair_columns, PAIR_COLUMNS)

typedef struct {
    int64_t blocks, channels, height, width, outputs, rows, columns, pad_rows, pad_columns;
    int64_t tile_rows, tile_columns;
} winograd_shape;

/* From the sizes that all kernels begin with. */
static inline winograd_shape shape_of(const int64_t *n) {
    const winograd_shape s = {n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9],
                              (n[6] + WINOGRAD_TILE - 1) / WINOGRAD_TILE, (n[7] + WINOGRAD_TILE - 1) / WINOGRAD_TILE};
    return s;
}

/* Neighbouring tiles of a row: `count` from `tile` on. */
typedef struct {
    int64_t block, row, column, count;
} winograd_run;

static inline winograd_run next_run(const winograd_shape *s, int64_t tile, int64_t last) {
    const int64_t row = tile / s->tile_columns, column = tile % s->tile_columns;
    const int64_t count = mocha_min(mocha_min(last - tile, s->tile_columns - column), RUN);
    const winograd_run run = {row / s->tile_rows, row % s->tile_rows, column, count};
    return run;
}

#define WITH_ROWS(V) \
    PRODUCT(1, V) PRODUCT(2, V) PRODUCT(3, V) PRODUCT(4, V) PRODUCT(5, V) PRODUCT(6, V)
#define ROW_NAMES(V) \
    { \
        TYPED(winograd_1x##V), TYPED(winograd_2x##V), TYPED(winograd_3x##V), TYPED(winograd_4x##V), \
            TYPED(winograd_5x##V), TYPED(winograd_6x##V) \
    }

#endif

/* Data of one channel of a run at all points, `plane` vectors apart: columns first, which neighbours share. */
INLINE void TYPED(winograd_spread)(const int points, const winograd_shape *s, winograd_run run, const REAL *x, REAL *to,
                                   int64_t plane) {
    VEC lines[MOST_POINTS][RUN * WINOGRAD_TILE + MOST_POINTS - WINOGRAD_TILE];
    const int64_t top = run.row * WINOGRAD_TILE - s->pad_rows, left = run.column * WINOGRAD_TILE - s->pad_columns;
    const int64_t wide = run.count * WINOGRAD_TILE + points - WINOGRAD_TILE, stride = s->width * LANES;
    const int inside = top >= 0 && top + points <= s->height;
    for (int64_t j = 0; j < wide; j++) {
        VEC d[MOST_POINTS], t[MOST_POINTS];
        const REAL *from = x + top * stride + (left + j) * LANES;
        if (left + j < 0 || left + j >= s->width) {
            UNROLL for (int i = 0; i < points; i++) lines[i][j] = (VEC){0};
            continue;
        }
        if (inside) {
            UNROLL for (int i = 0; i < points; i++) d[i] = TYPED(load)(from + i * stride);
        } else {
            UNROLL for (int i = 0; i < points; i++)
                d[i] = top + i >= 0 && top + i < s->height ? TYPED(load)(from + i * stride) : (VEC){0};
        }
        TYPED(winograd_data)(points, d, t);
        UNROLL for (int i = 0; i < points; i++) lines[i][j] = t[i];
    }
    for (int64_t tile = 0; tile < run.count; tile++, to += LANES) {
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_data)(points, lines[i] + tile * WINOGRAD_TILE, t);
            UNROLL for (int j = 0; j < points; j++) TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}

/* What becomes of a result. */
typedef struct {
    REAL bias, floor;
    const REAL *mask;
    REAL mask_floor;
    int add;
} TYPED(winograd_end);

/* Results of a tile from its products at all points, `plane` vectors apart, as far as they are in the image. */
INLINE void TYPED(winograd_gather)(const int points, const REAL *from, int64_t plane, int64_t rows, int64_t columns,
                                   int64_t stride, REAL *y, const TYPED(winograd_end) *end) {
    VEC lines[WINOGRAD_TILE][MOST_POINTS];
    UNROLL for (int j = 0; j < points; j++) {
        VEC d[MOST_POINTS], t[WINOGRAD_TILE];
        UNROLL for (int i = 0; i < points; i++) d[i] = TYPED(load)(from + (i * points + j) * plane * LANES);
        TYPED(winograd_inverse)(points, d, t);
        UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) lines[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) {
        VEC t[WINOGRAD_TILE];
        TYPED(winograd_inverse)(points, lines[i], t);
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            const int64_t at = (i * stride + j) * LANES;
            if (i >= rows || j >= columns) continue;
            VEC v = t[j] + end->bias;
            v = TYPED(choose)(v <= end->floor, TYPED(splat)(end->floor), v);
            if (end->mask) v = TYPED(choose)(TYPED(load)(end->mask + at) > end->mask_floor, v, (VEC){0});
            if (end->add) v += TYPED(load)(y + at);
            TYPED(store)(y + at, v);
        }
    }
}

/* M outputs of V tiles: sums over `depth` channels of filters, which have `channels` of them, become or are added to
   `sums`; `stride` elements from a row of data, or sums, to the next. */
#define PRODUCT(M, V) \
    static void TYPED(winograd_##M##x##V)(int64_t depth, int64_t channels, const REAL *filters, const REAL *data, \
                                          int64_t stride, REAL *sums, int add) { \
        VEC sum[M][V]; \
        for (int m = 0; m < M; m++) \
            for (int v = 0; v < V; v++) sum[m][v] = (VEC){0}; \
        for (int64_t c = 0; c < depth; c++, data += stride) { \
            VEC d[V]; \
            UNROLL for (int v = 0; v < V; v++) d[v] = TYPED(load)(data + v * LANES); \
            UNROLL for (int m = 0; m < M; m++) { \
                const VEC factor = TYPED(splat)(filters[m * channels + c]); \
                UNROLL for (int v = 0; v < V; v++) sum[m][v] += factor * d[v]; \
            } \
        } \
        for (int m = 0; m < M; m++) \
            for (int v = 0; v < V; v++) { \
                REAL *to = sums + m * stride + v * LANES; \
                TYPED(store)(to, add ? TYPED(load)(to) + sum[m][v] : sum[m][v]); \
            } \
    }

WITH_ROWS(1)
WITH_ROWS(2)
#if PRODUCT_COLUMNS == 4
WITH_ROWS(3)
WITH_ROWS(4)
#endif
#undef PRODUCT

typedef void (*TYPED(winograd_tile))(int64_t, int64_t, const REAL *, const REAL *, int64_t, REAL *, int);

static const TYPED(winograd_tile) TYPED(winograd_tiles)[PRODUCT_COLUMNS][PRODUCT_ROWS] = {
    ROW_NAMES(1), ROW_NAMES(2),
#if PRODUCT_COLUMNS == 4
    ROW_NAMES(3), ROW_NAMES(4),
#endif
};

/* At one point: (outputs x channels) times (channels x tiles). */
static void TYPED(winograd_product)(int64_t outputs, int64_t channels, int64_t tiles, const REAL *filters,
                                    const REAL *data, int64_t stride, REAL *sums) {
    for (int64_t c = 0; c < channels; c += PRODUCT_DEPTH)
        for (int64_t t = 0; t < tiles; t += PRODUCT_COLUMNS) {
            const TYPED(winograd_tile) *by_rows = TYPED(winograd_tiles)[mocha_min(PRODUCT_COLUMNS, tiles - t) - 1];
            for (int64_t o = 0; o < outputs; o += PRODUCT_ROWS)
                by_rows[mocha_min(PRODUCT_ROWS, outputs - o) - 1](
                    mocha_min(PRODUCT_DEPTH, channels - c), channels, filters + o * channels + c,
                    data + c * stride + t * LANES, stride, sums + o * stride + t * LANES, c > 0);
        }
}

INLINE void TYPED(winograd_convolve)(const int points, const mocha_args *args, const mocha_team *team) {
    const REAL *x = args->buffers[0], *filters = args->buffers[1], *bias = args->buffers[2];
    const REAL *mask = args->buffers[3];
    REAL *y = args->buffers[4];
    const int64_t *n = args->sizes;
    const winograd_shape s = shape_of(n);
    const int64_t group = n[11], chunk = n[12], filter_plane = n[14], stride = group * LANES;
    /* Planes one vector longer than whole rows: else those of all points would lie in the same set of L1. */
    const int64_t data_plane = s.channels * group + 1, sum_plane = chunk * group + 1;
    REAL *data = (REAL *)args->buffers[5] + team->rank * n[13], *sums = data + points * points * data_plane * LANES;
    TYPED(winograd_end) end = {0, (REAL)args->numbers[0], NULL, (REAL)args->numbers[1], n[10] != 0};
    int64_t begin, last;
    mocha_share(s.blocks * s.tile_rows * s.tile_columns, 1, team, &begin, &last);
    for (int64_t first = begin; first < last; first += group) {
        const int64_t stop = mocha_min(last, first + group);
        winograd_run run;
        for (int64_t t = first; t < stop; t += run.count) {
            run = next_run(&s, t, stop);
            for (int64_t c = 0; c < s.channels; c++)
                TYPED(winograd_spread)(points, &s, run, x + (run.block * s.channels + c) * s.height * s.width * LANES,
                                       data + c * stride + (t - first) * LANES, data_plane);
        }
        for (int64_t o = 0; o < s.outputs; o += chunk) {
            const int64_t some = mocha_min(chunk, s.outputs - o);
            for (int64_t p = 0; p < points * points; p++)
                TYPED(winograd_product)(some, s.channels, stop - first, filters + p * filter_plane + o * s.channels,
                                        data + p * data_plane * LANES, stride, sums + p * sum_plane * LANES);
            for (int64_t t = first; t < stop; t += run.count) {
                run = next_run(&s, t, stop);
                for (int64_t i = o; i < o + some; i++) {
                    end.bias = bias ? bias[i] : 0;
                    for (int64_t k = 0; k < run.count; k++) {
                        const int64_t row = run.row * WINOGRAD_TILE, column = (run.column + k) * WINOGRAD_TILE;
                        const int64_t at = ((run.block * s.outputs + i) * s.rows + row) * s.columns + column;
                        end.mask = mask ? mask + at * LANES : NULL;
                        TYPED(winograd_gather)(points, sums + (i - o) * stride + (t - first + k) * LANES, sum_plane,
                                               s.rows - row, s.columns - column, s.columns, y + at * LANES, &end);
                    }
                }
            }
        }
    }
}

/* buffers: x, filters at all points, bias or NULL, mask or NULL, y, scratch; sizes: points each way, blocks, channels,
   height, width, outputs, rows, columns, padding above, padding to the left, whether it is added, tiles of a group,
   outputs of a chunk, elements of each thread's scratch, of the filters at each point; numbers: floor of the results, floor of the mask. */
KERNEL(winograd_forward) {
    if (args->sizes[0] == 6) {
        TYPED(winograd_convolve)(6, args, team);
    } else {
        TYPED(winograd_convolve)(8, args, team);
    }
}

/* LANES filters, [tap][filter], at all points, `plane` elements apart. */
INLINE void TYPED(winograd_filters)(const int points, const REAL *taps, REAL *to, int64_t plane, int64_t count,
                                    int add) {
    const int size = points - WINOGRAD_TILE + 1;
    VEC lines[MOST_POINTS][MOST_POINTS];
    for (int i = 0; i < points; i++) {
        const double *weight = points == 6 ? winograd_weights_6[i] : winograd_weights_8[i];
        UNROLL for (int v = 0; v < size; v++) {
            VEC sum = (VEC){0};
            UNROLL for (int u = 0; u < size; u++) sum += (REAL)weight[u] * TYPED(load)(taps + (u * size + v) * LANES);
            lines[i][v] = sum;
        }
    }
    for (int i = 0; i < points; i++)
        for (int j = 0; j < points; j++) {
            const double *weight = points == 6 ? winograd_weights_6[j] : winograd_weights_8[j];
            VEC sum = (VEC){0};
            UNROLL for (int v = 0; v < size; v++) sum += (REAL)weight[v] * lines[i][v];
            if (add) sum += TYPED(load_some)(to + (i * points + j) * plane, count);
            TYPED(store_some)(to + (i * points + j) * plane, sum, count);
        }
}

/* Filters (outputs, channels, size, size) to (points, outputs, channels), or for backward flipped, to (points,
   channels, outputs). Lanes are along the last axis; threads share the axis before it.
   buffers: filters, packed; sizes: points each way, outputs, channels, whether it is for backward, whether it is
   added, elements at each point. */
KERNEL(winograd_pack) {
    const REAL *filters = args->buffers[0];
    REAL *packed = args->buffers[1];
    const int64_t points = args->sizes[0], outputs = args->sizes[1], channels = args->sizes[2];
    const int64_t area = (points - WINOGRAD_TILE + 1) * (points - WINOGRAD_TILE + 1), plane = args->sizes[5];
    const int flip = args->sizes[3] != 0, add = args->sizes[4] != 0;
    const int64_t across = flip ? channels : outputs, along = flip ? outputs : channels;
    const int64_t across_step = flip ? area : channels * area, along_step = flip ? channels * area : area;
    _Alignas(64) REAL taps[25 * LANE_BYTES / sizeof(REAL)];
    int64_t first, last;
    memset(taps, 0, sizeof taps);
    mocha_share(across, 1, team, &first, &last);
    for (int64_t block = first; block < last; block += FILTER_BLOCK)
        for (int64_t k = 0; k < along; k += LANES)
            for (int64_t i = block; i < mocha_min(last, block + FILTER_BLOCK); i++) {
                const int64_t some = mocha_min(LANES, along - k);
                const REAL *from = filters + i * across_step + k * along_step;
                REAL *to = packed + i * along + k;
                for (int64_t lane = 0; lane < some; lane++)
                    for (int64_t tap = 0; tap < area; tap++)
                        taps[(flip ? area - 1 - tap : tap) * LANES + lane] = from[lane * along_step + tap];
                if (points == 6) {
                    TYPED(winograd_filters)(6, taps, to, plane, some, add);
                } else {
                    TYPED(winograd_filters)(8, taps, to, plane, some, add);
                }
            }
}

/* Gradients of one output's results, of a run's tiles, at all points. What is not in the image is zero. */
INLINE void TYPED(winograd_spread_top)(const int points, const winograd_shape *s, winograd_run run, const REAL *dy,
                                       REAL *to, int64_t plane) {
    const int64_t row = run.row * WINOGRAD_TILE, rows = s->rows - row, stride = s->columns * LANES;
    for (int64_t tile = 0; tile < run.count; tile++, to += LANES) {
        VEC lines[MOST_POINTS][WINOGRAD_TILE];
        const int64_t column = (run.column + tile) * WINOGRAD_TILE, columns = s->columns - column;
        const REAL *from = dy + row * stride + column * LANES;
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            VEC d[WINOGRAD_TILE], t[MOST_POINTS];
            UNROLL for (int i = 0; i < WINOGRAD_TILE; i++)
                d[i] = i < rows && j < columns ? TYPED(load)(from + i * stride + j * LANES) : (VEC){0};
            TYPED(winograd_lift)(points, d, t);
            UNROLL for (int i = 0; i < points; i++) lines[i][j] = t[i];
        }
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_lift)(points, lines[i], t);
            UNROLL for (int j = 0; j < points; j++) TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}

/* PAIR_ROWS outputs with PAIR_COLUMNS channels: sums over tiles and lanes, added to `sums`. */
static void TYPED(winograd_pairs)(int64_t tiles, const REAL *top, const REAL *data, int64_t stride, REAL *sums) {
    VEC sum[PAIRS];
    for (int i = 0; i < PAIRS; i++) sum[i] = (VEC){0};
    for (int64_t t = 0; t < tiles; t++, top += LANES, data += LANES) {
        VEC a[PAIR_ROWS], b[PAIR_COLUMNS];
        UNROLL for (int i = 0; i < PAIR_ROWS; i++) a[i] = TYPED(load)(top + i * stride);
        UNROLL for (int j = 0; j < PAIR_COLUMNS; j++) b[j] = TYPED(load)(data + j * stride);
        UNROLL for (int i = 0; i < PAIR_ROWS; i++)
            UNROLL for (int j = 0; j < PAIR_COLUMNS; j++) sum[i * PAIR_COLUMNS + j] += a[i] * b[j];
    }
    UNROLL for (int i = 0; i < PAIRS; i += LANES)
        TYPED(store)(sums + i, TYPED(load)(sums + i) + TYPED(lane_sums)(sum + i));
}

/* LANES filters' gradients, [tap][filter], from those at all points, `plane` elements apart: transposed weights. */
INLINE void TYPED(winograd_taps)(const int points, const REAL *from, int64_t plane, REAL *taps) {
    const int size = points - WINOGRAD_TILE + 1;
    VEC lines[MOST_POINTS][MOST_POINTS];
    UNROLL for (int j = 0; j < points; j++)
        UNROLL for (int u = 0; u < size; u++) {
            VEC sum = (VEC){0};
            UNROLL for (int i = 0; i < points; i++)
                sum += (REAL)(points == 6 ? winograd_weights_6 : winograd_weights_8)[i][u] *
                       TYPED(load)(from + (i * points + j) * plane);
            lines[u][j] = sum;
        }
    UNROLL for (int u = 0; u < size; u++)
        UNROLL for (int v = 0; v < size; v++) {
            VEC sum = (VEC){0};
            UNROLL for (int j = 0; j < points; j++)
                sum += (REAL)(points == 6 ? winograd_weights_6 : winograd_weights_8)[j][v] * lines[u][j];
            TYPED(store)(taps + (u * size + v) * LANES, sum);
        }
}

INLINE void TYPED(winograd_correlate)(const int points, const mocha_args *args, const mocha_team *team) {
    const REAL *x = args->buffers[0], *dy = args->buffers[1];
    REAL *dw = args->buffers[2], *db = args->buffers[3];
    const winograd_shape s = shape_of(args->sizes);
    const int64_t add_weights = args->sizes[10], add_bias = args->sizes[11], group = args->sizes[12];
    const int64_t high = (s.outputs + PAIR_ROWS - 1) / PAIR_ROWS, wide = (s.channels + PAIR_COLUMNS - 1) / PAIR_COLUMNS;
    const int64_t stride = group * LANES, tiles = s.blocks * s.tile_rows * s.tile_columns;
    const int64_t top_plane = high * PAIR_ROWS * group + 1, data_plane = wide * PAIR_COLUMNS * group + 1;
    const int64_t units = points * points, blocks = (s.outputs + PAIR_BLOCK - 1) / PAIR_BLOCK, plane = high * wide * PAIRS;
    REAL *top = args->buffers[4], *data = top + units * top_plane * LANES, *sums = data + units * data_plane * LANES;
    REAL *bias_sums = sums + units * plane;
    const int64_t bias_point = points + 1; /* the point 1 in both directions: the sum of a tile's gradients */
    int64_t begin, end, first_output, last_output, first_channel, last_channel;
    /* A thread has a share of the channels' data, and one of the products. */
    mocha_share(high * PAIR_ROWS, 1, team, &first_output, &last_output);
    mocha_share(wide * PAIR_COLUMNS, 1, team, &first_channel, &last_channel);
    mocha_share(units * blocks, 1, team, &begin, &end);
    for (int64_t u = begin; u < end; u++) {
        const int64_t p = u / blocks, block = u % blocks * PAIR_BLOCK;
        const int64_t from = block / PAIR_ROWS, to = mocha_min(high, from + PAIR_BLOCK / PAIR_ROWS);
        memset(sums + p * plane + from * wide * PAIRS, 0, (size_t)((to - from) * wide * PAIRS) * sizeof *sums);
        if (p == bias_point) memset(bias_sums + from * PAIR_ROWS * LANES, 0, (size_t)((to - from) * PAIR_ROWS * LANES) * sizeof *sums);
    }
    for (int64_t first = 0; first < tiles; first += group) {
        const int64_t stop = mocha_min(tiles, first + group), n = stop - first;
        winograd_run run;
        for (int64_t t = first; t < stop; t += run.count) {
            run = next_run(&s, t, stop);
            for (int64_t o = first_output; o < last_output; o++)
                if (o < s.outputs) {
                    TYPED(winograd_spread_top)(points, &s, run, dy + (run.block * s.outputs + o) * s.rows * s.columns * LANES,
                                               top + o * stride + (t - first) * LANES, top_plane);
                } else if (first == 0) {
                    for (int64_t p = 0; p < units; p++) memset(top + (p * top_plane + o * group) * LANES, 0, (size_t)stride * sizeof *top);
                }
            for (int64_t c = first_channel; c < last_channel && dw; c++)
                if (c < s.channels) {
                    TYPED(winograd_spread)(points, &s, run, x + (run.block * s.channels + c) * s.height * s.width * LANES,
                                           data + c * stride + (t - first) * LANES, data_plane);
                } else if (first == 0) {
                    for (int64_t p = 0; p < units; p++) memset(data + (p * data_plane + c * group) * LANES, 0, (size_t)stride * sizeof *top);
                }
        }
        mocha_meet(team);
        for (int64_t u = begin; u < end; u++) {
            const int64_t p = u / blocks, block = u % blocks * PAIR_BLOCK;
            const int64_t from = block / PAIR_ROWS, to = mocha_min(high, from + PAIR_BLOCK / PAIR_ROWS);
            for (int64_t c = 0; c < wide && dw; c++)
                for (int64_t o = from; o < to; o++)
                    TYPED(winograd_pairs)(n, top + p * top_plane * LANES + o * PAIR_ROWS * stride,
                                          data + p * data_plane * LANES + c * PAIR_COLUMNS * stride, stride,
                                          sums + p * plane + (o * wide + c) * PAIRS);
            if (p == bias_point)
                for (int64_t o = from * PAIR_ROWS; o < to * PAIR_ROWS; o++) {
                    VEC sum = TYPED(load)(bias_sums + o * LANES);
                    for (int64_t t = 0; t < n; t++) sum += TYPED(load)(top + p * top_plane * LANES + o * stride + t * LANES);
                    TYPED(store)(bias_sums + o * LANES, sum);
                }
        }
        mocha_meet(team);
    }
    const int64_t area = (points - WINOGRAD_TILE + 1) * (points - WINOGRAD_TILE + 1);
    int64_t first, last;
    mocha_share(plane, LANES > PAIRS ? LANES : PAIRS, team, &first, &last);
    for (int64_t i = first; i < last && dw; i += LANES) {
        _Alignas(64) REAL taps[25 * LANE_BYTES / sizeof(REAL)];
        TYPED(winograd_taps)(points, sums + i, plane, taps);
        for (int64_t k = 0; k < LANES; k++) {
            const int64_t pair = (i + k) % PAIRS, tile = (i + k) / PAIRS;
            const int64_t o = tile / wide * PAIR_ROWS + pair / PAIR_COLUMNS, c = tile % wide * PAIR_COLUMNS + pair % PAIR_COLUMNS;
            REAL *to = dw + (o * s.channels + c) * area;
            if (o < s.outputs && c < s.channels)
                for (int64_t tap = 0; tap < area; tap++) to[tap] = taps[tap * LANES + k] + (add_weights ? to[tap] : 0);
        }
    }
    for (int64_t o = first_output; o < mocha_min(last_output, s.outputs) && db; o++)
        db[o] = TYPED(sum)(TYPED(load)(bias_sums + o * LANES)) + (add_bias ? db[o] : 0);
}

/* Backward to the filters and the bias.

     for every group of tiles
       for every channel and every output, for every tile: data, and gradients of results, at all points
       for every point: (outputs x tiles) times (tiles x channels), lanes summed, added to the sums of the groups before
     for every filter: its gradient from the sums at all points

   Threads share channels and outputs of the first, points and outputs of the second; in between they meet.
   buffers: x, dy, dw or NULL, db or NULL, scratch of all threads; sizes: points each way, blocks, channels, height,
   width, outputs, rows, columns, padding above, padding to the left, whether dw is added, whether db is, tiles of a
   group. */
KERNEL(winograd_weights) {
    if (args->sizes[0] == 6) {
        TYPED(winograd_correlate)(6, args, team);
    } else {
        TYPED(winograd_correlate)(8, args, team);
    }
}
