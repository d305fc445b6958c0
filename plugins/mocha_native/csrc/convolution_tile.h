/* The inner loop of a correlation: a tile of BLOCK filters by TILE_COLUMNS neighbouring columns of y, in registers, one
   vector for each pixel of LANES images.

     for every channel, for every row of the filters that meets the image
       for every tap of that row
         load TILE_COLUMNS pixels; for every filter of the block, broadcast its weight and multiply both

   A variant of the function has the width of the filters, their stride, and how many pixels at each side are padding,
   as literals: its taps are unrolled, and taps that meet padding are left out. WIDTH 0 means any width and stride. */

#ifndef MOCHA_CONVOLUTION_TILE_H
#define MOCHA_CONVOLUTION_TILE_H

/* Sums, pixels and a weight have to fit into the registers: 32, or 16. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define TILE_COLUMNS 4
#else
#define TILE_COLUMNS 2
#endif
#define MIN_BLOCK 4
#define MAX_BLOCK 6

/* V(block, width, stride, left, right): at least `left` and `right` pixels at the tile's sides are padding.
   Variants that leave out more come first. */
#define TILE_VARIANTS(V, BLOCK) \
    V(BLOCK, 1, 1, 0, 0) \
    V(BLOCK, 3, 1, 2, 0) \
    V(BLOCK, 3, 1, 0, 2) \
    V(BLOCK, 3, 1, 1, 0) \
    V(BLOCK, 3, 1, 0, 1) \
    V(BLOCK, 3, 1, 0, 0) \
    V(BLOCK, 5, 1, 4, 0) \
    V(BLOCK, 5, 1, 0, 4) \
    V(BLOCK, 5, 1, 2, 0) \
    V(BLOCK, 5, 1, 0, 2) \
    V(BLOCK, 5, 1, 0, 0) \
    V(BLOCK, 7, 1, 3, 0) \
    V(BLOCK, 7, 1, 0, 3) \
    V(BLOCK, 7, 1, 0, 0) \
    V(BLOCK, 2, 1, 0, 0) \
    V(BLOCK, 9, 1, 0, 0) \
    V(BLOCK, 3, 2, 0, 0) \
    V(BLOCK, 5, 2, 0, 0) \
    V(BLOCK, 7, 2, 0, 0) \
    V(BLOCK, 0, 0, 0, 0)

#endif

/* The inputs and outputs of a tile. Distances are in elements. */
typedef struct {
    const REAL *x; /* the pixel under the first tap of the first column, in the first channel */
    const REAL *w; /* the packed weights of that tap */
    int64_t x_channel, x_row, w_channel, w_row;
    int64_t channels, taps_high; /* taps_high: rows of the filters that meet the image */
    int64_t width, stride; /* of the filters */
    int64_t filters, columns; /* how many of the tile are wanted */
    const REAL *bias; /* of the first filter; may be NULL */
    REAL *y;
    int64_t y_filter, y_column;
    REAL floor; /* results below are raised to it */
    const REAL *mask; /* has the layout of y: a result is 0 unless the mask is above mask_floor; may be NULL */
    REAL mask_floor;
    int add; /* results are added to what is there */
} TYPED(tile);

/* WIDTH taps of one row of the filters. */
ALWAYS_INLINE void TYPED(tile_row)(const int BLOCK, const int WIDTH, const int STRIDE, const int LEFT, const int RIGHT,
                            int64_t stride, const REAL *x, const REAL *w, VEC sum[MAX_BLOCK][TILE_COLUMNS]) {
#define MEETS(k, j) ((j) * STRIDE + (k) >= LEFT && (j) * STRIDE + (k) < (TILE_COLUMNS - 1) * STRIDE + WIDTH - RIGHT)
    UNROLL for (int k = 0; k < WIDTH; k++) {
        VEC in[TILE_COLUMNS];
        UNROLL for (int j = 0; j < TILE_COLUMNS; j++)
            if (MEETS(k, j)) in[j] = TYPED(load)(x + (j * stride + k) * LANES);
        UNROLL for (int o = 0; o < BLOCK; o++) {
            const VEC factor = TYPED(splat)(w[k * BLOCK + o]);
            UNROLL for (int j = 0; j < TILE_COLUMNS; j++)
                if (MEETS(k, j)) sum[o][j] += factor * in[j];
        }
    }
#undef MEETS
}

/* Stores results: masks, adds, clips or scatters them. */
static void TYPED(finish_tile)(const TYPED(tile) *t, const REAL *sums) {
    for (int64_t o = 0; o < t->filters; o++) {
        for (int64_t j = 0; j < t->columns; j++) {
            const int64_t at = o * t->y_filter + j * t->y_column;
            VEC v = TYPED(load)(sums + (o * TILE_COLUMNS + j) * LANES);
            v = TYPED(choose)(v <= t->floor, TYPED(splat)(t->floor), v);
            if (t->mask) v = TYPED(choose)(TYPED(load)(t->mask + at) > t->mask_floor, v, (VEC){0});
            if (t->add) v += TYPED(load)(t->y + at);
            TYPED(store)(t->y + at, v);
        }
    }
}

ALWAYS_INLINE void TYPED(tile_of)(const int BLOCK, const int WIDTH, const int STRIDE, const int LEFT, const int RIGHT,
                           const TYPED(tile) *t) {
    VEC sum[MAX_BLOCK][TILE_COLUMNS];
    UNROLL for (int o = 0; o < BLOCK; o++) {
        const VEC start = TYPED(splat)(t->bias && o < t->filters ? t->bias[o] : 0);
        UNROLL for (int j = 0; j < TILE_COLUMNS; j++)
            sum[o][j] = start;
    }
    const REAL *x_channel = t->x, *w_channel = t->w;
    const int64_t taps_high = t->taps_high, x_row = t->x_row, w_row = t->w_row;
    for (int64_t c = t->channels; c > 0; c--) {
        const REAL *x = x_channel, *w = w_channel;
        for (int64_t kh = taps_high; kh > 0; kh--) {
            if (WIDTH) {
                TYPED(tile_row)(BLOCK, WIDTH, STRIDE, LEFT, RIGHT, STRIDE, x, w, sum);
            } else {
                for (int64_t k = 0; k < t->width; k++)
                    TYPED(tile_row)(BLOCK, 1, 1, 0, 0, t->stride, x + k * LANES, w + k * BLOCK, sum);
            }
            x += x_row;
            w += w_row;
        }
        x_channel += t->x_channel;
        w_channel += t->w_channel;
    }
    if (t->filters == BLOCK && t->columns == TILE_COLUMNS && t->y_column == LANES && !t->add && !t->mask) {
        const VEC floor = TYPED(splat)(t->floor);
        UNROLL for (int o = 0; o < BLOCK; o++) {
            REAL *y = t->y + o * t->y_filter;
            UNROLL for (int j = 0; j < TILE_COLUMNS; j++)
                TYPED(store)(y + j * LANES, TYPED(choose)(sum[o][j] <= floor, floor, sum[o][j]));
        }
        return;
    }
    REAL sums[MAX_BLOCK * TILE_COLUMNS * LANE_BYTES / sizeof(REAL)];
    UNROLL for (int o = 0; o < BLOCK; o++) UNROLL
        for (int j = 0; j < TILE_COLUMNS; j++) TYPED(store)(sums + (o * TILE_COLUMNS + j) * LANES, sum[o][j]);
    TYPED(finish_tile)(t, sums);
}

#define TILE_NAME(BLOCK, WIDTH, STRIDE, LEFT, RIGHT) TYPED(tile_##BLOCK##_##WIDTH##_##STRIDE##_##LEFT##_##RIGHT)
#define TILE_FUNCTION(BLOCK, WIDTH, STRIDE, LEFT, RIGHT) \
    static void TILE_NAME(BLOCK, WIDTH, STRIDE, LEFT, RIGHT)(const TYPED(tile) * t) { \
        TYPED(tile_of)(BLOCK, WIDTH, STRIDE, LEFT, RIGHT, t); \
    }
#define TILE_ENTRY(BLOCK, WIDTH, STRIDE, LEFT, RIGHT) \
    {WIDTH, STRIDE, LEFT, RIGHT, TILE_NAME(BLOCK, WIDTH, STRIDE, LEFT, RIGHT)},

TILE_VARIANTS(TILE_FUNCTION, 4)
TILE_VARIANTS(TILE_FUNCTION, 5)
TILE_VARIANTS(TILE_FUNCTION, 6)

typedef void (*TYPED(tile_function))(const TYPED(tile) *);

typedef struct {
    int width, stride, left, right;
    TYPED(tile_function) function;
} TYPED(tile_variant);

static const TYPED(tile_variant) TYPED(tile_variants_4)[] = {TILE_VARIANTS(TILE_ENTRY, 4)};
static const TYPED(tile_variant) TYPED(tile_variants_5)[] = {TILE_VARIANTS(TILE_ENTRY, 5)};
static const TYPED(tile_variant) TYPED(tile_variants_6)[] = {TILE_VARIANTS(TILE_ENTRY, 6)};
static const TYPED(tile_variant) *const TYPED(tile_variants)[] = {
    TYPED(tile_variants_4), TYPED(tile_variants_5), TYPED(tile_variants_6)};

/* The first variant for a tile with `left` and `right` pixels of padding; negative numbers count as 0. */
static TYPED(tile_function)
    TYPED(find_tile)(int64_t block, int64_t width, int64_t stride, int64_t left, int64_t right) {
    const TYPED(tile_variant) *v = TYPED(tile_variants)[block - MIN_BLOCK];
    left = left < 0 ? 0 : left, right = right < 0 ? 0 : right;
    while (v->width && !(v->width == width && v->stride == stride && v->left <= left && v->right <= right)) v++;
    return v->function;
}
