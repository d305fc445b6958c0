/* Local response normalization: y = x * base**-power, base = shift + scale * (sum of x*x over the window), with the
   scale of a mean. Backward, with direct = dy * base**-power,

     dx = direct - 2 * power * scale * x * (sum of x * direct / base over the mirrored window).

   A window across channels extends down only: the rows of its planes are the channels, and their columns the positions.

   A block computes a tile of up to TILE elements: several whole planes if they are small, else a piece of one. A piece
   includes the neighbours that the windows of its results reach and, backward, those that the neighbours' windows reach.
   The terms of the sums lie in shared memory. Each element sums its own window, first down and then across. A running
   sum, from which terms are subtracted, would keep a value that is not finite. x and `direct` stay in registers.

   The reason for tiles: backward needs base at all neighbours. Sums around each of them would take kernel**4 reads for
   an element; keeping base from forward would take another pass through memory in each half. A plane of 16 x 16 or
   32 x 32 is never cut, so that everything is read and written once, in order. With at most four elements for a thread,
   four or more blocks fit on a multiprocessor, and some read while others wait at barriers. */

#include "divide.cuh"
#include "mocha.cuh"

/* The number of elements of a tile, and of a thread. */
#define TILE 1024
#define SHARE (TILE / THREADS)

/* The sizes of planes and tiles, and how tiles cover planes. */
struct tiles {
    int n, height, width;                    /* planes */
    int planes, rows, columns;               /* of a tile */
    int before, left;                        /* rows and columns of a tile before its results */
    int row_step, column_step;               /* rows and columns of results */
    int down, across;                        /* tiles of a plane */
    unsigned long long by_plane, by_columns; /* to divide by rows * columns, and by columns */

    __device__ int count() const { return planes * rows * columns; }
};

/* A thread's elements: every THREADS-th. */
#define FOR_SHARE(j, t) _Pragma("unroll") for (int j = 0; j < SHARE; j++) if (j * THREADS < (t).count())

/* A thread's element number j in its block's tile. */
struct element {
    int at;          /* in the tile; beyond its end in the last threads */
    int row, column; /* in the tile's plane */
    int index;       /* in the blob, or -1 outside of it */
    bool is_result;  /* else it is a neighbour of results */
};

/* The tile's first plane, and its first row and column, which may be before the plane's. */
struct corner {
    int plane, row, column;

    __device__ corner(const tiles &t) {
        const int line = (int)blockIdx.x / t.across;
        column = ((int)blockIdx.x - line * t.across) * t.column_step - t.left;
        plane = line / t.down * t.planes;
        row = line % t.down * t.row_step - t.before;
    }
};

static __device__ inline element element_of(const tiles &t, const corner &c, int j) {
    element e;
    e.at = (int)threadIdx.x + j * THREADS;
    const int plane = quotient(e.at, t.by_plane), inside = e.at - plane * t.rows * t.columns;
    e.row = quotient(inside, t.by_columns);
    e.column = inside - e.row * t.columns;
    const int row = c.row + e.row, column = c.column + e.column;
    const bool exists =
        plane < t.planes && c.plane + plane < t.n && row >= 0 && row < t.height && column >= 0 && column < t.width;
    e.index = exists ? ((c.plane + plane) * t.height + row) * t.width + column : -1;
    e.is_result = exists && e.row >= t.before && e.row < t.before + t.row_step && e.column >= t.left &&
                  e.column < t.left + t.column_step;
    return e;
}

/* Sum over `kernel` (or WINDOW, if not 0) elements `apart`, from `front` before element number `place` of `size`. */
template <int WINDOW>
static __device__ inline REAL window_sum(const REAL *element, int place, int size, int apart, int kernel, int front) {
    REAL sum = 0;
    if (WINDOW) {
#pragma unroll
        for (int k = 0; k < WINDOW; k++) {
            const int other = place + k - front;
            if (other >= 0 && other < size) sum += element[(k - front) * apart];
        }
    } else {
        const int last = min(kernel - front, size - place);
        for (int k = max(-front, -place); k < last; k++) sum += element[k * apart];
    }
    return sum;
}

/* Sums of `terms` over the windows around a thread's elements. Sums down are kept in `room`. */
template <bool WITHIN, int WINDOW>
static __device__ inline void window_sums(const tiles &t, const element (&e)[SHARE], const REAL *terms, REAL *room,
                                          int kernel, int front, REAL (&sums)[SHARE]) {
    const int count = t.count();
    __syncthreads(); /* the terms have been written */
    FOR_SHARE(j, t) {
        if (e[j].at >= count) continue;
        sums[j] = window_sum<WINDOW>(terms + e[j].at, e[j].row, t.rows, t.columns, kernel, front);
        if (WITHIN) room[e[j].at] = sums[j];
    }
    __syncthreads(); /* the terms have been read, and the sums down written */
    if constexpr (WITHIN) {
        FOR_SHARE(j, t) {
            if (e[j].at < count) sums[j] = window_sum<WINDOW>(room + e[j].at, e[j].column, t.columns, 1, kernel, front);
        }
    }
}

/* base**-power. The usual powers are products of roots, which overflow only where the result does. */
static __device__ inline REAL factor_of(REAL base, REAL power) {
    if (power != (REAL)0.75 && power != (REAL)0.5) return pow(base, -power);
    const REAL root = rsqrt(base);
    return power == (REAL)0.5 ? root : root * sqrt(root);
}

/* `out` is dx if there is a dy, else y. */
template <bool BACKWARD, bool WITHIN, int WINDOW>
static __device__ inline void normalize(const REAL *dy, const REAL *x, REAL *out, const tiles &t, int any_kernel,
                                        REAL shift, REAL scale, REAL power, bool add) {
    __shared__ REAL terms[TILE], room[WITHIN ? TILE : 1];
    const int kernel = WINDOW ? WINDOW : any_kernel, front = (kernel - 1) / 2;
    const corner c(t);
    element e[SHARE];
    REAL in[SHARE], direct[SHARE], sums[SHARE] = {};
    FOR_SHARE(j, t) {
        e[j] = element_of(t, c, j);
        in[j] = e[j].index >= 0 ? x[e[j].index] : 0;
        direct[j] = BACKWARD && e[j].index >= 0 ? dy[e[j].index] : 0;
        terms[e[j].at] = in[j] * in[j];
    }
    window_sums<WITHIN, WINDOW>(t, e, terms, room, kernel, front, sums);
    FOR_SHARE(j, t) {
        const REAL base = shift + scale * sums[j], factor = factor_of(base, power);
        if (BACKWARD) {
            direct[j] *= factor;
            terms[e[j].at] = e[j].index >= 0 ? in[j] * direct[j] / base : 0;
        } else if (e[j].is_result) {
            out[e[j].index] = in[j] * factor;
        }
    }
    if constexpr (BACKWARD) {
        window_sums<WITHIN, WINDOW>(t, e, terms, room, kernel, kernel - 1 - front, sums);
        FOR_SHARE(j, t) {
            if (e[j].is_result) give(out + e[j].index, direct[j] - 2 * power * scale * in[j] * sums[j], add);
        }
    }
}

#define SIZES \
    int n, int height, int width, int planes, int rows, int columns, int before, int left, int row_step, \
        int column_step, int down, int across, unsigned long long by_plane, unsigned long long by_columns
#define GIVEN \
    tiles { \
        n, height, width, planes, rows, columns, before, left, row_step, column_step, down, across, by_plane, \
            by_columns \
    }

#define LRN(mode, WITHIN, suffix, K) \
    KERNEL(mode##_forward##suffix)(const REAL *__restrict__ x, REAL *__restrict__ y, SIZES, int kernel, double shift, \
                                   double scale, double power) { \
        normalize < false, WITHIN, K \
        > (nullptr, x, y, GIVEN, kernel, (REAL)shift, (REAL)scale, (REAL)power, false); \
    } \
    KERNEL(mode##_backward##suffix)(const REAL *__restrict__ dy, const REAL *__restrict__ x, REAL *__restrict__ dx, \
                                    SIZES, int kernel, double shift, double scale, double power, int add) { \
        normalize < true, WITHIN, K \
        > (dy, x, dx, GIVEN, kernel, (REAL)shift, (REAL)scale, (REAL)power, add); \
    }
#define MODE(mode, WITHIN) LRN(mode, WITHIN, , 0) LRN(mode, WITHIN, _3, 3) LRN(mode, WITHIN, _5, 5)

MODE(within, true)
MODE(across, false)
