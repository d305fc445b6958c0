/* Pooling: y is the maximum or the mean of windows that slide over the planes of x.

   A plane has a vector at each position: LANES samples. Pooling of channels is that of planes whose rows are the channels,
   and whose columns are the positions.

     for every plane
       for every row of windows                    forward
         for every window: over its elements
       for every row of dx                         backward: every element is written once
         for every window that has the element: what it gives to it

   Windows of the common sizes are literal arguments, by which the compiler unrolls the loops over their elements; those
   that run over the image's edge, and all others, are clipped one by one. A maximum's place is its number in the
   window, row by row. Those of neighbouring windows share a word, if they fit. Threads share the planes. */

#ifndef MOCHA_POOLING_H
#define MOCHA_POOLING_H


/* `count` windows along one axis, which has `size` elements after `pad` elements of padding. The divisor of a mean
   counts the elements of its window below `padded`. */
typedef struct {
    int64_t size, count, kernel, stride, pad, padded;
} mocha_axis;
enum { AXIS_SIZES = sizeof(mocha_axis) / sizeof(int64_t) };

/* The elements that a window has inside the image: [first, last) of its own. */
typedef struct {
    int64_t first, last;
} mocha_span;

static inline mocha_span mocha_clipped(mocha_axis axis, int64_t window) {
    const int64_t start = window * axis.stride - axis.pad;
    const mocha_span span = {start < 0 ? -start : 0, mocha_min(axis.kernel, axis.size - start)};
    return span;
}

/* The windows [first, last) whose elements are all inside the image. */
static inline mocha_span mocha_whole(mocha_axis axis) {
    const int64_t first = mocha_min((axis.pad + axis.stride - 1) / axis.stride, axis.count);
    const int64_t room = axis.size + axis.pad - axis.kernel;
    const int64_t last = room < 0 ? 0 : mocha_min(room / axis.stride + 1, axis.count);
    const mocha_span span = {first, last < first ? first : last};
    return span;
}

/* The windows [first, last) that have the element. */
static inline mocha_span mocha_windows_of(mocha_axis axis, int64_t element) {
    const int64_t place = element + axis.pad, before = place - axis.kernel + axis.stride;
    const mocha_span span = {before < 0 ? 0 : before / axis.stride, mocha_min(place / axis.stride + 1, axis.count)};
    return span;
}

static inline int64_t mocha_divisor(mocha_axis axis, int64_t window) {
    return mocha_min(axis.kernel, axis.padded - window * axis.stride);
}

static inline int mocha_is_window(mocha_axis down, mocha_axis across, int64_t kernel, int64_t stride) {
    return down.kernel == kernel && across.kernel == kernel && down.stride == stride && across.stride == stride;
}

/* The sizes of a kernel: planes; both axes; log2 of how many places share a word; whether dx is added. */
enum { PLANES, DOWN, ACROSS = DOWN + AXIS_SIZES, SHARING = ACROSS + AXIS_SIZES, ADDED };

static inline mocha_axis mocha_axis_of(const int64_t *sizes) {
    const mocha_axis axis = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
    return axis;
}

/* The kernels and strides, square, for which there is code of their own. 0: any. */
#define COMMON_WINDOWS(W) W(2, 2) W(3, 2) W(3, 1)
enum { MAX, MEAN };

#define KERNELS(K) \
    K(max_pooling_forward) \
    K(max_pooling_backward) \
    K(mean_pooling_forward) \
    K(mean_pooling_backward)
/* Places below `byte_places` take eight bits; then 2**places_sharing of them share a word, in the lower half of an
   int64, too. */
#define PLACE_BITS 8
#define CONSTANTS(C) C(byte_places, 1 << PLACE_BITS) C(places_sharing, 2)

#endif

/* The places of a plane: a word for 2**sharing windows of a row. */
typedef struct {
    REAL *at; /* NULL if no step reads them */
    int64_t words; /* in a row */
    int sharing;
} TYPED(places);

static inline TYPED(places)
    TYPED(places_of)(void *at, int64_t plane, mocha_axis down, mocha_axis across, int64_t sharing) {
    const int64_t words = (across.count + (1 << sharing) - 1) >> sharing;
    const TYPED(places) p = {at ? (REAL *)at + plane * down.count * words * LANES : NULL, words, (int)sharing};
    return p;
}

/* The number of bits by which the place of a column is shifted in its word. */
static inline int TYPED(shift_of)(const TYPED(places) *p, int64_t column) {
    return ((int)column & ((1 << p->sharing) - 1)) * PLACE_BITS;
}

static inline REAL *TYPED(word_of)(const TYPED(places) *p, int64_t row, int64_t column) {
    return p->at + (row * p->words + (column >> p->sharing)) * LANES;
}

static inline IVEC TYPED(load_place)(const TYPED(places) *p, int64_t row, int64_t column) {
    const IVEC word = (IVEC)TYPED(load)(TYPED(word_of)(p, row, column));
    return p->sharing ? word >> TYPED(shift_of)(p, column) & ((1 << PLACE_BITS) - 1) : word;
}

/* The larger one; b if either is NaN. */
ALWAYS_INLINE VEC TYPED(larger)(VEC a, VEC b) {
    const IVEC where = a > b;
    return (VEC)((where & (IVEC)a) + (~where & (IVEC)b));
}

/* Whether there may be a NaN among n vectors. If there is one, the sum is NaN; otherwise it rarely is. */
static int TYPED(may_have_nan)(const REAL *x, int64_t n) {
    VEC sums[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) sums[k] += TYPED(load)(x + (i + k) * LANES);
    for (; i < n; i++) sums[0] += TYPED(load)(x + i * LANES);
    const REAL sum = TYPED(sum)((sums[0] + sums[1]) + (sums[2] + sums[3]));
    return sum != sum;
}

/* One plane forward. */
typedef struct {
    mocha_axis down, across;
    const REAL *x;
    REAL *y;
    TYPED(places) places;
    REAL floor; /* the least value of y */
} TYPED(pooled);

/* Computes the windows [columns.first, columns.last) of a row. Of their elements, those in rows `us` of the windows are
   inside the image; if `whole`, those in all columns are. If `clean`, no element is NaN. */
ALWAYS_INLINE void
TYPED(pool_windows)(const int mode, const TYPED(pooled) *p, mocha_axis across, int64_t row, mocha_span columns,
                                mocha_span us, const int whole, const int clean) {
    const int64_t top = row * p->down.stride - p->down.pad, high = mocha_divisor(p->down, row);
    const REAL floor = p->floor;
    /* The word of places so far. */
    IVEC word = (IVEC){0};
    if (mode == MAX && p->places.at && columns.first < columns.last && TYPED(shift_of)(&p->places, columns.first))
        word = (IVEC)TYPED(load)(TYPED(word_of)(&p->places, row, columns.first));
    for (int64_t column = columns.first; column < columns.last; column++) {
        const int64_t left = column * across.stride - across.pad;
        const mocha_span all = {0, across.kernel}, vs = whole ? all : mocha_clipped(across, column);
        const REAL *first = p->x + ((top + us.first) * across.size + left + vs.first) * LANES;
        VEC y = mode == MAX ? TYPED(load)(first) : (VEC){0};
        IVEC place = (IVEC){0} + (INT)(us.first * across.kernel + vs.first);
        for (int64_t u = us.first; u < us.last; u++)
            for (int64_t v = vs.first; v < vs.last; v++) {
                const VEC x = TYPED(load)(first + ((u - us.first) * across.size + v - vs.first) * LANES);
                if (mode == MEAN) {
                    y += x;
                    continue;
                }
                /* The first of equal elements wins, and NaN always. */
                const IVEC better = clean ? x > y : (x > y) | (x != x);
                y = clean ? TYPED(larger)(x, y) : TYPED(choose)(better, x, y);
                place = (better & ((IVEC){0} + (INT)(u * across.kernel + v))) | (~better & place);
            }
        if (mode == MEAN) {
            y *= (REAL)1 / (REAL)(high * (whole ? across.kernel : mocha_divisor(across, column)));
        } else if (p->places.at) {
            const int shift = TYPED(shift_of)(&p->places, column);
            word = shift ? word | place << shift : place;
            TYPED(store)(TYPED(word_of)(&p->places, row, column), (VEC)word);
        }
        TYPED(store)(p->y + (row * across.count + column) * LANES, TYPED(larger)(TYPED(splat)(floor), y));
    }
}

static void TYPED(max_windows)(const TYPED(pooled) *p, int64_t row, int64_t first, int64_t last) {
    const mocha_span columns = {first, last};
    TYPED(pool_windows)(MAX, p, p->across, row, columns, mocha_clipped(p->down, row), 0, 0);
}

static void TYPED(mean_windows)(const TYPED(pooled) *p, int64_t row, int64_t first, int64_t last) {
    const mocha_span columns = {first, last};
    TYPED(pool_windows)(MEAN, p, p->across, row, columns, mocha_clipped(p->down, row), 0, 0);
}

/* Computes a row of windows, whose size is a literal argument. For maxima of windows that overlap, each row of x is
   searched for NaN once: rows before `seen.last` have been searched, and rows before `seen.first` may have a NaN. */
ALWAYS_INLINE void
TYPED(pool_row)(const int mode, const TYPED(pooled) *p, int64_t row, const int kernel, const int stride,
                            mocha_span *seen) {
    void (*const clipped)(const TYPED(pooled) *, int64_t, int64_t, int64_t) = mode == MAX ? TYPED(max_windows) : TYPED(mean_windows);
    const mocha_axis across = {p->across.size, p->across.count, kernel, stride, p->across.pad, p->across.padded};
    const mocha_span all = {0, kernel}, us = mocha_clipped(p->down, row), columns = mocha_whole(across);
    const int64_t begin = row * stride - p->down.pad;
    const int clean = mode == MAX && kernel > stride;
    for (; clean && seen->last < begin + us.last; seen->last++)
        if (TYPED(may_have_nan)(p->x + seen->last * across.size * LANES, across.size)) seen->first = seen->last + 1;
    if (us.last - us.first < kernel || (clean && begin < seen->first)) {
        clipped(p, row, 0, across.count);
        return;
    }
    clipped(p, row, 0, columns.first);
    TYPED(pool_windows)(mode, p, across, row, columns, all, 1, clean);
    clipped(p, row, columns.last, across.count);
}

ALWAYS_INLINE void TYPED(pool_plane)(const int mode, const TYPED(pooled) *p) {
#define ROWS(K, S) \
    if (mocha_is_window(p->down, p->across, K, S)) { \
        mocha_span seen = {0, 0}; \
        for (int64_t row = 0; row < p->down.count; row++) TYPED(pool_row)(mode, p, row, K, S, &seen); \
        return; \
    }
    COMMON_WINDOWS(ROWS)
#undef ROWS
    for (int64_t row = 0; row < p->down.count; row++)
        (mode == MAX ? TYPED(max_windows) : TYPED(mean_windows))(p, row, 0, p->across.count);
}

ALWAYS_INLINE void TYPED(pooling_forward)(const int mode, const mocha_args *args, const mocha_team *team) {
    const int64_t *sizes = args->sizes;
    TYPED(pooled) p = {
        .down = mocha_axis_of(sizes + DOWN), .across = mocha_axis_of(sizes + ACROSS), .floor = (REAL)args->numbers[0]};
    const int64_t bottom = p.down.size * p.across.size, top = p.down.count * p.across.count;
    int64_t plane, last;
    mocha_share(sizes[PLANES], 1, team, &plane, &last);
    for (; plane < last; plane++) {
        p.x = (const REAL *)args->buffers[0] + plane * bottom * LANES;
        p.y = (REAL *)args->buffers[1] + plane * top * LANES;
        p.places = TYPED(places_of)(args->buffers[2], plane, p.down, p.across, sizes[SHARING]);
        TYPED(pool_plane)(mode, &p);
    }
}

/* buffers: x, y, places or NULL; sizes: see above; numbers: what y is at least. */
KERNEL(max_pooling_forward) { TYPED(pooling_forward)(MAX, args, team); }

KERNEL(mean_pooling_forward) { TYPED(pooling_forward)(MEAN, args, team); }

/* One plane backward. */
typedef struct {
    mocha_axis down, across;
    const REAL *dy;
    TYPED(places) places;
    const REAL *top, *bottom; /* dy counts only where top is above the floor, dx where bottom is; NULL: all */
    REAL *dx;
    int add;
    REAL floor;
} TYPED(unpooled);

/* The gradient that a window has for its elements. */
ALWAYS_INLINE VEC TYPED(given)(const TYPED(unpooled) *p, int64_t at) {
    const VEC dy = TYPED(load)(p->dy + at * LANES);
    return p->top ? TYPED(choose)(TYPED(load)(p->top + at * LANES) > p->floor, dy, (VEC){0}) : dy;
}

ALWAYS_INLINE void TYPED(put)(const TYPED(unpooled) *p, int64_t at, VEC dx) {
    if (p->bottom) dx = TYPED(choose)(TYPED(load)(p->bottom + at * LANES) > p->floor, dx, (VEC){0});
    TYPED(store)(p->dx + at * LANES, p->add ? dx + TYPED(load)(p->dx + at * LANES) : dx);
}

/* Elements [first, last) of a row, whatever windows they have. */
ALWAYS_INLINE void
TYPED(unpool_any)(const int mode, const TYPED(unpooled) *p, mocha_axis down, mocha_axis across, int64_t row,
                              int64_t first, int64_t last) {
    const mocha_span rows = mocha_windows_of(down, row);
    for (int64_t column = first; column < last; column++) {
        const mocha_span columns = mocha_windows_of(across, column);
        VEC dx = (VEC){0};
        for (int64_t r = rows.first; r < rows.last; r++)
            for (int64_t c = columns.first; c < columns.last; c++) {
                const int64_t u = row + down.pad - r * down.stride, v = column + across.pad - c * across.stride;
                const int64_t at = r * across.count + c;
                const VEC dy = TYPED(given)(p, at);
                if (mode == MEAN) {
                    dx += dy * ((REAL)1 / (REAL)(mocha_divisor(down, r) * mocha_divisor(across, c)));
                } else {
                    const IVEC hit = TYPED(load_place)(&p->places, r, c) == (INT)(u * across.kernel + v);
                    dx += TYPED(choose)(hit, dy, (VEC){0});
                }
            }
        TYPED(put)(p, row * across.size + column, dx);
    }
}

/* Computes a row of elements in groups: the `stride` elements with which a window begins. In a whole group, all elements
   are inside the image, and so are all windows that have any of them. */
ALWAYS_INLINE void
TYPED(unpool_row)(const int mode, const TYPED(unpooled) *p, int64_t row, const int kernel, const int stride) {
    enum { MOST = 4 };
    const int overlap = (kernel + stride - 1) / stride;
    /* With literal strides, which are quick to divide by. */
    const mocha_axis down = {p->down.size, p->down.count, kernel, stride, p->down.pad, p->down.padded};
    const mocha_axis across = {p->across.size, p->across.count, kernel, stride, p->across.pad, p->across.padded};
    const mocha_span rows = mocha_windows_of(down, row);
    const int64_t begin = (across.pad + stride - 1) / stride, first = begin < overlap - 1 ? overlap - 1 : begin;
    int64_t last = mocha_min((across.size + across.pad) / stride, across.count);
    /* The last windows of a mean may have other divisors. */
    if (mode == MEAN) last = mocha_min(last, (across.padded - kernel) / stride + 1);
    if (last <= first) {
        TYPED(unpool_any)(mode, p, down, across, row, 0, across.size);
        return;
    }
    TYPED(unpool_any)(mode, p, down, across, row, 0, first * stride - across.pad);
    for (int64_t group = first; group < last; group++) {
        VEC dx[MOST];
#pragma GCC unroll 4
        for (int i = 0; i < stride; i++) dx[i] = (VEC){0};
        for (int64_t r = rows.first; r < rows.last; r++) {
            const INT start = (INT)((row + down.pad - r * stride) * kernel);
            const REAL factor = (REAL)1 / (REAL)(mocha_divisor(down, r) * kernel);
#pragma GCC unroll 4
            for (int back = 0; back < overlap; back++) {
                const int64_t at = r * across.count + group - back;
                const VEC dy = mode == MAX ? TYPED(given)(p, at) : TYPED(given)(p, at) * factor;
                const IVEC place = mode == MAX ? TYPED(load_place)(&p->places, r, group - back) - start : (IVEC){0};
#pragma GCC unroll 4
                for (int i = 0; i < stride; i++) {
                    const int v = back * stride + i;
                    if (v < kernel) dx[i] += mode == MAX ? TYPED(choose)(place == v, dy, (VEC){0}) : dy;
                }
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < stride; i++) TYPED(put)(p, row * across.size + group * stride - across.pad + i, dx[i]);
    }
    TYPED(unpool_any)(mode, p, down, across, row, last * stride - across.pad, across.size);
}

ALWAYS_INLINE void TYPED(unpool_plane)(const int mode, const TYPED(unpooled) *p) {
#define ROWS(K, S) \
    if (mocha_is_window(p->down, p->across, K, S)) { \
        for (int64_t row = 0; row < p->down.size; row++) TYPED(unpool_row)(mode, p, row, K, S); \
        return; \
    }
    COMMON_WINDOWS(ROWS)
#undef ROWS
    for (int64_t row = 0; row < p->down.size; row++)
        TYPED(unpool_any)(mode, p, p->down, p->across, row, 0, p->across.size);
}

ALWAYS_INLINE void TYPED(pooling_backward)(const int mode, const mocha_args *args, const mocha_team *team) {
    const int64_t *sizes = args->sizes;
    const REAL *masks[2] = {args->buffers[2], args->buffers[3]};
    TYPED(unpooled) p = {
        .down = mocha_axis_of(sizes + DOWN), .across = mocha_axis_of(sizes + ACROSS), .floor = (REAL)args->numbers[0]};
    const int64_t bottom = p.down.size * p.across.size, top = p.down.count * p.across.count;
    int64_t plane, last;
    p.add = sizes[ADDED] != 0;
    mocha_share(sizes[PLANES], 1, team, &plane, &last);
    for (; plane < last; plane++) {
        p.dy = (const REAL *)args->buffers[0] + plane * top * LANES;
        p.dx = (REAL *)args->buffers[4] + plane * bottom * LANES;
        p.top = masks[0] ? masks[0] + plane * top * LANES : NULL;
        p.bottom = masks[1] ? masks[1] + plane * bottom * LANES : NULL;
        p.places = TYPED(places_of)(args->buffers[1], plane, p.down, p.across, sizes[SHARING]);
        TYPED(unpool_plane)(mode, &p);
    }
}

/* buffers: dy, places, then masks of dy and of dx or NULL, dx; sizes: see above; numbers: above what
   masks let pass. */
KERNEL(max_pooling_backward) { TYPED(pooling_backward)(MAX, args, team); }

/* The same arguments, without places. */
KERNEL(mean_pooling_backward) { TYPED(pooling_backward)(MEAN, args, team); }
