/* Depthwise convolution, of blobs with lanes and of blobs with channels last: each channel has one filter of its own.

     y(n, c, i, j) = b(c) + sum over u, v of w(c, u, v) * x(n, c, i * sh + u - ph, j * sw + v - pw)

   In both layouts a vector holds one pixel of a plane: of one channel of LANES images, or of LANES channels of one image.
   Neighbouring pixels of a plane are the same number of elements apart in x and y. A filter is read where it lies, as
   one vector for each tap.

     for every plane, for every row of y: for every tile of columns: its sums in registers

   The gradient of x with strides sh, sw is sh * sw such correlations without stride, as in convolution.h. That of w walks
   over the planes of all images with the sums of a row of the filter in registers. Threads share the (plane, row) pairs,
   and the (filter, row of it) pairs. */

#ifndef MOCHA_DEPTHWISE_H
#define MOCHA_DEPTHWISE_H

#define MAX_TAPS 128
#define COLUMNS 4
#define KERNELS(K) \
    K(depthwise_forward) \
    K(depthwise_images) \
    K(depthwise_weights)
/* Filters have up to this many taps. */
#define CONSTANTS(C) C(depthwise_taps, MAX_TAPS)

#endif

/* One axis: sizes of x and of the filter, stride, padding before x, which may be negative, the number of results, and
   which of y they are. */
typedef struct {
    int64_t in, taps, stride, pad, out, y_step, y_first;
} TYPED(depthwise_axis);

typedef struct {
    int64_t images, channels, vectors; /* vectors: of the channels of one image, or 0 if vectors hold images */
    int64_t y_height, y_width;
    TYPED(depthwise_axis) rows, columns;
    const REAL *x, *w, *bias, *mask;
    REAL *y, floor, mask_floor;
    int add;
    const mocha_step *epilogue; /* of rows of y, if vectors hold images; may be NULL */
} TYPED(depthwise);

/* Planes of an image, and elements between pixels of a plane. */
static inline int64_t TYPED(planes)(const TYPED(depthwise) *k) { return k->vectors ? k->vectors : k->channels; }

static inline int64_t TYPED(pixel)(const TYPED(depthwise) *k) { return (k->vectors ? k->vectors : 1) * LANES; }

/* Where plane c of image n begins, in a blob with so many pixels in a plane. */
static inline int64_t TYPED(plane)(const TYPED(depthwise) *k, int64_t n, int64_t c, int64_t pixels) {
    return k->vectors ? (n * pixels * k->vectors + c) * LANES : (n * k->channels + c) * pixels * LANES;
}

/* Element `at` of each of the channels of plane c, which have `size` elements. */
static inline VEC TYPED(of_channels)(const TYPED(depthwise) *k, const REAL *from, int64_t c, int64_t size, int64_t at) {
    if (!k->vectors) return TYPED(splat)(from[c * size + at]);
    VEC v = {0};
    const int64_t count = mocha_min(LANES, k->channels - c * LANES);
    for (int64_t i = 0; i < count; i++) v[i] = from[(c * LANES + i) * size + at];
    return v;
}

/* The results [*first, *last) that meet no padding, and only x, with all of `taps` from `tap` on. */
static void TYPED(inside)(const TYPED(depthwise_axis) *a, int64_t tap, int64_t taps, int64_t *first, int64_t *last) {
    const int64_t before = a->pad - tap, room = a->in - taps + before;
    *first = mocha_min(a->out, before > 0 ? (before + a->stride - 1) / a->stride : 0);
    *last = mocha_max(*first, room < 0 ? 0 : mocha_min(a->out, room / a->stride + 1));
}

static void TYPED(depthwise_store)(const TYPED(depthwise) *k, int64_t at, VEC v) {
    v = TYPED(choose)(v <= k->floor, TYPED(splat)(k->floor), v);
    if (k->mask) v = TYPED(choose)(TYPED(load)(k->mask + at) > k->mask_floor, v, (VEC){0});
    if (k->add) v += TYPED(load)(k->y + at);
    TYPED(store)(k->y + at, v);
}

/* A row of y, `at`, from a row of x and those taps [from, to) of the filter, row by row, that meet x. WIDTH and STRIDE
   are those of the columns, or 0 for any. */
ALWAYS_INLINE void
TYPED(depthwise_row)(const int WIDTH, const int STRIDE, const TYPED(depthwise) *k, const REAL *x, int64_t from,
                                 int64_t to, const VEC *w, VEC bias, int64_t at) {
    const TYPED(depthwise_axis) *a = &k->columns;
    const int64_t width = WIDTH ? WIDTH : a->taps, stride = STRIDE ? STRIDE : a->stride;
    const int64_t pixel = TYPED(pixel)(k), row = a->in * pixel, step = a->y_step * pixel;
    int64_t first, last;
    TYPED(inside)(a, 0, width, &first, &last);
    for (int64_t j = 0; j < a->out;) {
        const int64_t over = j * stride - a->pad;
        if (j >= first && j + COLUMNS <= last) {
            VEC sum[COLUMNS];
            UNROLL for (int i = 0; i < COLUMNS; i++)
                sum[i] = bias;
            for (int64_t u = from; u < to; u++) {
                const REAL *in = x + (u - from) * row + over * pixel;
                for (int64_t v = 0; v < width; v++) {
                    const VEC tap = w[u * width + v];
                    UNROLL for (int i = 0; i < COLUMNS; i++)
                        sum[i] += tap * TYPED(load)(in + (i * stride + v) * pixel);
                }
            }
            UNROLL for (int i = 0; i < COLUMNS; i++)
                TYPED(depthwise_store)(k, at + (j + i) * step, sum[i]);
            j += COLUMNS;
            continue;
        }
        VEC sum = bias;
        const int64_t left = mocha_min(width, mocha_max(0, -over)), right = mocha_min(width, a->in - over);
        for (int64_t u = from; u < to; u++)
            for (int64_t v = left; v < right; v++)
                sum += w[u * width + v] * TYPED(load)(x + (u - from) * row + (over + v) * pixel);
        TYPED(depthwise_store)(k, at + j * step, sum);
        j++;
    }
}

/* The filter of plane c is read from tap (`high`, `wide`) on in steps of `down` and `right`, in reverse order if these
   are not 0. */
static void TYPED(depthwise_correlate)(const TYPED(depthwise) *k, const mocha_team *team, int64_t high, int64_t wide,
                                int64_t taps_high, int64_t taps_wide, int64_t down, int64_t right) {
    const TYPED(depthwise_axis) *rows = &k->rows, *columns = &k->columns;
    const int64_t planes = TYPED(planes)(k), pixel = TYPED(pixel)(k);
    int64_t next, end;
    mocha_share(k->images * planes * rows->out, 1, team, &next, &end);
    while (next < end) {
        const int64_t n = next / rows->out / planes, c = next / rows->out % planes, i = next % rows->out;
        const int64_t i_end = mocha_min(rows->out, i + end - next);
        VEC w[MAX_TAPS];
        for (int64_t u = 0; u < rows->taps; u++) {
            for (int64_t v = 0; v < columns->taps; v++) {
                const int64_t tap_high = down ? high + (rows->taps - 1 - u) * down : u;
                const int64_t tap_wide = right ? wide + (columns->taps - 1 - v) * right : v;
                w[u * columns->taps + v] =
                    TYPED(of_channels)(k, k->w, c, taps_high * taps_wide, tap_high * taps_wide + tap_wide);
            }
        }
        const VEC bias = k->bias ? TYPED(of_channels)(k, k->bias, c, 1, 0) : (VEC){0};
        const REAL *x = k->x + TYPED(plane)(k, n, c, rows->in * columns->in);
        const int64_t y = TYPED(plane)(k, n, c, k->y_height * k->y_width);
        for (int64_t row = i; row < i_end; row++) {
            const int64_t over = row * rows->stride - rows->pad;
            const int64_t from = mocha_min(rows->taps, mocha_max(0, -over)),
                          to = mocha_min(rows->taps, rows->in - over);
            const int64_t y_row = (row * rows->y_step + rows->y_first) * k->y_width + columns->y_first;
            const REAL *in = to > from ? x + (over + from) * columns->in * pixel : x;
#define ROW(WIDTH, STRIDE) TYPED(depthwise_row)(WIDTH, STRIDE, k, in, from, to, w, bias, y + y_row * pixel)
            if (columns->taps == 3 && columns->stride == 1) {
                ROW(3, 1);
            } else if (columns->taps == 3 && columns->stride == 2) {
                ROW(3, 2);
            } else if (columns->taps == 5 && columns->stride == 1) {
                ROW(5, 1);
            } else {
                ROW(0, 0);
            }
#undef ROW
        }
        if (k->epilogue)
            mocha_epilogue(k->epilogue, y + i * columns->out * LANES, (i_end - i) * columns->out * LANES, 1, 0);
        next += i_end - i;
    }
}

/* Sizes: 0 images, or blocks of them, channels, vectors of channels or 0, 3 height and width of x, of the filters, of y,
   9 strides, pads, 13 whether dx, or dw, is added. */
static TYPED(depthwise) TYPED(depthwise_described)(const int64_t *s) {
    return (TYPED(depthwise)){.images = s[0],
                       .channels = s[1],
                       .vectors = s[2],
                       .y_height = s[7],
                       .y_width = s[8],
                       .rows = {s[3], s[5], s[9], s[11], s[7], 1, 0},
                       .columns = {s[4], s[6], s[10], s[12], s[8], 1, 0},
                       .add = s[13] != 0};
}

/* buffers: x, w, bias or NULL, y, epilogue or NULL; numbers: floor. */
KERNEL(depthwise_forward) {
    TYPED(depthwise) k = TYPED(depthwise_described)(args->sizes);
    k.x = args->buffers[0], k.w = args->buffers[1], k.bias = args->buffers[2], k.y = args->buffers[3];
    k.floor = (REAL)args->numbers[0];
    k.epilogue = args->buffers[4];
    TYPED(depthwise_correlate)(&k, team, 0, 0, k.rows.taps, k.columns.taps, 0, 0);
}

/* Phase r of an axis: the positions i of x with (i + pad) % stride == r, as results of a correlation of dy. */
static TYPED(depthwise_axis) TYPED(depthwise_phase)(const TYPED(depthwise_axis) *a, int64_t r) {
    const int64_t start = ((r - a->pad) % a->stride + a->stride) % a->stride;
    const int64_t taps = r < a->taps ? (a->taps - r + a->stride - 1) / a->stride : 0;
    const int64_t count = start < a->in ? (a->in - start + a->stride - 1) / a->stride : 0;
    return (TYPED(depthwise_axis)){a->out, taps, 1, taps - 1 - (start + a->pad) / a->stride, count, a->stride, start};
}

/* buffers: dy, w, mask or NULL, dx; numbers: floor of the mask. */
KERNEL(depthwise_images) {
    TYPED(depthwise) k = TYPED(depthwise_described)(args->sizes);
    const TYPED(depthwise_axis) rows = k.rows, columns = k.columns;
    k.x = args->buffers[0], k.w = args->buffers[1], k.mask = args->buffers[2], k.y = args->buffers[3];
    k.floor = -(REAL)INFINITY, k.mask_floor = (REAL)args->numbers[0];
    k.y_height = rows.in, k.y_width = columns.in;
    for (int64_t r = 0; r < mocha_min(rows.stride, rows.in); r++) {
        for (int64_t s = 0; s < mocha_min(columns.stride, columns.in); s++) {
            /* The phases of the first positions are those of all. */
            const int64_t high = (r + rows.pad) % rows.stride, wide = (s + columns.pad) % columns.stride;
            k.rows = TYPED(depthwise_phase)(&rows, high);
            k.columns = TYPED(depthwise_phase)(&columns, wide);
            TYPED(depthwise_correlate)(&k, team, high, wide, rows.taps, columns.taps, rows.stride, columns.stride);
        }
    }
}

/* Adds the products of the planes x and dy, for row u of the filter, to the sums of its taps [v, v + WIDTH). */
ALWAYS_INLINE void
TYPED(depthwise_taps_of)(const int WIDTH, const TYPED(depthwise) *k, const REAL *x, const REAL *dy, int64_t u,
                                     int64_t v, VEC *sums) {
    const TYPED(depthwise_axis) *rows = &k->rows, *columns = &k->columns;
    const int64_t pixel = TYPED(pixel)(k), step = columns->stride * pixel;
    int64_t top, bottom, first, last;
    TYPED(inside)(rows, u, 1, &top, &bottom);
    TYPED(inside)(columns, v, WIDTH, &first, &last);
    VEC sum[WIDTH];
    UNROLL for (int t = 0; t < WIDTH; t++)
        sum[t] = sums[t];
    for (int64_t i = top; i < bottom; i++) {
        /* Of the first tap at the first column, which may lie in the padding before x. */
        const int64_t in = ((i * rows->stride + u - rows->pad) * columns->in + v - columns->pad) * pixel;
        const REAL *from = dy + i * columns->out * pixel;
        for (int64_t j = first; j < last; j++) {
            const VEC d = TYPED(load)(from + j * pixel);
            UNROLL for (int t = 0; t < WIDTH; t++)
                sum[t] += d * TYPED(load)(x + (in + j * step + t * pixel));
        }
        /* At the edges the taps meet x at different columns. */
        UNROLL for (int t = 0; t < WIDTH; t++) {
            int64_t begin, end;
            TYPED(inside)(columns, v + t, 1, &begin, &end);
            for (int64_t j = begin; j < mocha_min(end, first); j++)
                sum[t] += TYPED(load)(from + j * pixel) * TYPED(load)(x + (in + j * step + t * pixel));
            for (int64_t j = mocha_max(begin, last); j < end; j++)
                sum[t] += TYPED(load)(from + j * pixel) * TYPED(load)(x + (in + j * step + t * pixel));
        }
    }
    UNROLL for (int t = 0; t < WIDTH; t++)
        sums[t] = sum[t];
}

/* buffers: x, dy, dw. */
KERNEL(depthwise_weights) {
    const TYPED(depthwise) k = TYPED(depthwise_described)(args->sizes);
    const REAL *x = args->buffers[0], *dy = args->buffers[1];
    REAL *dw = args->buffers[2];
    const int64_t high = k.rows.taps, wide = k.columns.taps, taps = high * wide;
    int64_t next, end;
    mocha_share(TYPED(planes)(&k) * high, 1, team, &next, &end);
    while (next < end) {
        const int64_t c = next / high, first = next % high, last = mocha_min(high, first + end - next);
        VEC sums[MAX_TAPS];
        for (int64_t t = first * wide; t < last * wide; t++) sums[t] = (VEC){0};
        for (int64_t n = 0; n < k.images; n++) {
            const REAL *image = x + TYPED(plane)(&k, n, c, k.rows.in * k.columns.in);
            const REAL *top = dy + TYPED(plane)(&k, n, c, k.rows.out * k.columns.out);
            for (int64_t u = first; u < last; u++) {
                for (int64_t v = 0; v < wide;) {
                    VEC *sum = sums + u * wide + v;
                    if (wide - v == 5) {
                        TYPED(depthwise_taps_of)(5, &k, image, top, u, v, sum);
                        v += 5;
                    } else if (wide - v >= 3) {
                        TYPED(depthwise_taps_of)(3, &k, image, top, u, v, sum);
                        v += 3;
                    } else {
                        TYPED(depthwise_taps_of)(1, &k, image, top, u, v, sum);
                        v++;
                    }
                }
            }
        }
        for (int64_t t = first * wide; t < last * wide; t++) {
            const int64_t count = k.vectors ? mocha_min(LANES, k.channels - c * LANES) : 1;
            const VEC total = k.vectors ? sums[t] : TYPED(splat)(TYPED(sum)(sums[t]));
            for (int64_t i = 0; i < count; i++) {
                REAL *to = dw + ((k.vectors ? c * LANES + i : c) * taps + t);
                *to = k.add ? *to + total[i] : total[i];
            }
        }
        next += last - first;
    }
}
