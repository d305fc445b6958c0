/* Max and mean pooling over images, and over channels: then the channels are the rows of an image, the positions are
   its columns, and windows are one column wide.

   Forward, a thread computes the result of one window. Backward, a thread computes the gradients of one cell of the
   image. It gathers them from the windows that meet the cell, without atomics. For the common windows (WINDOW x WINDOW
   every STRIDE, which are literals; 0 stands for any other) a cell has STRIDE x STRIDE elements, all of which the same
   few windows meet: 3 x 3 every 2 reads four windows for four elements, where single elements would read nine. For
   other windows a cell is one element. */

#include "divide.cuh"
#include "mocha.cuh"

/* Windows along an axis of `size` elements. A mean is divided by the product of its window's extents along both axes.
   `part` is 1 / extent; `last` is that of the last window, the only one that may be clipped. */
struct axis {
    int size, number, kernel, stride, pad;
    REAL part, last;

    __device__ int start(int window) const { return window * stride - pad; }
    __device__ REAL part_of(int window) const { return window == number - 1 ? last : part; }
    __device__ bool has(int place) const { return (unsigned)place < (unsigned)size; }
    __device__ bool has_window(int window) const { return (unsigned)window < (unsigned)number; }
};

template <int WINDOW, int STRIDE> static __device__ inline axis literal(axis a) {
    if (WINDOW) a.kernel = WINDOW, a.stride = STRIDE;
    return a;
}

/* The plane, row and column of thread i, in planes of `rows` x `columns` threads. */
struct place {
    int plane, row, column;

    __device__ place(int i, int rows, int columns, unsigned long long by_rows, unsigned long long by_columns) {
        const int line = quotient(i, by_columns);
        column = i - line * columns;
        plane = quotient(line, by_rows);
        row = line - plane * rows;
    }
};

/* Elements in the padding or beyond never win. The first of equal elements wins, a NaN always does. `nothing` is the
   result of no elements: minus infinity, or 0. `winners` is NULL if no step reads them. */
template <bool MAX, int WINDOW, int STRIDE>
static __device__ inline void pool(const REAL *x, REAL *y, int *winners, int n, axis any_down, axis any_across,
                                   bool channels, unsigned long long by_rows, unsigned long long by_columns,
                                   REAL nothing, REAL floor) {
    const axis down = literal<WINDOW, STRIDE>(any_down), across = literal<WINDOW, STRIDE>(any_across);
    FOR_EACH(i, n) {
        const place at((int)i, down.number, across.number, by_rows, by_columns);
        const REAL *image = x + at.plane * down.size * across.size;
        const int top = down.start(at.row), left = across.start(at.column);
        /* Loops with literal bounds are unrolled and test each element; others end at the border. */
        const int u0 = WINDOW ? 0 : max(0, -top), u1 = WINDOW ? WINDOW : min(down.kernel, down.size - top);
        const int v0 = WINDOW ? 0 : max(0, -left), v1 = WINDOW ? WINDOW : min(across.kernel, across.size - left);
        REAL result = nothing;
        int winner = channels ? max(0, top) : max(0, top) * across.size + max(0, left);
#pragma unroll(WINDOW ? WINDOW : 1)
        for (int u = u0; u < u1; u++) {
#pragma unroll(WINDOW ? WINDOW : 1)
            for (int v = v0; v < v1; v++) {
                const int row = top + u, column = left + v, index = row * across.size + column;
                const REAL element = !WINDOW || (down.has(row) && across.has(column)) ? image[index] : nothing;
                if (!MAX) {
                    result += element;
                } else if (element > result || isnan(element)) {
                    result = element;
                    winner = channels ? row : index;
                }
            }
        }
        if (MAX) {
            if (winners) winners[i] = winner;
        } else {
            result *= down.part_of(at.row) * across.part_of(at.column);
        }
        y[i] = result <= floor ? floor : result;
    }
}

/* Two neighbours in a row. */
struct alignas(2 * sizeof(REAL)) pair {
    REAL first, second;
};

/* If there is a `top`, dy counts only where it is above `floor`; and dx likewise where `bottom` is. */
template <bool MAX, int WINDOW, int STRIDE>
static __device__ inline void unpool(const REAL *dy, const int *winners, const REAL *top, const REAL *bottom, REAL *dx,
                                     int n, axis any_down, axis any_across, bool channels, int rows, int columns,
                                     unsigned long long by_rows, unsigned long long by_columns,
                                     unsigned long long by_stride_down, unsigned long long by_stride_across, REAL floor,
                                     bool add) {
    constexpr int CELL = WINDOW ? STRIDE : 1, MEETING = WINDOW ? (WINDOW + STRIDE - 1) / STRIDE : 1;
    const axis down = literal<WINDOW, STRIDE>(any_down), across = literal<WINDOW, STRIDE>(any_across);
    const bool in_pairs =
        CELL == 2 && across.size % 2 == 0 && across.pad % 2 == 0 && (unsigned long long)dx % sizeof(pair) == 0;
    FOR_EACH(i, n) {
        const place at((int)i, rows, columns, by_rows, by_columns);
        const int row = WINDOW ? down.start(at.row) : at.row, column = WINDOW ? across.start(at.column) : at.column;
        /* The first and the last window that meet the cell. */
        int r0 = at.row - MEETING + 1, r1 = at.row, c0 = at.column - MEETING + 1, c1 = at.column;
        if (!WINDOW) {
            const int r = row + down.pad, c = column + across.pad;
            r0 = r < down.kernel ? 0 : quotient(r - down.kernel, by_stride_down) + 1;
            c0 = c < across.kernel ? 0 : quotient(c - across.kernel, by_stride_across) + 1;
            r1 = min(quotient(r, by_stride_down), down.number - 1);
            c1 = min(quotient(c, by_stride_across), across.number - 1);
        }
        REAL sums[CELL][CELL] = {};
#pragma unroll(MEETING)
        for (int a = 0; a < (WINDOW ? MEETING : r1 - r0 + 1); a++) {
#pragma unroll(MEETING)
            for (int b = 0; b < (WINDOW ? MEETING : c1 - c0 + 1); b++) {
                const int r = r0 + a, c = c0 + b, o = (at.plane * down.number + r) * across.number + c;
                if (WINDOW && !(down.has_window(r) && across.has_window(c))) continue;
                REAL gradient = !top || top[o] > floor ? dy[o] : 0;
                if (!MAX) gradient *= down.part_of(r) * across.part_of(c);
                const int winner = MAX ? winners[o] : 0;
#pragma unroll
                for (int p = 0; p < CELL; p++) {
#pragma unroll
                    for (int q = 0; q < CELL; q++) {
                        const int index = channels ? row + p : (row + p) * across.size + column + q;
                        /* The distances from the window's start, in literals. */
                        const int u = (MEETING - 1 - a) * STRIDE + p, v = (MEETING - 1 - b) * STRIDE + q;
                        const bool meets = !WINDOW || (u < WINDOW && v < WINDOW);
                        if (meets && (!MAX || winner == index)) sums[p][q] += gradient;
                    }
                }
            }
        }
#pragma unroll
        for (int p = 0; p < CELL; p++) {
            if (!down.has(row + p)) continue;
            const int start = (at.plane * down.size + row + p) * across.size + column;
            if (bottom) {
#pragma unroll
                for (int q = 0; q < CELL; q++)
                    if (across.has(column + q) && !(bottom[start + q] > floor)) sums[p][q] = 0;
            }
            if (in_pairs && across.has(column)) {
                pair *out = (pair *)(dx + start), both = {sums[p][0], sums[p][CELL - 1]};
                if (add) both.first += out->first, both.second += out->second;
                *out = both;
            } else {
#pragma unroll
                for (int q = 0; q < CELL; q++)
                    if (across.has(column + q)) give(dx + start + q, sums[p][q], add);
            }
        }
    }
}

#define AXIS(a) \
    int a##_size, int a##_number, int a##_kernel, int a##_stride, int a##_pad, double a##_part, double a##_last
#define GIVEN(a) \
    axis { a##_size, a##_number, a##_kernel, a##_stride, a##_pad, (REAL)a##_part, (REAL)a##_last }

/* Forward, n is the number of results. Backward, it is that of cells, which are `rows` x `columns` in each plane. */
#define POOLING(kind, MAX, suffix, K, S) \
    KERNEL(kind##_forward##suffix)(const REAL *__restrict__ x, REAL *__restrict__ y, int *__restrict__ winners, int n, \
                                   AXIS(down), AXIS(across), int channels, unsigned long long by_rows, \
                                   unsigned long long by_columns, double nothing, double floor) { \
        pool < MAX, K \
        , S > (x, y, winners, n, GIVEN(down), GIVEN(across), channels, by_rows, by_columns, (REAL)nothing, \
               (REAL)floor); \
    } \
    KERNEL(kind##_backward##suffix)( \
        const REAL *__restrict__ dy, const int *__restrict__ winners, const REAL *__restrict__ top, \
        const REAL *__restrict__ bottom, REAL *__restrict__ dx, int n, AXIS(down), AXIS(across), int channels, \
        int rows, int columns, unsigned long long by_rows, unsigned long long by_columns, \
        unsigned long long by_stride_down, unsigned long long by_stride_across, double floor, int add) { \
        unpool < MAX, K \
        , S > (dy, winners, top, bottom, dx, n, GIVEN(down), GIVEN(across), channels, rows, columns, by_rows, \
               by_columns, by_stride_down, by_stride_across, (REAL)floor, add); \
    }
#define WINDOWS(kind, MAX) \
    POOLING(kind, MAX, , 0, 0) \
    POOLING(kind, MAX, _2_2, 2, 2) \
    POOLING(kind, MAX, _3_2, 3, 2)

WINDOWS(max, true)
WINDOWS(mean, false)
