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

   Threads share (piece of the image, block) pairs; each output is computed in the same order whoever does it.

   The gradient of x is a convolution of dy with the mirrored filters; with strides, it is one for each phase, see
   convolution.h. The gradient of w has output channels in its vectors, too:

     for every chunk of rows of the output that stays in L2, or of whole images
       for every block of output channels, for every row u of the filters, for every tile of elements k of its run
         for every pixel of the chunk
           the tile's sums in registers += (elements k of the pixel's run, broadcast) * (a vector of dy)

   Threads share the (block, u, tile) triples. Chunks do not depend on the threads. */

#ifndef MOCHA_CHANNELS_LAST_CONVOLUTION_H
#define MOCHA_CHANNELS_LAST_CONVOLUTION_H

#define BLOCK_VECTORS 2
/* How many bytes of x, or of x and dy, a piece has, so that it stays in L2. */
#define CHUNK_BYTES (192 << 10)
/* The number of pixels that leaves room in the registers for a row of filters: in a tile of one vector, and of two. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define PIXELS_1 14
#define PIXELS_2 14
#define TILES_1(X) \
    TILES_6(X, 1) \
    TILES_12(X, 1) \
    X(13, 1) X(14, 1)
#define TILES_2(X) \
    TILES_6(X, 2) \
    TILES_12(X, 2) \
    X(13, 2) X(14, 2)
#else
#define PIXELS_1 12
#define PIXELS_2 6
#define TILES_1(X) \
    TILES_6(X, 1) \
    TILES_12(X, 1)
#define TILES_2(X) TILES_6(X, 2)
#endif
#define TILES_6(X, V) X(1, V) X(2, V) X(3, V) X(4, V) X(5, V) X(6, V)
#define TILES_12(X, V) X(7, V) X(8, V) X(9, V) X(10, V) X(11, V) X(12, V)

#define KERNELS(K) \
    K(image_rows) \
    K(channels_last_filters) \
    K(channels_last_filters_back) \
    K(channels_last_convolution) \
    K(channels_last_filter_gradient) \
    K(channels_last_bias_gradient)
#define CONSTANTS(C) C(channels_last_block, BLOCK_VECTORS)

#endif

/* buffers: x, rows; sizes: images, channels, height, width, groups, rows and columns of the result, rows and columns
   before the image, channels of x with their padding, or 0 if x is plain, room for a pixel's channels of a group. What is
   not of x is zero; what is outside the result is left out. */
KERNEL(image_rows) {
    const REAL *x = args->buffers[0];
    const int64_t *s = args->sizes, channels = s[1], height = s[2], width = s[3], groups = s[4];
    const int64_t high = s[5], wide = s[6], above = s[7], left = s[8], padded = s[9], room = s[10];
    const int64_t run = channels / groups, vectors = (run + LANES - 1) / LANES * LANES;
    const int64_t begin = left < 0 ? -left : 0, end = mocha_min(width, wide - left);
    int64_t first, last;
    mocha_share(s[0] * groups * high, 1, team, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const int64_t n = r / (groups * high), g = r / high % groups, row = r % high - above;
        REAL *to = (REAL *)args->buffers[1] + r * wide * room;
        memset(to, 0, (size_t)(wide * room) * sizeof *to);
        if (row < 0 || row >= height) continue;
        if (padded == 0) {
            for (int64_t c = 0; c < run; c++) {
                const REAL *from = x + ((n * channels + g * run + c) * height + row) * width;
                for (int64_t j = begin; j < end; j++) to[(left + j) * room + c] = from[j];
            }
            continue;
        }
        const REAL *from = x + (n * height + row) * width * padded + g * run;
        for (int64_t j = begin; j < end; j++) {
            REAL *pixel = to + (left + j) * room;
            /* Whole vectors while what is too much of them lies in pixels that are written later. */
            if (room == run && j * run + vectors <= end * run) {
                for (int64_t c = 0; c < run; c += LANES) TYPED(store)(pixel + c, TYPED(load)(from + j * padded + c));
            } else {
                memcpy(pixel, from + j * padded, (size_t)run * sizeof *pixel);
            }
        }
    }
}

/* Between filters (groups, outputs, inputs, kh, kw) and packed ones (groups, blocks, taps, inputs, lanes of the block),
   where outputs are padded with zeros to whole vectors; mirrored, outputs and inputs are exchanged, and taps in reverse
   order, phase by phase. buffers: filters, packed; sizes: groups, outputs and inputs as packed, kh, kw, strides of the
   phases, whether filters are mirrored, whether they are added to. */
ALWAYS_INLINE void TYPED(pack_filters)(const mocha_args *args, const mocha_team *team, const int back) {
    const int64_t *s = args->sizes, outputs = s[1], inputs = s[2], high = s[3], wide = s[4], taps = high * wide;
    const int64_t depth = inputs * taps, output = s[7] ? taps : depth, input = s[7] ? outputs * taps : taps;
    const int64_t vectors = (outputs + LANES - 1) / LANES, block = BLOCK_VECTORS * LANES;
    int64_t first, last;
    mocha_share(s[0] * vectors * inputs, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t g = i / (vectors * inputs), o = i / inputs % vectors * LANES, c = i % inputs;
        const int64_t before = o / block * block, width = mocha_min(block, vectors * LANES - before);
        const int64_t some = mocha_min(LANES, outputs - o);
        REAL *w = (REAL *)args->buffers[0] + g * outputs * depth + o * output + c * input;
        REAL *p = (REAL *)args->buffers[1] + (g * vectors * LANES + before) * depth + c * width + o - before;
        for (int64_t phase = 0; phase < s[5] * s[6]; phase++) {
            const int64_t u0 = phase / s[6], v0 = phase % s[6];
            for (int64_t u = u0 + (high - 1 - u0) / s[5] * s[5]; u >= u0 && u < high; u -= s[5])
                for (int64_t v = v0 + (wide - 1 - v0) / s[6] * s[6]; v >= v0 && v < wide; v -= s[6]) {
                    REAL *plain = w + (s[7] ? u * wide + v : taps - 1 - u * wide - v);
                    if (!back) {
                        for (int64_t f = 0; f < some; f++) p[f] = plain[f * output];
                        for (int64_t f = some; f < LANES; f++) p[f] = 0;
                    } else if (s[8]) {
                        for (int64_t f = 0; f < some; f++) plain[f * output] += p[f];
                    } else {
                        for (int64_t f = 0; f < some; f++) plain[f * output] = p[f];
                    }
                    p += inputs * width;
                }
        }
    }
}

KERNEL(channels_last_filters) { TYPED(pack_filters)(args, team, 0); }

KERNEL(channels_last_filters_back) { TYPED(pack_filters)(args, team, 1); }

/* The arguments that all tiles of a convolution share: elements between neighbouring pixels and rows of the image, and
   between pixels of the output; rows and elements of a row of a filter; whether it is added; the floor of ReLU. */
typedef struct {
    int64_t pixel, row, top_pixel, rows, run, add;
    REAL floor;
} TYPED(small_shape);

/* The same for a gradient of filters: elements between neighbouring pixels, rows and images of the image, and between
   pixels and images of dy; how many images, rows and pixels of a row there are. */
typedef struct {
    int64_t pixel, row, image, top_pixel, top_image, images, height, width;
} TYPED(small_gradient);

#define SUMS(P, V) \
    VEC sum[P][V]; \
    for (int p = 0; p < P; p++) \
        for (int v = 0; v < V; v++) sum[p][v] = (VEC){0}

/* The sums += P factors, which are `step` apart, times V vectors. */
#define MULTIPLY(P, V, FACTORS, STEP, VECTORS) \
    do { \
        VEC f[V]; \
        _Pragma("GCC unroll 2") for (int v = 0; v < V; v++) f[v] = TYPED(load)(VECTORS + v * LANES); \
        _Pragma("GCC unroll 14") for (int p = 0; p < P; p++) { \
            const VEC factor = TYPED(splat)((FACTORS)[p * STEP]); \
            _Pragma("GCC unroll 2") for (int v = 0; v < V; v++) sum[p][v] += factor * f[v]; \
        } \
    } while (0)

/* Tiles of P pixels, or elements of a filter's row, and V vectors. Of the output `count` channels are stored, and the
   bias, or NULL, has `filters`. */
#define TILE_NAME(P, V) TYPED(small_tile_##P##_##V)
#define GRADIENT_NAME(P, V) TYPED(small_gradient_##P##_##V)
#define TILE(P, V) \
    static void TILE_NAME(P, V)(const TYPED(small_shape) * s, const REAL *x, const REAL *w, const REAL *bias, REAL *y, \
                                int64_t filters, int64_t count) { \
        const int64_t pixel = s->pixel, run = s->run; \
        SUMS(P, V); \
        for (int64_t u = 0; u < s->rows; u++) { \
            const REAL *in = x + u * s->row; \
            for (int64_t k = 0; k < run; k++) { \
                MULTIPLY(P, V, in + k, pixel, w); \
                w += V \
                *LANES; \
            } \
        } \
        const VEC floor = TYPED(splat)(s->floor); \
        for (int v = 0; v < V; v++) { \
            const int64_t some = count - v * LANES; \
            const VEC b = bias ? TYPED(load_some)(bias + v * LANES, filters - v * LANES) : (VEC){0}; \
            for (int p = 0; p < P; p++) { \
                REAL *to = y + p * s->top_pixel + v * LANES; \
                VEC result = sum[p][v] + b; \
                result = TYPED(choose)(result <= floor, floor, result); \
                if (s->add) result += TYPED(load_some)(to, some); \
                TYPED(store_some)(to, result, some); \
            } \
        } \
    } \
    static void GRADIENT_NAME(P, V)(const TYPED(small_gradient) * s, const REAL *x, const REAL *dy, REAL *dw) { \
        const int64_t pixel = s->pixel, top_pixel = s->top_pixel; \
        VEC sum[P][V]; \
        for (int p = 0; p < P; p++) \
            for (int v = 0; v < V; v++) sum[p][v] = TYPED(load)(dw + (p * V + v) * LANES); \
        for (int64_t n = 0; n < s->images; n++) { \
            const REAL *top = dy + n * s->top_image; \
            for (int64_t i = 0; i < s->height; i++) { \
                const REAL *in = x + n * s->image + i * s->row; \
                for (int64_t j = 0; j < s->width; j++) { \
                    MULTIPLY(P, V, in, 1, top); \
                    in += pixel; \
                    top += top_pixel; \
                } \
            } \
        } \
        for (int p = 0; p < P; p++) \
            for (int v = 0; v < V; v++) TYPED(store)(dw + (p * V + v) * LANES, sum[p][v]); \
    }
TILES_1(TILE)
TILES_2(TILE)
#undef TILE

#define TILE(P, V) TILE_NAME(P, V),
static void (*const TYPED(
        small_tiles)[BLOCK_VECTORS][PIXELS_1])(const TYPED(small_shape) *, const REAL *, const REAL *, const REAL *,
                                                          REAL *, int64_t,
                                                          int64_t) = {{TILES_1(TILE)}, {TILES_2(TILE)}};
#undef TILE
#define TILE(P, V) GRADIENT_NAME(P, V),
static void (*const TYPED(
        small_gradients)[BLOCK_VECTORS][PIXELS_1])(const TYPED(small_gradient) *, const REAL *, const REAL *,
                                                              REAL *) = {{TILES_1(TILE)}, {TILES_2(TILE)}};
#undef TILE

/* buffers: rows of the image, packed filters, bias or NULL, y; sizes: images, groups, rows and columns of the image,
   channels and filters of a group, kh, kw, sh, sw, height and width of the result, channels of y with their padding,
   whether it is added, 14 height and width of y, where the first row and column of the result are in it, and how far
   apart they are, 20 where in the image the first result begins, 22 taps that filters have, and those before the first;
   numbers: floor. */
KERNEL(channels_last_convolution) {
    const REAL *x = args->buffers[0], *w = args->buffers[1], *bias = args->buffers[2];
    const int64_t *z = args->sizes, images = z[0], groups = z[1], high = z[2], wide = z[3], channels = z[4];
    const int64_t filters = z[5], height = z[10], width = z[11], depth = z[22] * channels;
    const TYPED(small_shape) shape = {z[9] * channels, wide * channels, z[12] * z[19],         z[6],
                               z[7] * channels, z[13],           (REAL)args->numbers[0]};
    const int64_t block = BLOCK_VECTORS * LANES, lanes = (filters + LANES - 1) / LANES * LANES;
    const int64_t blocks = (filters + block - 1) / block;
    const int64_t parts = groups * blocks, rows = images * height;
    /* Pieces of the image stay in L2 while all filters pass; every thread shall have work. */
    int64_t pieces = rows * z[8] * wide * channels * (int64_t)sizeof *x / CHUNK_BYTES + 1, first, last;
    if (team->size > 1) pieces = mocha_max(pieces, 4 * team->size / parts + 1);
    pieces = mocha_min(pieces, mocha_max(1, rows));
    mocha_share(pieces * parts, 1, team, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const int64_t part = r % parts, g = part / blocks, f = part % blocks * block,
                      end = rows * (r / parts + 1) / pieces;
        const int64_t vectors = mocha_min(block, lanes - f) / LANES;
        for (int64_t row = rows * (r / parts) / pieces; row < end; row++) {
            const int64_t n = row / height, i = row % height;
            const REAL *in = x + (((n * groups + g) * high + z[20] + i * z[8]) * wide + z[21]) * channels;
            const int64_t line = n * z[14] + z[16] + i * z[18];
            REAL *out = (REAL *)args->buffers[3] + (line * z[15] + z[17]) * z[12] + g * filters + f;
            const REAL *from = w + (g * lanes + f) * depth + z[23] * channels * vectors * LANES;
            const int64_t most = vectors == 1 ? PIXELS_1 : PIXELS_2, tiles = (width + most - 1) / most;
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t j = width * t / tiles, pixels = width * (t + 1) / tiles - j;
                /* Padding follows the channels of the last group; those of another group are followed by the next. */
                TYPED(
                    small_tiles)[vectors - 1][pixels - 1](&shape, in + j * shape.pixel, from,
                                                     bias ? bias + g * filters + f : NULL, out + j * shape.top_pixel,
                                                     filters - f, groups == 1 ? block : filters - f);
            }
        }
    }
}

/* buffers: rows of the image, dy, packed gradient of the filters; sizes: images, groups, rows and columns of the image,
   channels and filters of a group, kh, kw, sh, sw, height and width of y, room for a pixel's channels of a group of dy,
   which is (images, groups, height, width, room). */
KERNEL(channels_last_filter_gradient) {
    const REAL *x = args->buffers[0], *dy = args->buffers[1];
    const int64_t *z = args->sizes, images = z[0], groups = z[1], high = z[2], wide = z[3], channels = z[4];
    const int64_t filters = z[5], run = z[7] * channels, depth = z[6] * run, top_image = z[10] * z[11] * z[12];
    TYPED(small_gradient) shape = {z[9] * channels,
                            z[8] * wide * channels,
                            groups * high * wide * channels,
                            z[12],
                            groups * top_image,
                            images,
                            z[10],
                            z[11]};
    const int64_t block = BLOCK_VECTORS * LANES, lanes = (filters + LANES - 1) / LANES * LANES;
    const int64_t blocks = (filters + block - 1) / block, tiles = (run + PIXELS_2 - 1) / PIXELS_2;
    const int64_t row_bytes = (z[11] * z[12] + z[8] * wide * channels) * (int64_t)sizeof *x;
    const int64_t some_rows = mocha_min(z[10], mocha_max(1, CHUNK_BYTES / row_bytes));
    const int64_t some_images = some_rows < z[10] ? 1 : mocha_max(1, CHUNK_BYTES / (row_bytes * z[10]));
    int64_t first, last;
    mocha_share(groups * blocks * z[6] * tiles, 1, team, &first, &last);
    for (int64_t n = 0; n < images; n += some_images) {
        shape.images = mocha_min(some_images, images - n);
        for (int64_t i = 0; i < z[10]; i += some_rows) {
            shape.height = mocha_min(some_rows, z[10] - i);
            for (int64_t r = first; r < last; r++) {
                const int64_t t = r % tiles, u = r / tiles % z[6], part = r / (tiles * z[6]);
                const int64_t g = part / blocks, f = part % blocks * block;
                const int64_t vectors = mocha_min(block, lanes - f) / LANES;
                const int64_t k = run * t / tiles, elements = run * (t + 1) / tiles - k;
                const REAL *in = x + n * shape.image + (g * high + u) * wide * channels + i * shape.row + k;
                const REAL *top = dy + n * shape.top_image + g * top_image + i * z[11] * z[12] + f;
                REAL *dw = (REAL *)args->buffers[2] + (g * lanes + f) * depth + (u * run + k) * vectors * LANES;
                if (n == 0 && i == 0) memset(dw, 0, (size_t)(elements * vectors * LANES) * sizeof *dw);
                TYPED(small_gradients)[vectors - 1][elements - 1](&shape, in, top, dw);
            }
        }
    }
}

/* buffers: dy, db; sizes: pixels of all images, channels, channels with their padding, whether it is added. */
KERNEL(channels_last_bias_gradient) {
    const REAL *dy = args->buffers[0];
    REAL *db = args->buffers[1];
    const int64_t *s = args->sizes;
    int64_t first, last;
    mocha_share(s[1], LANES, team, &first, &last);
    for (int64_t c = first; c < last; c += LANES) {
        VEC sum = (VEC){0};
        for (int64_t p = 0; p < s[0]; p++) sum += TYPED(load)(dy + p * s[2] + c);
        if (s[3]) sum += TYPED(load_some)(db + c, last - c);
        TYPED(store_some)(db + c, sum, last - c);
    }
}
