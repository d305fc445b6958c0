/* Local response normalization: y = x * base**-power, base = shift + scale * (sum of x*x over the window), with the
   scale of a mean. Backward, with direct = dy * base**-power,

     dx = direct - 2 * power * scale * x * (sum of x * direct / base over the mirrored window).

   A window is summed down, and then across. A window across channels extends down only: the rows of its planes are the
   channels, and their columns the positions.

     for every plane, or piece of one, PIECE vectors wide
       for every row
         write its terms (zeros after the last row) over the oldest row of a ring of `kernel` rows
         for the row whose window is now complete
           for every column: sum down the ring; then sum across, base, base**-power, y

   In backward the last line computes the terms of another ring, that of the mirrored window, which gives dx some rows
   later. No term is ever subtracted from a sum, because a value that is not finite would stay in it. Threads share the
   pieces. */

#ifndef MOCHA_LRN_H
#define MOCHA_LRN_H

/* The width of a piece in vectors. A ring of this width fits into L1. */
#define PIECE 16
/* Planes, their rows, vectors of a row; whether a window is as wide as high; rows of a window; whether dx is added;
   elements of each thread's room. */
enum { PLANES, ROWS, COLUMNS, WITHIN, WINDOW, ADDED, ROOM };

#define KERNELS(K) \
    K(lrn_forward) \
    K(lrn_backward)
#define CONSTANTS(C) C(lrn_piece, PIECE)

#endif

/* The numbers and buffers for all rows of a piece. Rows in a thread's own memory are `width` vectors long. */
typedef struct {
    int64_t rows, line; /* the number of rows, and their distance */
    int64_t width; /* vectors of a row */
    int64_t kernel;
    int within;
    REAL shift, scale, power;
    REAL *down; /* sums down, between zeros for windows that reach beyond the row */
    REAL *squares, *others, *direct; /* rings */
} TYPED(piece);

/* Sums down a ring. */
ALWAYS_INLINE void TYPED(sum_down)(const TYPED(piece) *p, const int64_t kernel, const REAL *ring) {
    for (int64_t c = 0; c < p->width; c++) {
        VEC sum = TYPED(load)(ring + c * LANES);
        for (int64_t k = 1; k < kernel; k++) sum += TYPED(load)(ring + (k * p->width + c) * LANES);
        TYPED(store)(p->down + c * LANES, sum);
    }
}

/* The sum over the window around a column, which begins `front` columns before it. */
ALWAYS_INLINE VEC TYPED(window_sum)(const TYPED(piece) *p, const int64_t kernel, int64_t front, int64_t column) {
    if (!p->within) return TYPED(load)(p->down + column * LANES);
    const REAL *from = p->down + (column - front) * LANES;
    VEC sum = TYPED(load)(from);
    for (int64_t k = 1; k < kernel; k++) sum += TYPED(load)(from + k * LANES);
    return sum;
}

/* base**-power, and 1 / base. */
typedef struct {
    VEC factor, inverse;
} TYPED(powers);

/* For any base and any power. */
static TYPED(powers) TYPED(powers_of)(VEC base, REAL power) {
    TYPED(powers) out = {(VEC){0}, 1 / base};
    for (int i = 0; i < LANES; i++) out.factor[i] = POW(base[i], -power);
    return out;
}

/* For a base that is no extreme, and a power of 3/4 or 1/2: from base**(-1/4) by Newton's method. The guess divides the
   exponent by -4; its error of at most 3.2 % falls to the square of that in every step. Faster than roots and a
   division. */
ALWAYS_INLINE TYPED(powers) TYPED(roots_of)(VEC base, const int quarters) {
    enum { STEPS = REAL_BYTES == 4 ? 3 : 4 };
    const INT guess = (INT)((1.25 * EXP_BIAS - 0.06032) * (double)((INT)1 << EXP_SHIFT));
    const VEC part = base * (REAL)0.25;
    VEC root = (VEC)(guess - ((IVEC)base >> 2));
#pragma GCC unroll 4
    for (int i = 0; i < STEPS; i++) {
        const VEC square = root * root;
        root += root * ((REAL)0.25 - part * (square * square));
    }
    const VEC square = root * root;
    const TYPED(powers) out = {quarters == 3 ? square * root : square, square * square};
    return out;
}

/* Whether base is not too far from 1 for that; NaN is. */
ALWAYS_INLINE IVEC TYPED(is_usual)(VEC base) { return (base > (REAL)1e-30) & (base < (REAL)1e30); }

static inline int TYPED(all)(IVEC where) {
    INT all = -1;
    for (int i = 0; i < LANES; i++) all &= where[i];
    return all != 0;
}

/* Writes the squares of a row into the ring; zeros if there is no such row. */
ALWAYS_INLINE void TYPED(square_row)(const TYPED(piece) *p, const REAL *x, int64_t row) {
    REAL *out = p->squares + row % p->kernel * p->width * LANES;
    for (int64_t c = 0; c < p->width; c++) {
        const VEC v = row < p->rows ? TYPED(load)(x + row * p->line + c * LANES) : (VEC){0};
        TYPED(store)(out + c * LANES, v * v);
    }
}

/* Computes a row of y or, if there is a dy, of the terms of the mirrored windows: `direct` and x * direct / base.
   Returns whether every base was usual. If not, and roots were used, the row has to be computed again without. */
ALWAYS_INLINE int
TYPED(normalize_row)(const TYPED(piece) *p, const int64_t kernel, const int quarters, const REAL *dy, const REAL *x,
                                REAL *y, REAL *direct, REAL *others) {
    const int64_t front = (kernel - 1) / 2;
    IVEC usual = (IVEC){0} - 1;
    for (int64_t c = 0; c < p->width * LANES; c += LANES) {
        const VEC base = p->shift + p->scale * TYPED(window_sum)(p, kernel, front, c / LANES);
        usual &= TYPED(is_usual)(base);
        const TYPED(powers) of = quarters ? TYPED(roots_of)(base, quarters) : TYPED(powers_of)(base, p->power);
        const VEC in = TYPED(load)(x + c);
        if (dy) {
            const VEC v = TYPED(load)(dy + c) * of.factor;
            TYPED(store)(direct + c, v);
            TYPED(store)(others + c, in * v * of.inverse);
        } else {
            TYPED(store)(y + c, in * of.factor);
        }
    }
    return TYPED(all)(usual);
}

ALWAYS_INLINE void
TYPED(forward_piece)(const TYPED(piece) *p, const int64_t kernel, const int quarters, const REAL *x, REAL *y) {
    const int64_t back = kernel / 2;
    for (int64_t row = -back; row < p->rows; row++) {
        TYPED(square_row)(p, x, row + back);
        if (row < 0) continue;
        const int64_t at = row * p->line;
        TYPED(sum_down)(p, kernel, p->squares);
        if (!TYPED(normalize_row)(p, kernel, quarters, NULL, x + at, y + at, NULL, NULL) && quarters)
            TYPED(normalize_row)(p, kernel, 0, NULL, x + at, y + at, NULL, NULL);
    }
}

ALWAYS_INLINE void
TYPED(backward_piece)(const TYPED(piece) *p, const int64_t kernel, const int quarters, const REAL *dy,
                                  const REAL *x, int add, REAL *dx) {
    const int64_t front = (kernel - 1) / 2, back = kernel / 2;
    for (int64_t last = -back; last < p->rows + front; last++) {
        TYPED(square_row)(p, x, last + back);
        if (last < 0) continue;
        const int64_t row = last - front, at = last * p->line, place = last % kernel * p->width * LANES;
        REAL *direct = p->direct + place, *others = p->others + place;
        if (last < p->rows) {
            TYPED(sum_down)(p, kernel, p->squares);
            if (!TYPED(normalize_row)(p, kernel, quarters, dy + at, x + at, NULL, direct, others) && quarters)
                TYPED(normalize_row)(p, kernel, 0, dy + at, x + at, NULL, direct, others);
        } else {
            memset(others, 0, (size_t)(p->width * LANES) * sizeof *others);
        }
        if (row < 0) continue;
        TYPED(sum_down)(p, kernel, p->others);
        direct = p->direct + row % kernel * p->width * LANES;
        for (int64_t c = 0; c < p->width * LANES; c += LANES) {
            REAL *out = dx + row * p->line + c;
            const VEC in = TYPED(load)(x + row * p->line + c), sum = TYPED(window_sum)(p, kernel, back, c / LANES);
            const VEC v = TYPED(load)(direct + c) - 2 * p->power * p->scale * in * sum;
            TYPED(store)(out, add ? v + TYPED(load)(out) : v);
        }
    }
}

/* The usual sizes and powers are literal arguments. The piece is a copy with a private address: what is written to
   rows cannot change it. */
#define SIZES(K, POWER) \
    if (POWER) { \
        if (p->kernel == 3) return K(3, POWER); \
        if (p->kernel == 5) return K(5, POWER); \
    } \
    return K(p->kernel, POWER);
#define POWERS(K) \
    if (p->power == (REAL)0.75) { SIZES(K, 3) } \
    if (p->power == (REAL)0.5) { SIZES(K, 2) } \
    SIZES(K, 0)
#define FORWARD(KERNEL_SIZE, QUARTERS) TYPED(forward_piece)(p, KERNEL_SIZE, QUARTERS, x, y)
#define BACKWARD(KERNEL_SIZE, QUARTERS) TYPED(backward_piece)(p, KERNEL_SIZE, QUARTERS, dy, x, add, dx)

static void TYPED(lrn_forward_piece)(const TYPED(piece) *piece, const REAL *x, REAL *y) {
    const TYPED(piece) copy = *piece, *p = &copy;
    POWERS(FORWARD)
}

static void TYPED(lrn_backward_piece)(const TYPED(piece) *piece, const REAL *dy, const REAL *x, int add, REAL *dx) {
    const TYPED(piece) copy = *piece, *p = &copy;
    POWERS(BACKWARD)
}

#undef SIZES
#undef POWERS
#undef FORWARD
#undef BACKWARD

/* `dy` is NULL in forward; `out` is y or dx. */
ALWAYS_INLINE void TYPED(lrn)(const mocha_args *args, const REAL *dy, const REAL *x, REAL *out, REAL *room,
                       const mocha_team *team) {
    const int64_t *sizes = args->sizes;
    const int64_t columns = sizes[COLUMNS], most = sizes[WITHIN] ? columns : mocha_min(columns, PIECE);
    const int64_t pieces = (columns + most - 1) / most, ring = sizes[WINDOW] * most * LANES;
    TYPED(piece) p = {.rows = sizes[ROWS],
               .line = columns * LANES,
               .kernel = sizes[WINDOW],
               .within = sizes[WITHIN] != 0,
               .shift = (REAL)args->numbers[0],
               .scale = (REAL)args->numbers[1],
               .power = (REAL)args->numbers[2]};
    p.squares = room + team->rank * sizes[ROOM];
    p.others = p.squares + ring;
    p.direct = p.others + ring;
    REAL *sums = p.direct + ring;
    p.down = sums + (p.kernel - 1) * LANES;
    memset(sums, 0, (size_t)((most + 2 * (p.kernel - 1)) * LANES) * sizeof *sums);
    int64_t i, last;
    mocha_share(sizes[PLANES] * pieces, 1, team, &i, &last);
    for (; i < last; i++) {
        const int64_t column = i % pieces * most, at = (i / pieces * p.rows * columns + column) * LANES;
        p.width = mocha_min(most, columns - column);
        /* The rings that are read before all of their rows are written: squares and, in backward, others. */
        memset(p.squares, 0, (size_t)((dy ? 2 : 1) * ring) * sizeof *p.squares);
        if (dy) {
            TYPED(lrn_backward_piece)(&p, dy + at, x + at, sizes[ADDED] != 0, out + at);
        } else {
            TYPED(lrn_forward_piece)(&p, x + at, out + at);
        }
    }
}

/* buffers: x, y, room; sizes: see above; numbers: shift, scale, power. */
KERNEL(lrn_forward) { TYPED(lrn)(args, NULL, args->buffers[0], args->buffers[1], args->buffers[2], team); }

/* buffers: dy, x, dx, room; the rest as forward. */
KERNEL(lrn_backward) { TYPED(lrn)(args, args->buffers[0], args->buffers[1], args->buffers[2], args->buffers[3], team); }
