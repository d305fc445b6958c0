/* Matrix products for kernels: C(m, c) = sum over r of A(m, r) * B(r, c), finished, where the columns c lie in vectors.

   A kernel's file includes this header for each REAL, and calls TYPED(product) in every thread of the team:

     for every chunk of terms r
       for every block of tiles of rows m, whose part of A is packed and stays in the second-level cache
         for every group of panels of columns, whose part of B is packed and stays there, too
           for every tile of the block, for every panel of the group
             sums in registers over all r of the chunk, then into C

   Strides are the caller's: factors describe A, matrix describes B and C, so that blobs with lanes are operands as they
   are, and a transposed operand is one with its strides exchanged. No alignment is assumed. B is not packed if it has
   lanes, nor A if its terms are adjacent. Where all rows are in one tile, B is read once, as it
   is, by several rows at a time: memory sets the pace.

   Threads share the tiles, or the panels if there are more. Chunks depend on the shapes alone, and an element of C is
   computed in the same order whoever does it: the bytes are the same for every number of threads.

   Room of a thread, in elements: TYPED(packed_elements)(rows, depth) for A, and after them at most MATMUL_GROUP_BYTES
   for B, none if it has lanes, and MATMUL_GAP_BYTES to align it. */

#include "matmul_pack.h"
#include "matmul_tile.h"

#ifndef MOCHA_MATMUL_H
#define MOCHA_MATMUL_H

/* Bytes of A's part and of B's part, which stay in the second-level cache while tiles go over them. */
#if LANE_BYTES >= 64
#define MATMUL_PACKED_BYTES (768 << 10)
#define MATMUL_GROUP_BYTES (512 << 10)
#else
#define MATMUL_PACKED_BYTES (256 << 10)
#define MATMUL_GROUP_BYTES (256 << 10)
#endif
/* Terms of a chunk: at most, where sums have to be whole when they are finished, or nothing large is packed; and
   otherwise, twice as many where A is not packed. */
#define MATMUL_WHOLE 1024
#define MATMUL_CHUNK 256
/* Terms of a chunk where all rows are in one tile: so many rows of B are read at once. */
#define MATMUL_STREAMS 16
/* The bytes from which on terms are far apart, and the vectors of columns that read them a few times. */
#define MATMUL_PAGE 4096
#define MATMUL_FEW 4

#endif

/* A: element (m, r) is at at[m * row + r / group * far + r % group * near]; chunks begin with a group. Rows or terms are
   adjacent: row or near is 1. */
typedef struct {
    const REAL *at;
    int64_t row, near, group, far;
} TYPED(factors);

/* B and C: vector v of row r is at at[r * row + v * vector]. If `apart` is not 0, the elements of its vectors are that
   far apart, and rows are adjacent. */
typedef struct {
    REAL *at;
    int64_t row, vector, apart;
} TYPED(matrix);

static inline int64_t TYPED(place)(TYPED(matrix) m, int64_t row, int64_t vector) { return row * m.row + vector * m.vector; }

/* How a sum is finished. All pointers but `status` point to what belongs to the first element of C; NULL leaves the step
   out. */
typedef struct {
    int add; /* to what is there */
    const REAL *bias; /* one for each row of C, added */
    REAL floor; /* the least value; minus infinity: none */
    const REAL *mask; /* as C: where it is not above `mask_floor`, the sum counts as 0 */
    REAL mask_floor;
    const mocha_step *update; /* of C, a parameter; the sum is its gradient */
    mocha_args *block; /* room of this thread's own for the update's operands */
    const mocha_step *epilogue; /* runs on C, whose first element is element `first` of its operands */
    int64_t first;
} TYPED(finish);

/* Updates (rows, columns) elements of C, from element `at` on, by gradients whose rows are `g_row` apart. */
ALWAYS_INLINE void
TYPED(update_block)(const TYPED(finish) *f, int64_t rows, int64_t columns, int64_t row, int64_t at, const REAL *g,
                                int64_t g_row) {
    static const mocha_team alone = {0, 1, NULL};
    void *const *whole = f->update->args->buffers;
    mocha_args *block = f->block;
    const int64_t slots = block->sizes[5];
    block->buffers[0] = (REAL *)whole[0] + at;
    block->buffers[1] = (void *)(uintptr_t)g;
    for (int64_t i = 2; i < 2 + slots; i++) block->buffers[i] = (REAL *)whole[i] + at;
    block->sizes[0] = rows, block->sizes[1] = columns, block->sizes[2] = row, block->sizes[3] = g_row;
    f->update->kernel(block, &alone);
}

/* As finish_tile, where C is transposed. */
static void TYPED(finish_transposed)(const REAL *sums, int64_t rows, int64_t columns,
                                     TYPED(matrix) c, int64_t m, int64_t v,
                              int add) {
    enum { WIDE = PANEL_VECTORS * LANE_BYTES / sizeof(REAL) };
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES) {
            VEC square[LANE_BYTES / REAL_BYTES];
#pragma GCC unroll 16
            for (int k = 0; k < LANES; k++) square[k] = i + k < rows ? TYPED(load)(sums + (i + k) * WIDE + j) : (VEC){0};
            TYPED(transpose)(square);
            REAL *at = c.at + TYPED(place)(c, m + i, v) + j * c.apart;
            for (int64_t k = 0; k < mocha_min(LANES, columns - j); k++, at += c.apart)
                TYPED(store_some)(at, add ? TYPED(load_some)(at, rows - i) + square[k] : square[k], rows - i);
        }
}

/* Finishes the sums of a tile, `columns` wide, and writes them to C from row m and vector v on. */
static void TYPED(finish_tile)(const REAL *sums, int64_t rows, int64_t columns, TYPED(matrix) c, int64_t m, int64_t v,
                        const TYPED(finish) *f, int first, int last) {
    enum { WIDE = PANEL_VECTORS * LANE_BYTES / sizeof(REAL) };
    const VEC zero = (VEC){0};
    if (f->update) {
        TYPED(update_block)(f, rows, columns, c.row, TYPED(place)(c, m, v), sums, WIDE);
        return;
    }
    if (c.apart) {
        TYPED(finish_transposed)(sums, rows, columns, c, m, v, !first);
        return;
    }
    for (int64_t i = 0; i < rows; i++, m++, sums += WIDE)
        for (int64_t j = 0; j * LANES < columns; j++) {
            const int64_t at = TYPED(place)(c, m, v + j), some = columns - j * LANES;
            VEC sum = TYPED(load)(sums + j * LANES);
            if (f->mask) sum = TYPED(choose)(TYPED(load_some)(f->mask + at, some) > f->mask_floor, sum, zero);
            if (f->add || !first) sum += TYPED(load_some)(c.at + at, some);
            if (last) {
                if (f->bias) sum += f->bias[m];
                sum = TYPED(choose)(sum <= f->floor, zero + f->floor, sum);
            }
            TYPED(store_some)(c.at + at, sum, some);
        }
}

/* Runs the epilogue on rows of C from m on, and columns from vector v on. */
static void TYPED(run_epilogue)(const TYPED(finish) *f,
                                TYPED(matrix) c, int64_t m, int64_t rows, int64_t v, int64_t columns) {
    const int64_t first = f->first + TYPED(place)(c, m, v);
    if (c.row == LANES) {
        mocha_epilogue(f->epilogue, first, rows * LANES, (columns + LANES - 1) / LANES, c.vector);
    } else {
        mocha_epilogue(f->epilogue, first, columns, rows, c.row);
    }
}

/* Fetches the part of C that a tile is about to write, and of the slots of an update, while its sums are made. */
static void TYPED(fetch)(const TYPED(finish) *f, TYPED(matrix) c, int64_t rows, int64_t columns, int64_t m, int64_t v) {
    const int64_t slots = f->update ? f->update->args->sizes[5] : 0;
    const REAL *slot = c.at;
    for (int64_t k = 2;; slot = f->update->args->buffers[k++]) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(REAL))
                __builtin_prefetch(slot + TYPED(place)(c, m + i, v) + j, 1);
        if (k >= 2 + slots) break;
    }
}

/* Packs the rows [first, last) of A as tiles of `tall` rows. */
static void TYPED(pack_a)(
    TYPED(factors) a, int64_t rows, int64_t first, int64_t last, int64_t tall, int64_t r, int64_t terms,
                   REAL *to) {
    const REAL *from = a.at + first * a.row;
    if (!a.far) {
        TYPED(pack)(from + r * a.near, a.row, a.near, rows - first, last - first, tall, terms, to);
        return;
    }
    for (; first < last; first += tall, from += tall * a.row, to += TYPED(panel_elements)(tall, terms))
        for (int64_t done = 0; done < terms; done += a.group) {
            const int64_t height = mocha_min(tall, last - first), some = mocha_min(a.group, terms - done);
            TYPED(
                pack_transposed)(from + (r + done) / a.group * a.far, a.row, height, height, some, to + done * height);
        }
}

/* The elements of the packed part of A. */
static inline int64_t TYPED(packed_elements)(int64_t rows, int64_t depth) {
    return mocha_min(MATMUL_PACKED_BYTES / (int64_t)sizeof(REAL), TYPED(panel_elements)(depth, 1) * rows);
}

/* Sums of the first `depth` terms of a tile. */
static inline void TYPED(tile_sums)(int64_t height, int64_t wide, int64_t depth, TYPED(tile_run) run) {
    if (run.a_row) {
        TYPED(wide_tiles)[height == 8][wide - 1](depth, &run);
        return;
    }
    /* There is no tile of three vectors. */
    for (int64_t some; wide > 0; wide -= some, run.b += some * run.b_vector, run.c += some * run.c_vector) {
        some = wide == 4 && height <= 6 ? 4 : mocha_min(TILE_VECTORS, wide);
        TYPED(tiles)[some - 1][height - 1](depth, &run);
    }
}

/* C = A B, finished. `room` is the thread's own. No terms give zeros. */
static void TYPED(product)(int64_t rows, int64_t columns, int64_t depth, TYPED(factors) a, TYPED(matrix) b,
                           TYPED(matrix) c, const TYPED(finish) *f,
                    REAL *room, const mocha_team *team) {
    enum { WIDE = PANEL_VECTORS * LANE_BYTES / sizeof(REAL) };
    _Alignas(64) REAL finished[TILE_ROWS * WIDE];
    if (rows == 0 || columns == 0) return;
    const int64_t vectors = (columns + LANES - 1) / LANES;
    const int lanes = !b.apart && b.row == LANES, as_is = a.row != 1 && !a.far;
    /* Whether the terms of A, which are not adjacent, are so near and read so seldom that packing them would not pay. */
    const int far_apart = a.near * (int64_t)sizeof(REAL) >= MATMUL_PAGE && vectors >= MATMUL_FEW;
    const int across = a.row == 1 && !a.far && !far_apart && vectors < 4 * MATMUL_FEW;
    /* Panels and tiles of about the same width and height; the last may be less. */
    const int64_t most = as_is                 ? PANEL_VECTORS - (rows > 6 && rows <= 8)
                         : f->update || across ? PANEL_VECTORS
                                               : TILE_VECTORS;
    const int64_t panels = (vectors + most - 1) / most;
    const int64_t widest = (vectors + panels - 1) / panels;
    const int64_t tallest = as_is ? wide_tile_heights[widest - 1] : tile_heights[widest - 1];
    const int64_t tiles = (rows + tallest - 1) / tallest, tall = as_is ? tallest : (rows + tiles - 1) / tiles;
    const int streams = tiles == 1 && !lanes && !b.apart && !f->update;
    const int whole = f->update || across || (as_is && (lanes || c.apart));
    const int64_t longest = streams ? MATMUL_STREAMS : whole ? MATMUL_WHOLE : as_is ? 2 * MATMUL_CHUNK : MATMUL_CHUNK;
    const int64_t chunks = mocha_max(1, (depth + longest - 1) / longest);
    const int64_t chunk = mocha_max(1, ((depth + chunks - 1) / chunks + LANES - 1) / LANES) * LANES;
    int64_t low = 0, high = tiles, begin = 0, end = panels;
    if (tiles >= panels) {
        mocha_share(tiles, 1, team, &low, &high);
    } else {
        mocha_share(panels, 1, team, &begin, &end);
    }
    if (low == high || begin == end) return;
    const int64_t a_panel = TYPED(panel_elements)(tall, chunk), b_panel = TYPED(panel_elements)(widest * LANES, chunk);
    const int64_t fit = mocha_max(1, MATMUL_GROUP_BYTES / (int64_t)sizeof(REAL) / b_panel);
    const int64_t groups = streams ? 1 : (end - begin + fit - 1) / fit, group = (end - begin + groups - 1) / groups;
    const int one_group = groups == 1;
    /* C is written in the order of memory: the tiles of a panel one after the other if rows are adjacent. */
    const int down = c.row == LANES && !as_is && !across;
    const int64_t block = as_is || across ? tiles : MATMUL_PACKED_BYTES / (int64_t)sizeof(REAL) / a_panel;
    /* Aligned: a vector that lies in two lines of the cache takes two loads. */
    REAL *packed = room + TYPED(packed_elements)(rows, depth);
    packed += (0 - (uintptr_t)packed) % MATMUL_GAP_BYTES / sizeof(REAL);
    for (int64_t r = 0; r == 0 || r < depth; r += chunk) {
        const int64_t terms = mocha_min(depth - r, chunk);
        const int64_t a_step = TYPED(panel_elements)(tall, terms), b_step =
                                                                       TYPED(panel_elements)(widest * LANES, terms);
        for (int64_t t0 = low; t0 < high; t0 += block) {
            const int64_t t1 = mocha_min(high, t0 + block);
            /* Of what is as it is, only a last tile of fewer rows. */
            const int64_t packs = across ? rows : as_is ? rows / tall * tall : t0 * tall;
            if (packs < t1 * tall) TYPED(pack_a)(a, rows, packs, mocha_min(t1 * tall, rows), tall, r, terms, room);
            for (int64_t p0 = begin; p0 < end; p0 += group) {
                const int64_t p1 = mocha_min(end, p0 + group), v0 = p0 * widest, v1 = mocha_min(vectors, p1 * widest);
                /* Where B is read as it is, only vectors of a last panel that is not whole are packed. */
                const int64_t from = streams ? mocha_max(v0, columns / LANES / widest * widest) : v0;
                if (!lanes && v1 > from && (t0 == low || !one_group))
                    TYPED(pack)(b.at + TYPED(place)(b, r, from), b.apart ? b.apart : 1, b.row, columns - from * LANES,
                         (v1 - from) * LANES, widest * LANES, terms, packed);
                const int64_t tiles_here = t1 - t0, panels_here = p1 - p0;
                for (int64_t i = 0; i < (down ? panels_here : tiles_here); i++) {
                    for (int64_t j = 0; j < (down ? tiles_here : panels_here); j++) {
                        const int64_t t = t0 + (down ? j : i), p = p0 + (down ? i : j);
                        const int64_t m = t * tall, height = mocha_min(tall, rows - m);
                        TYPED(tile_run) run = {.a_row = 0};
                        run.a = as_is ? room : room + (t - t0) * a_step, run.a_term = height;
                        if (as_is && height == tall) run.a = a.at + m * a.row + r, run.a_row = a.row;
                        if (across) run.a = a.at + m + r * a.near, run.a_term = a.near;
                        const int64_t v = p * widest, wide = mocha_min(widest, vectors - v);
                        const int64_t some = mocha_min(columns - v * LANES, wide * LANES);
                        const int last = r + chunk >= depth;
                        if (lanes || (streams && v < from)) {
                            run.b = b.at + TYPED(place)(b, r, v), run.b_row = b.row, run.b_vector = b.vector;
                        } else {
                            run.b = packed + (streams ? 0 : (p - p0) * b_step);
                            run.b_row = wide * LANES, run.b_vector = LANES;
                        }
                        if (!streams && !c.apart) TYPED(fetch)(f, c, height, some, m, v);
                        if (some == wide * LANES && !f->mask && !f->update && !c.apart &&
                            !(last && (f->bias || f->floor != -(REAL)INFINITY))) {
                            run.c = c.at + TYPED(place)(c, m, v), run.c_row = c.row, run.c_vector = c.vector;
                            run.add = f->add || r > 0;
                            TYPED(tile_sums)(height, wide, terms, run);
                        } else {
                            run.c = finished, run.c_row = WIDE, run.c_vector = LANES, run.add = 0;
                            TYPED(tile_sums)(height, wide, terms, run);
                            TYPED(finish_tile)(finished, height, some, c, m, v, f, r == 0, last);
                        }
                    }
                    if (f->epilogue && r + chunk >= depth) {
                        const int64_t m = (down ? t0 : t0 + i) * tall, v = (down ? p0 + i : p0) * widest;
                        const int64_t to = (down ? t1 : t0 + i + 1) * tall, v_to = (down ? p0 + i + 1 : p1) * widest;
                        const int64_t some = mocha_min(columns, v_to * LANES) - v * LANES;
                        TYPED(run_epilogue)(f, c, m, mocha_min(rows, to) - m, v, some);
                    }
                }
            }
        }
    }
}
