/* Local response normalization: y = x * base**-power, base = shift + scale * (sum of x*x over the window), with the
   scale of a mean. Backward, with direct = dy * base**-power,

     dx = direct - 2 * power * scale * x * (sum of x * direct / base over the mirrored window).

   Sums over a window are taken down, and then across. A window across channels is one down alone: over planes whose rows
   are the channels, and whose columns are positions.

     for every plane, or piece of one, PIECE vectors wide
       for every row
         its terms into a ring of `kernel` rows, the oldest of which they replace; zeros after the last row
         for the row whose window that completes
           for every column: sum down the ring; then sum across, base, base**-power, y

   In backward what that ends with are the terms of another ring, of the mirrored window, which gives dx some rows later.
   Nothing is subtracted from a sum again: what is not finite would stay in it. Threads share the pieces. */

#ifndef MOCHA_LRN_H
#define MOCHA_LRN_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))
/* Vectors; those of a piece of all rows of a ring fit into L1. */
#define PIECE 16
/* Planes, their rows, vectors of a row; whether a window is as wide as high; rows of a window; whether dx is added;
   elements of each thread's room. */
enum { PLANES, ROWS, COLUMNS, WITHIN, WINDOW, ADDED, ROOM };

#define KERNELS(K) K(lrn_forward) K(lrn_backward)
#define CONSTANTS(C) C(lrn_piece, PIECE)

#endif

/* What all rows of a piece have in common. Rows in `room` are `width` vectors long. */
typedef struct {
    int64_t rows, line; /* and how far they are apart */
    int64_t width; /* vectors of a row */
    int64_t kernel;
    int within;
    REAL shift, scale, power;
    REAL *line_sums; /* down; and as many zeros before and after them as a window has elsewhere */
    REAL *base, *factor; /* a row of each */
    REAL *squares, *others, *direct; /* rings */
} TYPED(piece);

/* out = the sum over the window around each element of a row: over the ring and, within a plane, across from `front`
   elements before it. */
ALWAYS_INLINE void TYPED(window_sums)(const TYPED(piece) *p, const int64_t kernel, const REAL *ring, int64_t front,
                                      REAL *out) {
    REAL *down = p->within ? p->line_sums + (kernel - 1) * LANES : out;
    for (int64_t c = 0; c < p->width; c++) {
        VEC sum = TYPED(load)(ring + c * LANES);
        for (int64_t k = 1; k < kernel; k++) sum += TYPED(load)(ring + (k * p->width + c) * LANES);
        TYPED(store)(down + c * LANES, sum);
    }
    for (int64_t c = 0; p->within && c < p->width; c++) {
        const REAL *from = down + (c - front) * LANES;
        VEC sum = TYPED(load)(from);
        for (int64_t k = 1; k < kernel; k++) sum += TYPED(load)(from + k * LANES);
        TYPED(store)(out + c * LANES, sum);
    }
}

static void TYPED(window_row)(const TYPED(piece) *p, const REAL *ring, int64_t front, REAL *out) {
    if (p->kernel == 3) {
        TYPED(window_sums)(p, 3, ring, front, out);
    } else if (p->kernel == 5) {
        TYPED(window_sums)(p, 5, ring, front, out);
    } else {
        TYPED(window_sums)(p, p->kernel, ring, front, out);
    }
}

/* base, from the sums that it holds, and factor = base**-power. */
static void TYPED(factor_row)(const TYPED(piece) *p) {
    REAL *base = p->base, *factor = p->factor;
    const int64_t n = p->width * LANES;
    for (int64_t i = 0; i < n; i++) base[i] = p->shift + p->scale * base[i];
    if (p->power == (REAL)0.75) {
        for (int64_t i = 0; i < n; i++) {
            const REAL root = SQRT(base[i]);
            factor[i] = 1 / (root * SQRT(root));
        }
    } else if (p->power == (REAL)0.5) {
        for (int64_t i = 0; i < n; i++) factor[i] = 1 / SQRT(base[i]);
    } else if (p->power == (REAL)1) {
        for (int64_t i = 0; i < n; i++) factor[i] = 1 / base[i];
    } else {
        for (int64_t i = 0; i < n; i++) factor[i] = POW(base[i], -p->power);
    }
}

/* A row's squares into their place in the ring; zeros where there is no such row. */
static void TYPED(square_row)(const TYPED(piece) *p, const REAL *x, int64_t row) {
    REAL *out = p->squares + row % p->kernel * p->width * LANES;
    for (int64_t c = 0; c < p->width; c++) {
        const VEC v = row < p->rows ? TYPED(load)(x + row * p->line + c * LANES) : (VEC){0};
        TYPED(store)(out + c * LANES, v * v);
    }
}

static void TYPED(lrn_forward_piece)(const TYPED(piece) *p, const REAL *x, REAL *y) {
    const int64_t front = (p->kernel - 1) / 2, back = p->kernel - 1 - front;
    for (int64_t row = -back; row < p->rows; row++) {
        TYPED(square_row)(p, x, row + back);
        if (row < 0) continue;
        TYPED(window_row)(p, p->squares, front, p->base);
        TYPED(factor_row)(p);
        for (int64_t c = 0; c < p->width; c++) {
            const int64_t at = row * p->line + c * LANES;
            TYPED(store)(y + at, TYPED(load)(x + at) * TYPED(load)(p->factor + c * LANES));
        }
    }
}

static void TYPED(lrn_backward_piece)(const TYPED(piece) *p, const REAL *dy, const REAL *x, int add, REAL *dx) {
    const int64_t front = (p->kernel - 1) / 2, back = p->kernel - 1 - front;
    for (int64_t last = -back; last < p->rows + front; last++) {
        const int64_t row = last - front, place = last % p->kernel * p->width;
        TYPED(square_row)(p, x, last + back);
        if (last < 0) continue;
        if (last < p->rows) {
            TYPED(window_row)(p, p->squares, front, p->base);
            TYPED(factor_row)(p);
        }
        for (int64_t c = 0; c < p->width; c++) {
            const int64_t at = last * p->line + c * LANES;
            VEC direct = (VEC){0}, term = (VEC){0};
            if (last < p->rows) {
                direct = TYPED(load)(dy + at) * TYPED(load)(p->factor + c * LANES);
                term = TYPED(load)(x + at) * direct / TYPED(load)(p->base + c * LANES);
            }
            TYPED(store)(p->direct + (place + c) * LANES, direct);
            TYPED(store)(p->others + (place + c) * LANES, term);
        }
        if (row < 0) continue;
        TYPED(window_row)(p, p->others, back, p->base);
        const REAL *direct = p->direct + row % p->kernel * p->width * LANES;
        for (int64_t c = 0; c < p->width; c++) {
            const int64_t at = row * p->line + c * LANES;
            const VEC indirect = TYPED(load)(x + at) * TYPED(load)(p->base + c * LANES);
            VEC v = TYPED(load)(direct + c * LANES) - 2 * p->power * p->scale * indirect;
            if (add) v += TYPED(load)(dx + at);
            TYPED(store)(dx + at, v);
        }
    }
}

/* `dy` is NULL in forward; `out` is y or dx. */
ALWAYS_INLINE void TYPED(lrn)(const mocha_args *args, const REAL *dy, const REAL *x, REAL *out, REAL *room,
                              const mocha_team *team) {
    const int64_t *sizes = args->sizes;
    const int64_t columns = sizes[COLUMNS], most = sizes[WITHIN] ? columns : mocha_min(columns, PIECE);
    const int64_t pieces = (columns + most - 1) / most, ring = sizes[WINDOW] * most * LANES;
    TYPED(piece) p = {.rows = sizes[ROWS], .line = columns * LANES, .kernel = sizes[WINDOW], .within = sizes[WITHIN] != 0,
                      .shift = (REAL)args->numbers[0], .scale = (REAL)args->numbers[1], .power = (REAL)args->numbers[2]};
    p.squares = room + team->rank * sizes[ROOM];
    p.others = p.squares + ring;
    p.direct = p.others + ring;
    p.base = p.direct + ring;
    p.factor = p.base + most * LANES;
    p.line_sums = p.factor + most * LANES;
    memset(p.line_sums, 0, (size_t)((most + 2 * (p.kernel - 1)) * LANES) * sizeof *room);
    int64_t i, last;
    mocha_share(sizes[PLANES] * pieces, 1, team, &i, &last);
    for (; i < last; i++) {
        const int64_t column = i % pieces * most, at = (i / pieces * p.rows * columns + column) * LANES;
        p.width = mocha_min(most, columns - column);
        memset(p.squares, 0, (size_t)(3 * ring) * sizeof *room);
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
KERNEL(lrn_backward) {
    TYPED(lrn)(args, args->buffers[0], args->buffers[1], args->buffers[2], args->buffers[3], team);
}
