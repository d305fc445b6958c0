/* Convolution of blobs with lanes: forward, and the gradient of the image, are both a correlation

     y[o][i][j] = b[o] + sum over c, u, v of w[o][c][u][v] * x[c][i*sh + u - ph][j*sw + v - pw]

   in every group of channels, where x is zero outside the image.

     for every block of images, every group, every strip of y that neighbours in x (a unit)
       copy what x has under the strip, all channels, into memory of the thread's own; zeros where columns are padding
       for every block of filters
         for every tile of columns, for every row: a tile in registers (convolution_tile.h)

   The copy lies without gaps, so that it stays in L2 whatever power of two the image's size is; rows outside the image
   are not in it and their taps are left out. Weights are packed as the tiles read them, [group][block of filters][c][u]
   [v][filter of the block], with zeros for filters that are not there. Threads share the (unit, block) pairs.

   The gradient of the image with stride s is s*s correlations without stride: the pixels i with (i + ph) % s == r, a
   phase, meet only the taps u with u % s == r, whose order turns round:

     dx[c][s*q + r - ph] = sum over o, t of w[o][c][r + s*t] * dy[o][q - t] */

#ifndef MOCHA_CONVOLUTION_H
#define MOCHA_CONVOLUTION_H

#define KERNELS(K) \
    K(convolution_forward) \
    K(convolution_images) \
    K(convolution_pack) \
    K(convolution_pack_phases)
/* The sizes of tiles, and the bytes of the image that a thread copies at once, so that all of them stay in L2. */
#define CONSTANTS(C) \
    C(convolution_tile_columns, TILE_COLUMNS) \
    C(convolution_min_block, MIN_BLOCK) C(convolution_max_block, MAX_BLOCK) C(convolution_strip_bytes, 384 << 10)

#endif

#include "convolution_tile.h"

/* One axis of a correlation: rows, or columns. */
typedef struct {
    int64_t in, taps, stride, pad; /* of x, and of the filters; pad may be negative */
    int64_t out, strip;            /* the number of results, and how many are computed at once */
    int64_t y_size, y_step, y_first; /* where in y they are */
} TYPED(axis);

typedef struct {
    int64_t blocks, groups, channels, filters, block; /* channels and filters of a group */
    TYPED(axis) rows, columns;
    const REAL *x, *w, *bias, *mask;
    REAL *y, *copy;
    REAL floor, mask_floor;
    int add;
    const mocha_step *epilogue; /* of the rows of y; may be NULL */
} TYPED(correlation);

static inline int64_t TYPED(clamp)(int64_t value, int64_t high) { return value < 0 ? 0 : mocha_min(value, high); }

static inline int64_t TYPED(pieces)(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }

/* Copies rows [top, bottom) of x, and columns [left, left + wide), which may be outside it. */
static void
TYPED(copy_strip)(const TYPED(correlation) *k, const REAL *x, int64_t top, int64_t bottom, int64_t left, int64_t wide) {
    const int64_t width = k->columns.in, before = mocha_min(wide, left < 0 ? -left : 0);
    const int64_t count = mocha_min(wide - before, TYPED(clamp)(width - left - before, width));
    const int64_t after = count < 0 ? wide - before : wide - before - count;
    REAL *to = k->copy;
    for (int64_t c = 0; c < k->channels; c++) {
        for (int64_t row = top; row < bottom; row++) {
            const REAL *from = x + ((c * k->rows.in + row) * width + left + before) * LANES;
            for (int64_t i = 0; i < before; i++, to += LANES) TYPED(store)(to, (VEC){0});
            for (int64_t i = 0; i < count; i++, to += LANES, from += LANES) TYPED(store)(to, TYPED(load)(from));
            for (int64_t i = 0; i < after; i++, to += LANES) TYPED(store)(to, (VEC){0});
        }
    }
}

/* Blocks of filters [first, last) of the strip that begins at (row, column). */
static void
TYPED(correlate_strip)(const TYPED(correlation) *k, int64_t image, int64_t group, int64_t row, int64_t column,
                            int64_t first, int64_t last) {
    const TYPED(axis) *rows = &k->rows, *columns = &k->columns;
    const int64_t row_end = mocha_min(rows->out, row + rows->strip);
    const int64_t column_end = mocha_min(columns->out, column + columns->strip);
    const int64_t tiles = TYPED(pieces)(column_end - column, TILE_COLUMNS);
    /* What the strip meets of x. */
    const int64_t top = TYPED(clamp)(row * rows->stride - rows->pad, rows->in);
    const int64_t bottom = TYPED(clamp)((row_end - 1) * rows->stride - rows->pad + rows->taps, rows->in);
    const int64_t left = column * columns->stride - columns->pad;
    const int64_t wide = (tiles * TILE_COLUMNS - 1) * columns->stride + columns->taps;
    const int64_t map = rows->in * columns->in * LANES, y_map = rows->y_size * columns->y_size * LANES;
    const int64_t high = bottom > top ? bottom - top : 0;
    const REAL *x = k->x + (image * k->groups + group) * k->channels * map;
    if (rows->taps && columns->taps) TYPED(copy_strip)(k, x, top, bottom, left, wide);

    TYPED(tile) t = {0};
    t.x_row = wide * LANES, t.x_channel = high * wide * LANES;
    t.w_row = columns->taps * k->block, t.w_channel = rows->taps * t.w_row;
    t.channels = k->channels, t.width = columns->taps, t.stride = columns->stride;
    t.y_filter = y_map, t.y_column = columns->y_step * LANES;
    t.floor = k->floor, t.mask_floor = k->mask_floor, t.add = k->add;
    for (int64_t block = first; block < last; block++) {
        const int64_t filter = block * k->block, plane = (image * k->groups + group) * k->filters + filter;
        const REAL *w = k->w + (group * TYPED(pieces)(k->filters, k->block) + block) * k->channels * t.w_channel;
        t.filters = mocha_min(k->block, k->filters - filter);
        t.bias = k->bias ? k->bias + group * k->filters + filter : NULL;
        for (int64_t j = column; j < column_end; j += TILE_COLUMNS) {
            const int64_t begin = j * columns->stride - columns->pad;
            const int64_t end = begin + (TILE_COLUMNS - 1) * columns->stride + columns->taps;
            const TYPED(tile_function) tile =
                TYPED(find_tile)(k->block, columns->taps, columns->stride, -begin, end - columns->in);
            t.columns = mocha_min(TILE_COLUMNS, column_end - j);
            for (int64_t i = row; i < row_end; i++) {
                const int64_t over = i * rows->stride - rows->pad;
                const int64_t from = TYPED(clamp)(-over, rows->taps), to = TYPED(clamp)(rows->in - over, rows->taps);
                const int64_t at = (plane * rows->y_size + i * rows->y_step + rows->y_first) * columns->y_size +
                                   j * columns->y_step + columns->y_first;
                t.taps_high = to > from ? to - from : 0;
                t.x = k->copy + ((over + from - top) * wide + begin - left) * LANES;
                t.w = w + from * t.w_row;
                t.y = k->y + at * LANES;
                t.mask = k->mask ? k->mask + at * LANES : NULL;
                tile(&t);
            }
        }
        if (!k->epilogue) continue;
        /* Neighbouring rows, if they are whole. */
        const int64_t whole = column_end - column == columns->out ? row_end - row : 1;
        for (int64_t j = row; j < row_end; j += whole) {
            const int64_t at = (plane * rows->out + j) * columns->out + column;
            mocha_epilogue(k->epilogue, at * LANES, whole * (column_end - column) * LANES, t.filters,
                           rows->out * columns->out * LANES);
        }
    }
}

static void TYPED(correlate)(const TYPED(correlation) *k, const mocha_team *team) {
    const int64_t blocks = TYPED(pieces)(k->filters, k->block);
    const int64_t high = TYPED(pieces)(k->rows.out, k->rows.strip);
    const int64_t wide = TYPED(pieces)(k->columns.out, k->columns.strip);
    int64_t next, end;
    mocha_share(k->blocks * k->groups * high * wide * blocks, 1, team, &next, &end);
    while (next < end) {
        const int64_t unit = next / blocks, first = next % blocks, last = mocha_min(blocks, first + end - next);
        const int64_t plane = unit / (high * wide), row = unit / wide % high, column = unit % wide;
        TYPED(
            correlate_strip)(k, plane / k->groups, plane % k->groups, row * k->rows.strip, column * k->columns.strip, first,
                        last);
        next += last - first;
    }
}

/* Sizes of both halves: 0 blocks of images, groups, channels and filters of a group, filters in a block of the packed
   weights, 5 height and width of x, of the filters, of y, 11 strides, pads, 15 rows and columns of a strip, 17 elements
   of each thread's copy, 18 whether it is added. */
static TYPED(correlation) TYPED(described)(const int64_t *s) {
    TYPED(correlation) k = {0};
    k.blocks = s[0], k.groups = s[1], k.channels = s[2], k.filters = s[3], k.block = s[4];
    k.rows = (TYPED(axis)){s[5], s[7], s[11], s[13], s[9], s[15], s[9], 1, 0};
    k.columns = (TYPED(axis)){s[6], s[8], s[12], s[14], s[10], s[16], s[10], 1, 0};
    k.floor = (REAL)-INFINITY;
    k.add = s[18] != 0;
    return k;
}

/* buffers: x, packed weights, bias, y, copies, epilogue or NULL; numbers: floor. */
KERNEL(convolution_forward) {
    TYPED(correlation) k = TYPED(described)(args->sizes);
    k.x = args->buffers[0], k.w = args->buffers[1], k.bias = args->buffers[2], k.y = args->buffers[3];
    k.copy = (REAL *)args->buffers[4] + team->rank * args->sizes[17];
    k.floor = (REAL)args->numbers[0];
    k.epilogue = args->buffers[5];
    TYPED(correlate)(&k, team);
}

/* The number of taps of phase r. */
static inline int64_t TYPED(phase_taps)(int64_t taps, int64_t stride, int64_t r) {
    return taps > r ? TYPED(pieces)(taps - r, stride) : 0;
}

/* An axis of phase r, where a.in is the size of dy and a.y_size that of dx. */
static TYPED(axis) TYPED(phase)(TYPED(axis) a, int64_t r) {
    const int64_t s = a.stride, taps = TYPED(phase_taps)(a.taps, s, r), behind = a.pad - r;
    /* The least q with s*q + r - pad >= 0, and the number of those below the size. */
    const int64_t q = behind > 0 ? (behind + s - 1) / s : -(-behind / s), start = s * q - behind;
    const int64_t count = start < a.y_size ? (a.y_size - start + s - 1) / s : 0;
    /* Position i of the phase is q + i, which meets dy from q + i - (taps - 1) on. */
    return (TYPED(axis)){a.in, taps, 1, taps - 1 - q, count, a.strip, a.y_size, s, start};
}

/* buffers: dy, weights packed by phases, mask or NULL, dx, copies, epilogue or NULL (without strides); sizes: as above, where x is dy, y is dx, channels
   are filters and filters are channels; numbers: floor of the mask. */
KERNEL(convolution_images) {
    TYPED(correlation) k = TYPED(described)(args->sizes);
    const TYPED(axis) rows = k.rows, columns = k.columns;
    const int64_t filters = TYPED(pieces)(k.filters, k.block) * k.block * k.groups * k.channels;
    k.x = args->buffers[0], k.w = args->buffers[1], k.mask = args->buffers[2], k.y = args->buffers[3];
    k.copy = (REAL *)args->buffers[4] + team->rank * args->sizes[17];
    k.mask_floor = (REAL)args->numbers[0];
    k.epilogue = args->buffers[5];
    for (int64_t r = 0; r < rows.stride; r++) {
        for (int64_t s = 0; s < columns.stride; s++) {
            k.rows = TYPED(phase)(rows, r);
            k.columns = TYPED(phase)(columns, s);
            TYPED(correlate)(&k, team);
            k.w += filters * k.rows.taps * k.columns.taps;
        }
    }
}

/* Sizes of packing: 0 groups, channels and filters of a group, filters in a block, 4 height and width of the filters,
   6 strides. */

/* buffers: w, packed. */
KERNEL(convolution_pack) {
    const REAL *w = args->buffers[0];
    REAL *packed = args->buffers[1];
    const int64_t *s = args->sizes, channels = s[1], filters = s[2], block = s[3], taps = s[4] * s[5];
    const int64_t blocks = TYPED(pieces)(filters, block), size = channels * taps * block;
    int64_t first, last;
    mocha_share(s[0] * blocks, 1, team, &first, &last);
    for (int64_t b = first; b < last; b++) {
        const int64_t filter = b % blocks * block, count = mocha_min(block, filters - filter);
        REAL *to = packed + b * size;
        if (count < block) memset(to, 0, (size_t)size * sizeof *to);
        for (int64_t i = 0; i < count; i++) {
            const REAL *from = w + (b / blocks * filters + filter + i) * channels * taps;
            for (int64_t t = 0; t < channels * taps; t++) to[t * block + i] = from[t];
        }
    }
}

/* buffers: w, packed for the gradient of the image: channels are in blocks, phase by phase. */
KERNEL(convolution_pack_phases) {
    REAL *packed = args->buffers[1];
    const int64_t *s = args->sizes, groups = s[0], channels = s[1], filters = s[2], block = s[3];
    const int64_t height = s[4], width = s[5], down = s[6], right = s[7];
    const int64_t blocks = TYPED(pieces)(channels, block);
    int64_t first, last;
    mocha_share(groups * blocks, 1, team, &first, &last);
    for (int64_t phase = 0; phase < down * right; phase++) {
        const int64_t r = phase / right, q = phase % right;
        const int64_t high = TYPED(phase_taps)(height, down, r), wide = TYPED(phase_taps)(width, right, q);
        for (int64_t b = first; b < last; b++) {
            const int64_t group = b / blocks, channel = b % blocks * block;
            REAL *to = packed + b * filters * high * wide * block;
            for (int64_t f = 0; f < filters; f++) {
                const int64_t row = (group * filters + f) * channels + channel;
                const REAL *from = (const REAL *)args->buffers[0] + row * height * width;
                for (int64_t u = high - 1; u >= 0; u--) {
                    for (int64_t v = wide - 1; v >= 0; v--, to += block) {
                        const REAL *tap = from + (r + down * u) * width + q + right * v;
                        for (int64_t i = 0; i < block; i++)
                            to[i] = channel + i < channels ? tap[i * height * width] : 0;
                    }
                }
            }
        }
        packed += groups * blocks * filters * high * wide * block;
    }
}
