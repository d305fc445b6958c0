/* Convolution of few images: a vector holds one pixel of as many neighbouring output channels.

     y(n, f, i, j) = b(f) + sum over u, v, c of w(f, c, u, v) * x(n, c, i * sh + u - ph, j * sw + v - pw)

   First the image is laid out in rows as filters read them, without the padding channels of a blob and with the
   padding pixels: rows(n, group, row, column, channel). What a filter's row u meets is then one run of kw * channels
   neighbours, and pixels of the output are sw * channels apart, whatever the kernel, the stride and the padding. Where
   a blob lies like that already, it is read as it is. Filters are packed in the order in which they are read.

     for every block of output channels, BLOCK_VECTORS vectors wide or what is left
       for every image, for every row of the output, for every tile of neighbouring pixels
         for every row u of the filters, for every element k of its run
           the tile's sums in registers += (element k of each pixel's run, broadcast) * (a vector of filters' elements)

   Threads share the (block, image, row) triples; each output is computed in the same order whoever does it. */

#ifndef MOCHA_CHANNELS_LAST_CONVOLUTION_H
#define MOCHA_CHANNELS_LAST_CONVOLUTION_H

#define BLOCK_VECTORS 2
/* As many pixels as leave room in the registers for a row of filters: in a tile of one vector, and of two. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define PIXELS_1 14
#define PIXELS_2 14
#define TILES_1(X) TILES_6(X, 1) TILES_12(X, 1) X(13, 1) X(14, 1)
#define TILES_2(X) TILES_6(X, 2) TILES_12(X, 2) X(13, 2) X(14, 2)
#else
#define PIXELS_1 12
#define PIXELS_2 6
#define TILES_1(X) TILES_6(X, 1) TILES_12(X, 1)
#define TILES_2(X) TILES_6(X, 2)
#endif
#define TILES_6(X, V) X(1, V) X(2, V) X(3, V) X(4, V) X(5, V) X(6, V)
#define TILES_12(X, V) X(7, V) X(8, V) X(9, V) X(10, V) X(11, V) X(12, V)

#define KERNELS(K) K(image_rows) K(channels_last_filters) K(channels_last_convolution)
#define CONSTANTS(C) C(channels_last_block, BLOCK_VECTORS)

#endif

/* buffers: x, rows; sizes: images, channels, height, width, groups, rows and columns of the result, padding rows and
   columns before the image, channels of x with their padding, or 0 if x is plain. */
KERNEL(image_rows) {
    const REAL *x = args->buffers[0];
    const int64_t *s = args->sizes, channels = s[1], height = s[2], width = s[3], groups = s[4];
    const int64_t high = s[5], wide = s[6], above = s[7], left = s[8], padded = s[9], run = channels / groups;
    const int64_t some = mocha_min(width, wide - left), vectors = (run + LANES - 1) / LANES * LANES;
    int64_t first, last;
    mocha_share(s[0] * groups * high, 1, team, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const int64_t n = r / (groups * high), g = r / high % groups, row = r % high - above;
        REAL *to = (REAL *)args->buffers[1] + r * wide * run;
        if (row < 0 || row >= height || some <= 0) {
            memset(to, 0, (size_t)(wide * run) * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(left * run) * sizeof *to);
        to += left * run;
        if (padded == 0) {
            for (int64_t c = 0; c < run; c++) {
                const REAL *from = x + ((n * channels + g * run + c) * height + row) * width;
                for (int64_t j = 0; j < some; j++) to[j * run + c] = from[j];
            }
        } else {
            const REAL *from = x + ((n * height + row) * width) * padded + g * run;
            for (int64_t j = 0; j < some; j++) {
                /* Whole vectors while they end inside the row: what is too much of them, the next pixels overwrite. */
                if (j * run + vectors <= some * run) {
                    for (int64_t c = 0; c < run; c += LANES)
                        TYPED(store)(to + j * run + c, TYPED(load)(from + j * padded + c));
                } else {
                    memcpy(to + j * run, from + j * padded, (size_t)run * sizeof *to);
                }
            }
        }
        memset(to + some * run, 0, (size_t)((wide - left - some) * run) * sizeof *to);
    }
}

/* Filters (groups, filters of a group, channels, kh, kw) to (groups, blocks, kh, kw, channels, lanes of the block),
   padded with zeros. buffers: filters, packed; sizes: groups, filters of a group, channels, kh, kw. */
KERNEL(channels_last_filters) {
    const REAL *w = args->buffers[0];
    const int64_t *s = args->sizes, filters = s[1], channels = s[2], taps = s[3] * s[4], depth = channels * taps;
    const int64_t wide = (filters + LANES - 1) / LANES * LANES, block = BLOCK_VECTORS * LANES;
    int64_t first, last;
    mocha_share(s[0] * depth, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t g = i / depth, tap = i % depth / channels, c = i % channels;
        const REAL *from = w + g * filters * depth + c * taps + tap;
        REAL *to = (REAL *)args->buffers[1] + g * wide * depth;
        for (int64_t f = 0; f < wide; f++) {
            const int64_t before = f / block * block, width = mocha_min(block, wide - before);
            to[before * depth + i % depth * width + f - before] = f < filters ? from[f * depth] : 0;
        }
    }
}

/* What all tiles of a convolution have in common: elements between neighbouring pixels and rows of the image, and
   between pixels of the output; rows and elements of a row of a filter; the floor of ReLU. */
typedef struct {
    int64_t pixel, row, top_pixel, rows, run;
    REAL floor;
} TYPED(small_shape);

/* A tile of P pixels and V vectors; of the last block of a group, `count` channels are stored. */
#define TILE_NAME(P, V) TYPED(small_tile_##P##_##V)
#define TILE(P, V) \
    static void TILE_NAME(P, V)(const TYPED(small_shape) *s, const REAL *x, const REAL *w, const REAL *bias, REAL *y, \
                                int64_t count) { \
        const int64_t pixel = s->pixel, run = s->run; \
        VEC sum[P][V]; \
        for (int v = 0; v < V; v++) { \
            const VEC b = TYPED(load_some)(bias + v * LANES, count - v * LANES); \
            for (int p = 0; p < P; p++) sum[p][v] = b; \
        } \
        for (int64_t u = 0; u < s->rows; u++) { \
            const REAL *in = x + u * s->row; \
            for (int64_t k = 0; k < run; k++) { \
                VEC f[V]; \
                _Pragma("GCC unroll 2") for (int v = 0; v < V; v++) f[v] = TYPED(load)(w + v * LANES); \
                _Pragma("GCC unroll 14") for (int p = 0; p < P; p++) { \
                    const VEC factor = TYPED(splat)(in[p * pixel + k]); \
                    _Pragma("GCC unroll 2") for (int v = 0; v < V; v++) sum[p][v] += factor * f[v]; \
                } \
                w += V * LANES; \
            } \
        } \
        const VEC floor = TYPED(splat)(s->floor); \
        for (int p = 0; p < P; p++) \
            for (int v = 0; v < V; v++) { \
                const VEC result = TYPED(choose)(sum[p][v] <= floor, floor, sum[p][v]); \
                TYPED(store_some)(y + p * s->top_pixel + v * LANES, result, count - v * LANES); \
            } \
    }
TILES_1(TILE)
TILES_2(TILE)
#undef TILE

#define TILE(P, V) TILE_NAME(P, V),
static void (*const TYPED(small_tiles)[BLOCK_VECTORS][PIXELS_1])(const TYPED(small_shape) *, const REAL *, const REAL *,
                                                                  const REAL *, REAL *, int64_t) = {
    {TILES_1(TILE)}, {TILES_2(TILE)}};
#undef TILE

/* buffers: rows of the image, packed filters, bias, y; sizes: images, groups, rows and columns of the image, channels
   and filters of a group, kh, kw, sh, sw, height and width of y, its channels with their padding; numbers: floor. */
KERNEL(channels_last_convolution) {
    const REAL *x = args->buffers[0], *w = args->buffers[1], *bias = args->buffers[2];
    const int64_t *z = args->sizes, images = z[0], groups = z[1], high = z[2], wide = z[3], channels = z[4];
    const int64_t filters = z[5], height = z[10], width = z[11], depth = z[6] * z[7] * channels;
    const TYPED(small_shape) shape = {z[9] * channels, wide * channels, z[12], z[6], z[7] * channels,
                                      (REAL)args->numbers[0]};
    const int64_t block = BLOCK_VECTORS * LANES, lanes = (filters + LANES - 1) / LANES * LANES;
    const int64_t blocks = (filters + block - 1) / block;
    int64_t first, last;
    mocha_share(groups * blocks * images * height, 1, team, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const int64_t i = r % height, n = r / height % images, part = r / (height * images);
        const int64_t g = part / blocks, f = part % blocks * block, vectors = mocha_min(block, lanes - f) / LANES;
        const REAL *in = x + (((n * groups + g) * high + i * z[8]) * wide) * channels;
        REAL *out = (REAL *)args->buffers[3] + (n * height + i) * width * shape.top_pixel + g * filters + f;
        const int64_t most = vectors == 1 ? PIXELS_1 : PIXELS_2, tiles = (width + most - 1) / most;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t j = width * t / tiles, pixels = width * (t + 1) / tiles - j;
            TYPED(small_tiles)[vectors - 1][pixels - 1](&shape, in + j * shape.pixel, w + (g * lanes + f) * depth,
                                                        bias + g * filters + f, out + j * shape.top_pixel, filters - f);
        }
    }
}
