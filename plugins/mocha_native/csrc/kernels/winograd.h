/* Convolutions of stride 1 with filters of 3x3 and 5x5, by Winograd's algorithms F(4x4, 3x3) and F(4x4, 5x5), for blobs
   with lanes. A tile of 4x4 results takes products at 6x6 or 8x8 points instead of 144 or 400.

     for every group of tiles, neighbours in rows, images one after the other
       for every tile: which results have nothing but zeros in their receptive fields            (winograd_fields)
       for every channel, for every tile: its data at all points                                (winograd_spread)
       for every chunk of outputs
         for every point: (outputs x channels) times (channels x tiles), in registers' tiles    (winograd_product)
         for every output, for every tile: results of the products                              (winograd_gather)

   An element of these matrices is a vector, as everywhere, except that filters are broadcast. A group's data and a
   chunk's products stay in L2, what a point needs of them in L1. Threads share the tiles.
   Backward to the data is the same with filters flipped and transposed. */

#ifndef MOCHA_WINOGRAD_H
#define MOCHA_WINOGRAD_H

/* A tile in registers: numbers of outputs and of tiles of the image. Sums, data and a filter's element have to fit. */
#define PRODUCT_ROWS 6
#if LANE_BYTES >= 64
#define PRODUCT_COLUMNS 4
#else
#define PRODUCT_COLUMNS 2
#endif
/* Channels whose data stay in L1 while the outputs pass; longer sums are sums of such parts, and so more exact. */
#define PRODUCT_DEPTH 128
/* Rows of packed filters that are written in turns: each a line of the cache at a time. */
#define FILTER_BLOCK 16

#define KERNELS(K) \
    K(winograd_forward) \
    K(winograd_pack)

/* A function for every number of rows, for one number of columns. */
#define WITH_ROWS(V) PRODUCT(1, V) PRODUCT(2, V) PRODUCT(3, V) PRODUCT(4, V) PRODUCT(5, V) PRODUCT(6, V)
#define ROW_NAMES(V) \
    { \
        TYPED(winograd_1x##V), TYPED(winograd_2x##V), TYPED(winograd_3x##V), TYPED(winograd_4x##V), \
            TYPED(winograd_5x##V), TYPED(winograd_6x##V) \
    }

#endif

#include "winograd_tiles.h"

/* M outputs of V tiles: sums over `depth` channels of filters, which have `channels` of them, become or are added to
   `sums`; `stride` elements from a row of data, or sums, to the next. */
#define PRODUCT(M, V) \
    static void TYPED(winograd_##M##x##V)(int64_t depth, int64_t channels, const REAL *filters, const REAL *data, \
                                          int64_t stride, REAL *sums, int add) { \
        VEC sum[M][V]; \
        UNROLL for (int m = 0; m < M; m++) UNROLL \
            for (int v = 0; v < V; v++) sum[m][v] = (VEC){0}; \
        for (int64_t c = 0; c < depth; c++, data += stride) { \
            VEC d[V]; \
            UNROLL for (int v = 0; v < V; v++) \
                d[v] = TYPED(load)(data + v * LANES); \
            UNROLL for (int m = 0; m < M; m++) { \
                const VEC factor = TYPED(splat)(filters[m * channels + c]); \
                UNROLL for (int v = 0; v < V; v++) \
                    sum[m][v] += factor * d[v]; \
            } \
        } \
        UNROLL for (int m = 0; m < M; m++) UNROLL \
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
    ROW_NAMES(1),
    ROW_NAMES(2),
#if PRODUCT_COLUMNS == 4
    ROW_NAMES(3),
    ROW_NAMES(4),
#endif
};

/* At one point: (outputs x channels) times (channels x tiles). */
static void
TYPED(winograd_product)(int64_t outputs, int64_t channels, int64_t tiles, const REAL *filters, const REAL *data,
                             int64_t stride, REAL *sums) {
    for (int64_t c = 0; c < channels; c += PRODUCT_DEPTH)
        for (int64_t t = 0; t < tiles; t += PRODUCT_COLUMNS) {
            const TYPED(winograd_tile) *by_rows = TYPED(winograd_tiles)[mocha_min(PRODUCT_COLUMNS, tiles - t) - 1];
            for (int64_t o = 0; o < outputs; o += PRODUCT_ROWS)
                by_rows[mocha_min(PRODUCT_ROWS, outputs - o) - 1](
                    mocha_min(PRODUCT_DEPTH, channels - c), channels, filters + o * channels + c,
                    data + c * stride + t * LANES, stride, sums + o * stride + t * LANES, c > 0);
        }
}

/* Whether no field of a tile is zero, as its pixels in the middle tell. Where blobs are dense, a few channels decide it. */
ALWAYS_INLINE int TYPED(winograd_middle_holds)(const int points, const winograd_shape *s, int64_t row, int64_t column,
                                        const REAL *x) {
    IVEC seen[4] = {{0}};
    int64_t at[4];
    if (!winograd_middle(points, s, row, column, at)) return 0;
    for (int64_t c = 0; c < s->channels;) {
        for (const int64_t next = mocha_min(c + 4, s->channels); c < next; c++, x += s->height * s->width * LANES)
            UNROLL
            for (int i = 0; i < 4; i++) seen[i] |= (IVEC)TYPED(load)(x + at[i] * LANES);
        const IVEC some = (VEC)(seen[0] | seen[1] | seen[2] | seen[3]) != 0;
        const IVEC all = ((VEC)seen[0] != 0) & ((VEC)seen[1] != 0) & ((VEC)seen[2] != 0) & ((VEC)seen[3] != 0);
        if (!TYPED(any_lane)(~(points == 8 ? some : all))) return 1;
    }
    return 0;
}

/* Where something in the receptive fields of a tile's results is not zero: for each result, all bits of such a lane.
   Padding is zero, and NaN is not. Returns whether a field is zero; the result is then exactly the bias, as that of a
   direct convolution. Transforms leave some 1e-8 of the tile's other elements there, and ReLU and maxima would act on
   it. Channels of x are read until no field is zero. `fields` are
   written only where one is, or may be. */
static int TYPED(winograd_fields)(const int points, const winograd_shape *s, int64_t row, int64_t column, const REAL *x,
                           REAL *fields) {
    const int size = points - WINOGRAD_TILE + 1;
    const int64_t rows = s->rows - row * WINOGRAD_TILE, columns = s->columns - column * WINOGRAD_TILE;
    const int64_t top = row * WINOGRAD_TILE - s->pad_rows, left = column * WINOGRAD_TILE - s->pad_columns;
    const int64_t image = s->height * s->width * LANES;
    IVEC seen[MOST_POINTS][MOST_POINTS];
    if (TYPED(winograd_middle_holds)(points, s, row, column, x)) return 0;
    memset(seen, 0, sizeof seen);
    /* Two channels at a time, which saves half of the work on `seen`. */
    for (int64_t c = 0, next = mocha_min(4, s->channels); c < s->channels; next = mocha_min(4 * next, s->channels)) {
        IVEC all = ~(IVEC){0};
        for (; c < next; c += 2)
            for (int64_t i = mocha_max(0, -top); i < mocha_min(points, s->height - top); i++) {
                const REAL *from = x + c * image + ((top + i) * s->width + left) * LANES;
                const REAL *other = c + 1 < next ? from + image : from;
                for (int64_t j = mocha_max(0, -left); j < mocha_min(points, s->width - left); j++)
                    seen[i][j] |= (IVEC)TYPED(load)(from + j * LANES) | (IVEC)TYPED(load)(other + j * LANES);
            }
        for (int j = 0; j < WINOGRAD_TILE && j < columns; j++) {
            IVEC line[MOST_POINTS];
            for (int i = 0; i < points; i++) {
                line[i] = seen[i][j];
                for (int tap = 1; tap < size; tap++) line[i] |= seen[i][j + tap];
            }
            for (int i = 0; i < WINOGRAD_TILE && i < rows; i++) {
                IVEC field = line[i];
                for (int tap = 1; tap < size; tap++) field |= line[i + tap];
                field = (VEC)field != 0; /* as a number: -0 is zero */
                TYPED(store)(fields + (i * WINOGRAD_TILE + j) * LANES, (VEC)field);
                all &= field;
            }
        }
        if (!TYPED(any_lane)(~all)) return 0;
    }
    return 1;
}

/* Runs the epilogue of `outputs` outputs of some tiles, from output o on. */
static void TYPED(winograd_finish)(const winograd_shape *s, winograd_run run, int64_t o, int64_t outputs,
                            const mocha_step *epilogue) {
    const int64_t row = run.row * WINOGRAD_TILE, column = run.column * WINOGRAD_TILE;
    const int64_t rows = mocha_min(WINOGRAD_TILE, s->rows - row);
    const int64_t columns = mocha_min(run.count * WINOGRAD_TILE, s->columns - column);
    const int64_t at = ((run.block * s->outputs + o) * s->rows + row) * s->columns + column;
    /* Neighbouring rows, if they are whole. */
    const int64_t whole = columns == s->columns ? rows : 1;
    for (int64_t i = 0; i < rows; i += whole)
        mocha_epilogue(epilogue, (at + i * s->columns) * LANES, whole * columns * LANES, outputs,
                       s->rows * s->columns * LANES);
}

ALWAYS_INLINE void TYPED(winograd_convolve)(const int points, const mocha_args *args, const mocha_team *team) {
    const REAL *x = args->buffers[0], *filters = args->buffers[1], *bias = args->buffers[2];
    const REAL *mask = args->buffers[3];
    REAL *y = args->buffers[4];
    const mocha_step *epilogue = args->buffers[6];
    const int64_t *n = args->sizes;
    const winograd_shape s = shape_of(n);
    const int64_t group = n[11], chunk = n[12], filter_plane = n[14], stride = group * LANES;
    /* Planes one vector longer than whole rows: else those of all points would lie in the same set of L1. */
    const int64_t data_plane = s.channels * group + 1, sum_plane = chunk * group + 1;
    REAL *data = (REAL *)args->buffers[5] + team->rank * n[13], *sums = data + points * points * data_plane * LANES;
    REAL *fields = sums + points * points * sum_plane * LANES;
    TYPED(winograd_end) end = {.floor = (REAL)args->numbers[0], .mask_floor = (REAL)args->numbers[1], .add = n[10] != 0};
    int64_t begin, last;
    mocha_share(s.blocks * s.tile_rows * s.tile_columns, 1, team, &begin, &last);
    for (int64_t first = begin; first < last; first += group) {
        const int64_t stop = mocha_min(last, first + group);
        const int64_t image = s.height * s.width * LANES;
        uint64_t zero = 0; /* by the tile: whether a field is */
        winograd_run run;
        for (int64_t t = first; t < stop; t += run.count) {
            run = next_run(&s, t, stop);
            const REAL *from = x + run.block * s.channels * image;
            for (int64_t k = 0; k < run.count; k++) {
                REAL *found = fields + (t - first + k) * WINOGRAD_RESULTS * LANES;
                const int some = TYPED(winograd_fields)(points, &s, run.row, run.column + k, from, found);
                zero |= (uint64_t)some << (t - first + k);
            }
            for (int64_t c = 0; c < s.channels; c++)
                TYPED(
                    winograd_spread)(points, &s, run, from + c * image, LANES, data + c * stride + (t - first) * LANES,
                                data_plane, LANES);
        }
        for (int64_t o = 0; o < s.outputs; o += chunk) {
            const int64_t some = mocha_min(chunk, s.outputs - o);
            for (int64_t p = 0; p < points * points; p++)
                TYPED(winograd_product)(some, s.channels, stop - first, filters + p * filter_plane + o * s.channels,
                                 data + p * data_plane * LANES, stride, sums + p * sum_plane * LANES);
            for (int64_t t = first; t < stop; t += run.count) {
                run = next_run(&s, t, stop);
                for (int64_t i = o; i < o + some; i++) {
                    end.bias = TYPED(splat)(bias ? bias[i] : 0);
                    for (int64_t k = 0; k < run.count; k++) {
                        const int64_t row = run.row * WINOGRAD_TILE, column = (run.column + k) * WINOGRAD_TILE;
                        const int64_t at = ((run.block * s.outputs + i) * s.rows + row) * s.columns + column;
                        end.mask = mask ? mask + at * LANES : NULL;
                        const int64_t tile = t - first + k;
                        end.fields = zero >> tile & 1 ? fields + tile * WINOGRAD_RESULTS * LANES : NULL;
                        TYPED(winograd_gather)(points, sums + (i - o) * stride + tile * LANES, sum_plane, s.rows - row,
                                        s.columns - column, s.columns, LANES, y + at * LANES, &end);
                    }
                }
                if (epilogue) TYPED(winograd_finish)(&s, run, o, some, epilogue);
            }
        }
    }
}

/* buffers: x, filters at all points, bias or NULL, mask or NULL, y, scratch, epilogue or NULL; sizes: points each way,
   blocks, channels, height, width, outputs, rows, columns, padding above, padding to the left, whether it is added,
   tiles of a group, outputs of a chunk, elements of each thread's scratch, of the filters at each point; numbers: floor
   of the results, floor of the mask. */
KERNEL(winograd_forward) {
    if (args->sizes[0] == 6) {
        TYPED(winograd_convolve)(6, args, team);
    } else {
        TYPED(winograd_convolve)(8, args, team);
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
