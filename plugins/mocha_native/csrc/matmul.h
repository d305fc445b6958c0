/* Matrix products for kernels: C(m, c) = sum over r of A(m, r) * B(r, c), finished, where the columns c lie in vectors.

   A kernel's file includes this header for each REAL, and calls TYPED(product) in every thread of the team:

     for every group of panels of columns, each at most PANEL_VECTORS vectors wide
       for every chunk of terms r: the group's part of B stays in the second-level cache
         for every block of tiles of rows m, whose part of A is packed where that pays
           for every panel of the group, for every tile of the block
             sums in registers over all r of the chunk, then into C

   Strides are the caller's: factors describe A, matrix describes B and C, so that blobs with lanes are operands as they
   are, and a transposed operand is one with its strides exchanged. No alignment is assumed. B is packed, in room of the
   thread's own, unless it has lanes. A is packed if its rows lie across the lines of the cache, or have lanes and are
   long. Where all rows are in one tile, B is read once, as it is, by several rows at a time: memory sets the pace.

   Threads share the (group, tile) pairs. Chunks depend on the shapes alone, and an element of C is computed in the same
   order whoever does it: the bytes are the same for every number of threads.

   Room of a thread: MATMUL_PACKED_BYTES for A, and after them at most MATMUL_GROUP_BYTES for B. It may be NULL where B has
   lanes and the terms of a row of A are adjacent. */

#ifndef MOCHA_MATMUL_H
#define MOCHA_MATMUL_H

/* Sums of a tile, a row of the panel and a broadcast element have to fit into the registers. There have to be
   enough sums that a multiply-add need not wait for the one before. */
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define PANEL_VECTORS 4
#else
#define PANEL_VECTORS 2
#endif
#define TILE_ROWS 12
/* Bytes of B's part, which stays in the second-level cache while tiles go over it. */
#if LANE_BYTES >= 64
#define MATMUL_GROUP_BYTES (512 << 10)
#else
#define MATMUL_GROUP_BYTES (256 << 10)
#endif
#define MATMUL_PACKED_BYTES (128 << 10)
/* Terms of a chunk: at most, for the widest panels, where sums have to be whole when they are finished; and otherwise. */
#define MATMUL_WHOLE ((256 << 10) / PANEL_VECTORS / LANE_BYTES)
#define MATMUL_CHUNK 256
/* The least terms for which packing A pays where it has lanes. */
#define PACK_FROM 128
/* Bytes between terms from which on packing pays for a single panel of a few vectors. */
#define PAGE 4096
/* Terms of a chunk where all rows are in one tile: so many rows of B are read at once. */
#define MATMUL_STREAMS 16

/* The height of tiles with this number of vectors. */
static const int tile_rows[PANEL_VECTORS] = {
#if PANEL_VECTORS == 4
    12, 12, 8, 6
#else
    12, 6
#endif
};

#endif

/* A: element (m, r) is at at[m * row + r / group * far + r % group * near]; chunks begin with a group. */
typedef struct {
    const REAL *at;
    int64_t row, near, group, far;
} TYPED(factors);

/* B and C: vector v of row r is at at[r * row + v * vector]. If `apart` is not 0, elements of B's vectors are that far
   apart, and B is packed. */
typedef struct {
    REAL *at;
    int64_t row, vector, apart;
} TYPED(matrix);

static inline int64_t TYPED(place)(TYPED(matrix) m, int64_t row, int64_t vector) { return row * m.row + vector * m.vector; }

/* The sums of a tile over the first `depth` terms. */
ALWAYS_INLINE void TYPED(tile_of)(const int M, const int V, int64_t depth, TYPED(factors) a, TYPED(matrix) b,
                                  TYPED(matrix) sums) {
    VEC sum[TILE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 16
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[m][v] = (VEC){0};
    for (; depth > 0; depth -= a.group, a.at += a.far) {
        const REAL *factor = a.at;
        for (int64_t r = mocha_min(depth, a.group); r > 0; r--) {
            VEC in[PANEL_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) in[v] = TYPED(load)(b.at + v * b.vector);
#pragma GCC unroll 16
            for (int m = 0; m < M; m++) {
                const VEC times = TYPED(splat)(factor[m * a.row]);
#pragma GCC unroll 8
                for (int v = 0; v < V; v++) sum[m][v] += times * in[v];
            }
            b.at += b.row;
            factor += a.near;
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) TYPED(store)(sums.at + m * sums.row + v * sums.vector, sum[m][v]);
}

typedef void (*TYPED(tile))(int64_t, TYPED(factors), TYPED(matrix), TYPED(matrix));

#define TILE(M, V) \
    static void TYPED(tile_##M##x##V)(int64_t depth, TYPED(factors) a, TYPED(matrix) b, TYPED(matrix) sums) { \
        TYPED(tile_of)(M, V, depth, a, b, sums); \
    }
#define TILES_6(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V) TILE(5, V) TILE(6, V)
#define TILES_8(V) \
    TILES_6(V) \
    TILE(7, V) TILE(8, V)
#define TILES_12(V) \
    TILES_8(V) \
    TILE(9, V) TILE(10, V) TILE(11, V) TILE(12, V)
#define NAMES_6(V) \
    TYPED(tile_1x##V), TYPED(tile_2x##V), TYPED(tile_3x##V), TYPED(tile_4x##V), TYPED(tile_5x##V), TYPED(tile_6x##V)
#define NAMES_8(V) NAMES_6(V), TYPED(tile_7x##V), TYPED(tile_8x##V)
#define NAMES_12(V) NAMES_8(V), TYPED(tile_9x##V), TYPED(tile_10x##V), TYPED(tile_11x##V), TYPED(tile_12x##V)

#if PANEL_VECTORS == 4
TILES_12(1)
TILES_12(2)
TILES_8(3)
TILES_6(4)
/* clang-format off */
static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {
    {NAMES_12(1)}, {NAMES_12(2)}, {NAMES_8(3)}, {NAMES_6(4)}};
/* clang-format on */
#else
TILES_12(1)
TILES_6(2)
static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {{NAMES_12(1)}, {NAMES_6(2)}};
#endif

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

/* Finishes the sums of a tile, `columns` wide, and writes them to C from row m and vector v on. */
static void TYPED(finish_tile)(const REAL *sums, int64_t rows, int64_t columns, TYPED(matrix) c, int64_t m, int64_t v,
                        const TYPED(finish) *f, int first, int last) {
    enum { WIDE = PANEL_VECTORS * LANE_BYTES / sizeof(REAL) };
    const VEC zero = (VEC){0};
    if (f->update) {
        TYPED(update_block)(f, rows, columns, c.row, TYPED(place)(c, m, v), sums, WIDE);
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

/* Fetches the part of a parameter, and of its slots, that a tile is about to update, while its sums are made. */
static void TYPED(fetch)(const TYPED(finish) *f, TYPED(matrix) c, int64_t rows, int64_t columns, int64_t m, int64_t v) {
    const mocha_args *update = f->update->args;
    const int64_t slots = update->sizes[5];
    const REAL *slot = slots ? update->buffers[2] : c.at;
    for (int64_t k = 2;; slot = update->buffers[k]) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(REAL)) {
                const int64_t at = TYPED(place)(c, m + i, v) + j;
                if (k == 2) __builtin_prefetch(c.at + at, 1);
                __builtin_prefetch(slot + at, 1);
            }
        if (++k >= 2 + slots) break;
    }
}

/* Copies rows [first, last) of B from vector `begin` on, `columns` wide, one after the other. */
static void TYPED(pack_b)(TYPED(matrix) b, int64_t first, int64_t last, int64_t begin, int64_t columns, REAL *panel) {
    const int64_t wide = (columns + LANES - 1) / LANES * LANES;
    const REAL *from = b.at + TYPED(place)(b, first, begin);
    if (columns < wide) memset(panel, 0, (size_t)((last - first) * wide) * sizeof *panel);
    if (b.apart) {
        for (int64_t i = 0; i < columns; i++)
            for (int64_t r = 0; r < last - first; r++) panel[r * wide + i] = from[i * b.apart + r * b.row];
        return;
    }
    for (int64_t r = first; r < last; r++, panel += wide, from += b.row)
        memcpy(panel, from, (size_t)columns * sizeof *panel);
}

/* Copies the first `depth` terms of `rows` rows of A: tiles of `tall` rows, the last may be lower, and in each the rows
   of every term one after the other. */
static void TYPED(pack_a)(TYPED(factors) a, int64_t rows, int64_t tall, int64_t depth, REAL *to) {
    for (int64_t done = 0; done < depth; done += a.group, a.at += a.far) {
        const int64_t some = mocha_min(depth - done, a.group);
        if (a.row == 1) {
            for (int64_t r = 0; r < some; r++)
                for (int64_t m = 0; m < rows; m += tall) {
                    const int64_t height = mocha_min(tall, rows - m);
                    const REAL *from = a.at + r * a.near + m;
                    REAL *tile = to + m * depth + (done + r) * height;
                    if (height == 6) {
                        memcpy(tile, from, 6 * sizeof *tile);
                    } else {
                        for (int64_t i = 0; i < height; i++) tile[i] = from[i];
                    }
                }
        } else {
            for (int64_t m = 0; m < rows; m++) {
                const int64_t first = m / tall * tall, height = mocha_min(tall, rows - first);
                const REAL *from = a.at + m * a.row;
                REAL *tile = to + first * depth + done * height + m - first;
                for (int64_t r = 0; r < some; r++) tile[r * height] = from[r * a.near];
            }
        }
    }
}

/* C = A B, finished. `room` is the thread's own. No terms give zeros. */
static void TYPED(product)(int64_t rows, int64_t columns, int64_t depth, TYPED(factors) a, TYPED(matrix) b,
                           TYPED(matrix) c, const TYPED(finish) *f,
                    REAL *room, const mocha_team *team) {
    _Alignas(64) REAL finished[TILE_ROWS * PANEL_VECTORS * LANE_BYTES / sizeof(REAL)];
    if (rows == 0 || columns == 0) return;
    const TYPED(matrix) sums = {finished, PANEL_VECTORS * LANES, LANES, 0};
    /* Whether sums need no finishing, so that whole tiles are written to C directly. */
    const int direct = !(f->add || f->bias || f->mask || f->update) && f->floor == -(REAL)INFINITY;
    /* Panels of about the same width, the widest first in `widest`. */
    const int64_t vectors = (columns + LANES - 1) / LANES, panels = (vectors + PANEL_VECTORS - 1) / PANEL_VECTORS;
    const int64_t widest = (vectors + panels - 1) / panels, tall = tile_rows[widest - 1];
    const int64_t tiles = (rows + tall - 1) / tall;
    const int plain = b.apart || b.row != LANES, streams = plain && tiles == 1 && !b.apart && !f->update;
    /* Whether a row of A lies across the lines of the cache, and so far or so often that packing it pays. */
    const int far_apart = a.near * (int64_t)sizeof(REAL) >= PAGE && vectors >= 4;
    const int across = a.row == 1 && a.near > 1 && (far_apart || panels >= 4);
    const int64_t whole = MATMUL_WHOLE * PANEL_VECTORS / widest;
    const int64_t longest = streams ? MATMUL_STREAMS : (across || a.far) && !f->update ? MATMUL_CHUNK : whole;
    const int64_t chunks = mocha_max(1, (depth + longest - 1) / longest);
    const int64_t chunk = mocha_max(1, ((depth + chunks - 1) / chunks + LANES - 1) / LANES) * LANES;
    /* Where tiles are few, packing is a part of the work that threads should share. */
    const int64_t most = MATMUL_GROUP_BYTES / (widest * LANE_BYTES) / chunk;
    const int64_t group = streams ? (panels + 15) / 16 : mocha_max(1, mocha_min(mocha_min(panels, most), tiles));
    const int64_t fit = MATMUL_PACKED_BYTES / (tall * chunk * (int64_t)sizeof(REAL));
    const int pack = fit > 0 && tiles > 1 && (across || (a.far && chunk >= PACK_FROM && group >= 4));
    const int64_t block = !pack ? tiles : across ? mocha_min(fit, tiles) : 1;
    REAL *const packed = room ? room + MATMUL_PACKED_BYTES / sizeof(REAL) : NULL;
    int64_t next, end;
    mocha_share((panels + group - 1) / group * tiles, 1, team, &next, &end);
    while (next < end) {
        /* Tiles [low, high) of one group of panels. */
        const int64_t first = next / tiles * group, last = mocha_min(panels, first + group);
        const int64_t low = next % tiles, high = mocha_min(tiles, low + end - next);
        next += high - low;
        for (int64_t r = 0; r == 0 || r < depth; r += chunk)
            for (int64_t t0 = low; t0 < high; t0 += block) {
                const int64_t stop = mocha_min(depth, r + chunk), terms = stop - r, t1 = mocha_min(high, t0 + block);
                TYPED(factors) part_a = a;
                part_a.at += r / a.group * a.far + r % a.group * a.near + t0 * tall * a.row;
                if (pack) TYPED(pack_a)(part_a, mocha_min(t1 * tall, rows) - t0 * tall, tall, terms, room);
                for (int64_t t = t0; t < t1; t++) {
                    const int64_t m = t * tall, height = mocha_min(tall, rows - m);
                    TYPED(factors) tile = part_a;
                    tile.at += (t - t0) * tall * a.row;
                    if (pack) tile = (TYPED(factors)){room + (t - t0) * tall * terms, 1, height, terms, 0};
                    for (int64_t p = first; p < last; p++) {
                        const int64_t v = vectors * p / panels, wide = vectors * (p + 1) / panels - v;
                        const int64_t some = mocha_min(columns - v * LANES, wide * LANES);
                        TYPED(matrix) part = {b.at + TYPED(place)(b, r, v), b.row, b.vector, 0};
                        if (plain && (!streams || some < wide * LANES)) {
                            REAL *panel = streams ? packed : packed + (v - vectors * first / panels) * LANES * terms;
                            if (t == low) TYPED(pack_b)(b, r, stop, v, some, panel);
                            part = (TYPED(matrix)){panel, wide * LANES, LANES, 0};
                        }
                        if (f->update) TYPED(fetch)(f, c, height, some, m, v);
                        if (direct && chunks == 1 && some == wide * LANES) {
                            const TYPED(matrix) out = {c.at + TYPED(place)(c, m, v), c.row, c.vector, 0};
                            TYPED(tiles)[wide - 1][height - 1](terms, tile, part, out);
                        } else {
                            TYPED(tiles)[wide - 1][height - 1](terms, tile, part, sums);
                            TYPED(finish_tile)(finished, height, some, c, m, v, f, r == 0, stop == depth);
                        }
                    }
                }
            }
    }
}
