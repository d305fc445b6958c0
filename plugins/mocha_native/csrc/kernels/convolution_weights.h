/* The gradients of a convolution's filters and bias, from blobs with lanes.

     dw[o][c][u][v] = sum over n, i, j of dy[n][o][i][j] * x[n][c][i*sh + u - ph][j*sw + v - pw]

     for every pass: one group, some channels, some blocks of filters, whose sums all fit into L2 as vectors
       for every block of images, for every chunk of rows of which dy fits into L1
         for every block of filters, every block of channels, every row u of the filters, every piece of its taps
           a tile: for every pixel of dy in the chunk
             load it for all filters, and the taps' pixels for all channels, and multiply all pairs
       the lanes of each sum are added up, and the result is written

   A tile keeps its sums in registers while it walks over the chunk. At the columns that meet padding, taps are left
   out; rows that meet padding are not walked over. Filters and channels that are not there are copies of the last one.
   Threads share the (group, channels, block of filters) triples, each for all images. */

#ifndef MOCHA_CONVOLUTION_WEIGHTS_H
#define MOCHA_CONVOLUTION_WEIGHTS_H


/* V(taps in a piece, filters, channels): sums, pixels of x and one of dy have to fit into the registers. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define WEIGHT_TILES(V) \
    V(7, 3, 1) \
    V(5, 5, 1) \
    V(5, 4, 1) \
    V(3, 4, 2) \
    V(3, 8, 1) \
    V(1, 6, 4)
#else
#define WEIGHT_TILES(V) \
    V(7, 2, 1) \
    V(5, 2, 1) \
    V(3, 4, 1) \
    V(1, 4, 3)
#endif
#define MAX_FILTERS 8
#define MAX_CHANNELS 4
#define MAX_TAPS 7
#define DY_BYTES (16 << 10)
#define KERNELS(K) \
    K(convolution_weights) \
    K(convolution_bias)
/* How many vectors of sums a tile needs for each tap of a filter, at most; how many bytes of sums shall be in L2. */
#define CONSTANTS(C) C(convolution_weights_tile, 24) C(convolution_weights_bytes, 288 << 10)

#endif

/* The inputs of a tile. Distances are in elements. */
typedef struct {
    const REAL *dy[MAX_FILTERS]; /* each filter's pixels in the first row that is walked over */
    const REAL *x[MAX_CHANNELS]; /* each channel's pixel under the first tap of the piece, for dy's column 0 */
    int64_t rows, dy_row, x_row, x_column;
    int64_t columns, first, last; /* of dy; from first to last all taps of the piece meet the image */
    int64_t position, step, width; /* where that is in x's row, how far on the next column's is, and the row's end */
    REAL *sums;                    /* [filter][channel][tap], vectors */
} TYPED(weight_tile);

/* One column of dy: the taps [from, to) of the piece, or all. */
ALWAYS_INLINE void
TYPED(weight_column)(const int TAPS, const int FILTERS, const int CHANNELS, const int all,
                                 const TYPED(weight_tile) *t, int64_t dy_at, int64_t x_at, int64_t from, int64_t to,
                                 VEC sum[MAX_FILTERS][MAX_CHANNELS][MAX_TAPS]) {
    if (all) {
        VEC in[MAX_CHANNELS][MAX_TAPS];
        UNROLL for (int c = 0; c < CHANNELS; c++) UNROLL
            for (int k = 0; k < TAPS; k++) in[c][k] = TYPED(load)(t->x[c] + x_at + k * LANES);
        UNROLL for (int o = 0; o < FILTERS; o++) {
            const VEC factor = TYPED(load)(t->dy[o] + dy_at);
            UNROLL for (int c = 0; c < CHANNELS; c++) UNROLL
                for (int k = 0; k < TAPS; k++) sum[o][c][k] += factor * in[c][k];
        }
        return;
    }
    UNROLL for (int k = 0; k < TAPS; k++) {
        if (k < from || k >= to) continue;
        UNROLL for (int c = 0; c < CHANNELS; c++) {
            const VEC in = TYPED(load)(t->x[c] + x_at + k * LANES);
            UNROLL for (int o = 0; o < FILTERS; o++)
                sum[o][c][k] += TYPED(load)(t->dy[o] + dy_at) * in;
        }
    }
}

ALWAYS_INLINE void
TYPED(weight_tile_of)(const int TAPS, const int FILTERS, const int CHANNELS, const TYPED(weight_tile) *tile) {
    const TYPED(weight_tile) t = *tile;
    VEC sum[MAX_FILTERS][MAX_CHANNELS][MAX_TAPS];
    UNROLL for (int o = 0; o < FILTERS; o++) UNROLL
        for (int c = 0; c < CHANNELS; c++) UNROLL
            for (int k = 0; k < TAPS; k++) sum[o][c][k] = TYPED(load)(t.sums + ((o * CHANNELS + c) * TAPS + k) * LANES);
    for (int64_t row = 0; row < t.rows; row++) {
        int64_t dy_at = row * t.dy_row, x_at = row * t.x_row, j = 0;
        for (; j < t.first; j++, dy_at += LANES, x_at += t.x_column) {
            const int64_t at = t.position + j * t.step;
            TYPED(weight_column)(TAPS, FILTERS, CHANNELS, 0, &t, dy_at, x_at, -at, t.width - at, sum);
        }
        for (; j < t.last; j++, dy_at += LANES, x_at += t.x_column)
            TYPED(weight_column)(TAPS, FILTERS, CHANNELS, 1, &t, dy_at, x_at, 0, TAPS, sum);
        for (; j < t.columns; j++, dy_at += LANES, x_at += t.x_column) {
            const int64_t at = t.position + j * t.step;
            TYPED(weight_column)(TAPS, FILTERS, CHANNELS, 0, &t, dy_at, x_at, -at, t.width - at, sum);
        }
    }
    UNROLL for (int o = 0; o < FILTERS; o++) UNROLL
        for (int c = 0; c < CHANNELS; c++) UNROLL
            for (int k = 0; k < TAPS; k++) TYPED(store)(t.sums + ((o * CHANNELS + c) * TAPS + k) * LANES, sum[o][c][k]);
}

#define WEIGHT_FUNCTION(TAPS, FILTERS, CHANNELS) \
    static void TYPED(weight_tile_##TAPS##_##FILTERS##_##CHANNELS)(const TYPED(weight_tile) * t) { \
        TYPED(weight_tile_of)(TAPS, FILTERS, CHANNELS, t); \
    }
#define WEIGHT_ENTRY(TAPS, FILTERS, CHANNELS) \
    {TAPS, FILTERS, CHANNELS, TYPED(weight_tile_##TAPS##_##FILTERS##_##CHANNELS)},

WEIGHT_TILES(WEIGHT_FUNCTION)

typedef struct {
    int taps, filters, channels;
    void (*function)(const TYPED(weight_tile) *);
} TYPED(weight_variant);

static const TYPED(weight_variant) TYPED(weight_variants)[] = {WEIGHT_TILES(WEIGHT_ENTRY)};

/* The tile that wastes least of those whose taps divide the filters' width in the fewest pieces. */
static const TYPED(weight_variant) *TYPED(find_weight_tile)(int64_t width, int64_t filters, int64_t channels) {
    const TYPED(weight_variant) *best = NULL;
    int64_t least = 0;
    for (size_t i = 0; i < sizeof TYPED(weight_variants) / sizeof *TYPED(weight_variants); i++) {
        const TYPED(weight_variant) *v = TYPED(weight_variants) + i;
        const int64_t done = ((filters + v->filters - 1) / v->filters * v->filters) *
                             ((channels + v->channels - 1) / v->channels * v->channels);
        if (width % v->taps || (best && (v->taps < best->taps || done >= least))) continue;
        best = v, least = done;
    }
    return best;
}

typedef struct {
    const REAL *x, *dy;
    REAL *dw, *sums;
    int64_t blocks, groups, channels, filters;
    int64_t height, width, taps_high, taps_wide, rows, columns, stride_high, stride_wide, pad_high, pad_wide;
    int64_t some_channels, some_blocks, some_rows; /* of a pass; rows of a chunk */
    int add;
} TYPED(weights);

/* Adds the products of a chunk of rows [row, row_end) of one block of images to the sums of a pass. */
static void TYPED(
    weights_chunk)(const TYPED(weights) *k, const TYPED(weight_variant) *v, int64_t image, int64_t group, int64_t channel,
                          int64_t channel_end, int64_t block, int64_t block_end, int64_t row, int64_t row_end) {
    const int64_t x_map = k->height * k->width * LANES, dy_map = k->rows * k->columns * LANES;
    const REAL *x = k->x + (image * k->groups + group) * k->channels * x_map;
    const REAL *dy = k->dy + (image * k->groups + group) * k->filters * dy_map;
    TYPED(weight_tile) t = {0};
    t.dy_row = k->columns * LANES, t.x_row = k->stride_high * k->width * LANES, t.x_column = k->stride_wide * LANES;
    t.columns = k->columns, t.step = k->stride_wide, t.width = k->width;
    t.sums = k->sums;
    for (int64_t b = block; b < block_end; b++) {
        for (int64_t c = channel; c < channel_end; c += v->channels) {
            for (int64_t u = 0; u < k->taps_high; u++) {
                /* Rows that meet the image: 0 <= i * stride + over < height. */
                const int64_t over = u - k->pad_high;
                const int64_t low = over < 0 ? (-over + k->stride_high - 1) / k->stride_high : 0;
                const int64_t high = k->height > over ? (k->height - over + k->stride_high - 1) / k->stride_high : 0;
                const int64_t from = low > row ? low : row, to = mocha_min(high, row_end);
                t.rows = to > from ? to - from : 0;
                for (int o = 0; o < v->filters; o++)
                    t.dy[o] = dy + mocha_min(b * v->filters + o, k->filters - 1) * dy_map + from * t.dy_row;
                for (int64_t piece = 0; piece < k->taps_wide; piece += v->taps) {
                    t.position = piece - k->pad_wide;
                    /* Columns where the whole piece meets the image: 0 <= position + j * step <= width - taps. */
                    const int64_t room = k->width - v->taps - t.position;
                    const int64_t first = t.position < 0 ? (-t.position + t.step - 1) / t.step : 0;
                    const int64_t last = room >= 0 ? room / t.step + 1 : 0;
                    t.first = mocha_min(first, k->columns);
                    t.last = mocha_min(last, k->columns);
                    for (int i = 0; i < v->channels; i++)
                        t.x[i] = x + mocha_min(c + i, k->channels - 1) * x_map +
                                 ((from * k->stride_high + over) * k->width + t.position) * LANES;
                    if (t.rows) v->function(&t);
                    t.sums += v->filters * v->channels * v->taps * LANES;
                }
            }
        }
    }
}

/* Replaces each of n consecutive vectors by the sum of its lanes: adds halves until one element is left. */
static void TYPED(add_lanes)(int64_t n, REAL *vectors) {
#define ADD_HALVES(HALF) \
    if (HALF < LANES) { \
        typedef REAL half __attribute__((vector_size(HALF * sizeof(REAL)), aligned(sizeof(REAL)), may_alias)); \
        for (int64_t i = 0; i < n; i++) \
            *(half *)(vectors + i * HALF) = \
                *(const half *)(vectors + 2 * i * HALF) + *(const half *)(vectors + (2 * i + 1) * HALF); \
    }
    ADD_HALVES(8)
    ADD_HALVES(4)
    ADD_HALVES(2)
#undef ADD_HALVES
    for (int64_t i = 0; i < n; i++) vectors[i] = vectors[2 * i] + vectors[2 * i + 1];
}

/* The sums of a pass become, or are added to, gradients. */
static void
TYPED(weights_finish)(const TYPED(weights) *k, const TYPED(weight_variant) *v, int64_t group, int64_t channel,
                           int64_t channel_end, int64_t block, int64_t block_end) {
    const int64_t taps = k->taps_high * k->taps_wide;
    REAL *sums = k->sums;
    for (int64_t b = block; b < block_end; b++) {
        for (int64_t c = channel; c < channel_end; c += v->channels) {
            const REAL *total = sums;
            TYPED(add_lanes)(v->filters * v->channels * taps, sums);
            sums += v->filters * v->channels * taps * LANES;
            for (int64_t piece = 0; piece < taps; piece += v->taps) {
                for (int64_t i = 0; i < v->filters * v->channels; i++, total += v->taps) {
                    const int64_t filter = b * v->filters + i / v->channels, from = c + i % v->channels;
                    if (filter >= k->filters || from >= channel_end) continue;
                    REAL *dw = k->dw + ((group * k->filters + filter) * k->channels + from) * taps + piece;
                    for (int64_t tap = 0; tap < v->taps; tap++) dw[tap] = k->add ? dw[tap] + total[tap] : total[tap];
                }
            }
        }
    }
}

/* buffers: x, dy, dw, sums; sizes: 0 blocks of images, groups, channels and filters of a group, 4 height and width of
   x, of the filters, of y, 10 strides, pads, 14 elements of each thread's sums, 15 whether it is added. */
KERNEL(convolution_weights) {
    const int64_t *s = args->sizes;
    TYPED(weights) k = {.x = args->buffers[0], .dy = args->buffers[1], .dw = args->buffers[2]};
    k.sums = (REAL *)args->buffers[3] + team->rank * s[14];
    k.blocks = s[0], k.groups = s[1], k.channels = s[2], k.filters = s[3], k.height = s[4], k.width = s[5];
    k.taps_high = s[6], k.taps_wide = s[7], k.rows = s[8], k.columns = s[9];
    k.stride_high = s[10], k.stride_wide = s[11];
    k.pad_high = s[12], k.pad_wide = s[13], k.add = s[15] != 0;
    const TYPED(weight_variant) *v = TYPED(find_weight_tile)(k.taps_wide, k.filters, k.channels);
    const int64_t taps = k.taps_high * k.taps_wide, blocks = (k.filters + v->filters - 1) / v->filters;
    /* Sums of a block of filters with a block of channels. */
    const int64_t unit = v->filters * v->channels * taps * LANES, units = s[14] / unit;
    const int64_t channel_blocks = (k.channels + v->channels - 1) / v->channels;
    int64_t deep = 1;
    while (deep < channel_blocks && (deep + 1) * (deep + 1) * v->channels <= units * v->filters) deep++;
    /* Every thread shall have work. */
    while (deep > 1 && k.groups * ((channel_blocks + deep - 1) / deep) * blocks < 4 * team->size) deep = (deep + 1) / 2;
    const int64_t chunks = (channel_blocks + deep - 1) / deep, some = units / deep;
    deep = (channel_blocks + chunks - 1) / chunks;
    const int64_t row_bytes = v->filters * k.columns * LANE_BYTES;
    const int64_t some_rows = row_bytes < DY_BYTES ? DY_BYTES / row_bytes : 1;
    int64_t next, end;
    mocha_share(k.groups * chunks * blocks, 1, team, &next, &end);
    while (next < end) {
        const int64_t group = next / blocks / chunks, channel = next / blocks % chunks * deep * v->channels;
        const int64_t channel_end = mocha_min(k.channels, channel + deep * v->channels), block = next % blocks;
        const int64_t block_end = mocha_min(blocks, block + mocha_min(some, end - next));
        next += block_end - block;
        if (channel >= k.channels) continue;
        memset(k.sums, 0, (size_t)((block_end - block) * deep * unit) * sizeof *k.sums);
        for (int64_t image = 0; image < k.blocks; image++)
            for (int64_t row = 0; row < k.rows; row += some_rows)
                TYPED(weights_chunk)(&k, v, image, group, channel, channel_end, block, block_end, row,
                              mocha_min(k.rows, row + some_rows));
        TYPED(weights_finish)(&k, v, group, channel, channel_end, block, block_end);
    }
}

/* buffers: dy, db; sizes: blocks of images, filters, pixels, whether it is added. */
KERNEL(convolution_bias) {
    const REAL *dy = args->buffers[0];
    REAL *db = args->buffers[1];
    const int64_t blocks = args->sizes[0], filters = args->sizes[1], pixels = args->sizes[2];
    int64_t first, last;
    mocha_share(filters, 1, team, &first, &last);
    for (int64_t f = first; f < last; f++) {
        VEC sum[4] = {{0}};
        for (int64_t n = 0; n < blocks; n++) {
            const REAL *from = dy + (n * filters + f) * pixels * LANES;
            int64_t i = 0;
            for (; i + 4 <= pixels; i += 4, from += 4 * LANES) UNROLL
                for (int j = 0; j < 4; j++) sum[j] += TYPED(load)(from + j * LANES);
            for (; i < pixels; i++, from += LANES) sum[0] += TYPED(load)(from);
        }
        const REAL total = TYPED(sum)((sum[0] + sum[1]) + (sum[2] + sum[3]));
        db[f] = args->sizes[3] ? db[f] + total : total;
    }
}
