/* Runs a traced function: chains of operations on blocks of elements (csrc/vector_links.h), and operations on numbers
   (csrc/vector_numbers.h).

   The elements are rows of columns; a function without reductions has one row. A row is computed in phases. Each begins
   with numbers of the row, such as the reductions of the phase before, and then runs a chain for every block of the row. */

#include "vector_functions.h"
#include "vector_numbers.h"

#ifndef MOCHA_VECTOR_PROGRAM_H
#define MOCHA_VECTOR_PROGRAM_H

/* Slots are the places of operands: first numbers; then operands in memory; then blocks; then kept rows. */
enum {
    VP_VECTORS = 8, /* of a block */
    VP_NUMBERS = 96,
    VP_OPERANDS = 32,
    VP_BLOCKS = 24,
    VP_LINKS = 256,
    VP_SLOTS = 192,
    VP_RUN = 32, /* blocks in a row: where compilers do not make jumps of calls, the stack grows meanwhile */
};

/* `bytes` of an element; 0: there is one number, or one for each row. `row` and `part` are the bytes to the next row and
   the next part. */
typedef struct {
    int64_t address, bytes, row, part, written;
} vp_operand;

#define KERNELS(K) \
    K(vector_program_cells) \
    K(vector_program) \
    K(vector_program_sums)
#define NUMBER_CONSTANT(name, ...) {"vp_" #name, VP_##name},
#define CONSTANTS(C) \
    VP_NUMBER_FUNCTIONS(NUMBER_CONSTANT) \
    VP_NUMBER_OPERATIONS(NUMBER_CONSTANT) \
    VP_LINKS_ALL \
    C(vp_numbers, VP_NUMBERS) \
    C(vp_operands, VP_OPERANDS) \
    C(vp_blocks, VP_BLOCKS) \
    C(vp_links, VP_LINKS) \
    C(vp_slots, VP_SLOTS) \
    C(vp_vectors, VP_VECTORS)

#endif

#define BLOCK (VP_VECTORS * LANES)

typedef struct {
    char *at;
    int64_t moves, row;
} TYPED(vp_place);
typedef struct TYPED(vp_link) TYPED(vp_link);
typedef struct {
    const TYPED(vp_link) *chain; /* its first link */
    int64_t end;                  /* of the blocks for which it runs, in bytes */
    const mocha_team *team;
    const vp_instruction *code;
    const vp_operand *operands;
    const double *constants;
    int64_t n_numbers, n_operands, n_blocks, once, decided;
    int64_t row, part;
    int64_t pitch;  /* elements from a row of each operand to the next; 0: operands say it */
    int64_t few;    /* how many elements the block has if it is not whole; else 0 */
    int32_t finite; /* of the block before; -1: there is none */
    VEC poison;     /* NaN where a checked element of this block is not finite, else 0 */
    double numbers[VP_NUMBERS];
    VEC splats[VP_NUMBERS];
    VEC scratch[VP_VECTORS];
    VEC blocks[VP_BLOCKS][VP_VECTORS];
    VEC rest[VP_OPERANDS][VP_VECTORS]; /* copies of the elements after the last whole block */
    char *kept; /* rows of results that later phases take, each of whole blocks */
} TYPED(vp_machine);

/* Of a kept row: whole blocks. */
static int64_t TYPED(vp_row_bytes)(int64_t columns) { return (columns + BLOCK - 1) / BLOCK * BLOCK * REAL_BYTES; }

static REAL TYPED(vp_neutral)(int32_t op) { return op == VP_sum_of ? 0 : op == VP_max_of ? (REAL)-INFINITY : (REAL)INFINITY; }

static void TYPED(vp_set)(TYPED(vp_machine) *m, int32_t to, int32_t dtype, double x) {
    x = vp_rounded(dtype, x);
    m->numbers[to] = x;
    m->splats[to] = dtype == VP_BOOL ? (VEC)((IVEC){0} - (INT)(x != 0)) : TYPED(splat)((REAL)x);
}

static void TYPED(vp_clear)(TYPED(vp_machine) *m, const vp_instruction *reduction) {
    for (int k = 0; k < VP_VECTORS; k++) m->blocks[reduction->a][k] = TYPED(splat)(TYPED(vp_neutral)(reduction->op));
}

static double TYPED(vp_reduced)(const TYPED(vp_machine) *m, const vp_instruction *i) {
    REAL x[BLOCK];
    memcpy(x, m->blocks[i->a], sizeof x);
    for (int width = BLOCK / 2; width; width /= 2)
        for (int k = 0; k < width; k++) {
            const REAL a = x[k], b = x[k + width];
            x[k] = i->op == VP_sum_of ? a + b : (i->op == VP_max_of ? a > b : a < b) || a != a ? a : b;
        }
    return (double)x[0];
}

static void TYPED(vp_run_number)(TYPED(vp_machine) *m, const vp_instruction *i) {
    const double *x = m->numbers;
    char *at = NULL;
    switch (i->op) {
    case VP_store:
        if (m->team->rank != 0) return;
        /* fall through */
    case VP_store_row:
    case VP_store_changed:
        at = (char *)(intptr_t)m->operands[i->to].address + m->row * m->operands[i->to].row;
        if (i->op != VP_store_changed || x[i->a] != x[i->b]) vp_write(at, i->dtype, x[i->a]);
        return;
    case VP_constant:
        TYPED(vp_set)(m, i->to, i->dtype, m->constants[i->a]);
        return;
    case VP_input:
        at = (char *)(intptr_t)m->operands[i->a].address + m->row * m->operands[i->a].row;
        TYPED(vp_set)(m, i->to, i->dtype, vp_read(at, i->c));
        return;
    case VP_all_finite:
        TYPED(vp_set)(m, i->to, VP_BOOL, m->finite);
        return;
    case VP_inverse:
        TYPED(vp_set)(m, i->to, i->dtype, TYPED(invertible)((REAL)x[i->a]) ? 1 / x[i->a] : 0);
        return;
    case VP_sum_of:
    case VP_max_of:
    case VP_min_of:
        TYPED(vp_set)(m, i->to, i->dtype, TYPED(vp_reduced)(m, i));
        TYPED(vp_clear)(m, i);
        return;
    default:
        TYPED(vp_set)(m, i->to, i->dtype, vp_number(i->op, x[i->a], x[i->b], x[i->c]));
    }
}

/* After all checks of a block: computes the numbers anew that depend on them, if these differ. */
static void TYPED(vp_decide)(TYPED(vp_machine) *m) {
    const int32_t finite = !TYPED(any_lane)(m->poison != 0);
    m->poison = (VEC){0};
    if (finite == m->finite) return;
    m->finite = finite;
    for (int64_t i = m->once; i < m->decided; i++) TYPED(vp_run_number)(m, m->code + i);
}

#include "vector_links.h"

/* Bytes from a row of an operand to the next. */
static inline int64_t TYPED(vp_row)(const TYPED(vp_machine) *m, const vp_operand *operand) {
    return m->pitch ? m->pitch * operand->bytes : operand->row;
}

/* The places of all slots for blocks of the current row, or for copies of its rest. */
static void TYPED(vp_find)(TYPED(vp_machine) *m,
                           TYPED(vp_place) *places, int64_t slots, int64_t kept_bytes, int is_rest) {
    for (int64_t slot = 0; slot < m->n_numbers; slot++) *places++ = (TYPED(vp_place)){(char *)&m->splats[slot], 0, 0};
    for (int64_t k = 0; k < m->n_operands; k++) {
        const vp_operand *operand = m->operands + k;
        const int64_t row = TYPED(vp_row)(m, operand);
        char *at = (char *)(intptr_t)operand->address + m->row * row + m->part * operand->part;
        *places++ = is_rest ? (TYPED(vp_place)){(char *)m->rest[k], 0, 0} : (TYPED(vp_place)){at, -1, row};
    }
    for (int64_t k = 0; k < m->n_blocks; k++) *places++ = (TYPED(vp_place)){(char *)m->blocks[k], 0, 0};
    for (int64_t k = 0; k < slots - m->n_numbers - m->n_operands - m->n_blocks; k++)
        *places++ = (TYPED(vp_place)){m->kept + k * kept_bytes, -1, 0};
}

/* A link. code: the operation, and the slots of operands; -1: none. */
static TYPED(vp_link) TYPED(vp_bound)(const TYPED(vp_place) *places, const int32_t *code) {
    TYPED(vp_link) link;
    link.run = TYPED(vp_links)[code[0]];
    for (int k = 0; k < 5; k++) link.operands[k] = places[code[1 + k]];
    return link;
}

/* Copies the `few` elements of operands from column i on to the rests, or back. The last of them is repeated. */
static void TYPED(vp_copy_rest)(TYPED(vp_machine) *m, int64_t i, int back) {
    for (int64_t k = 0; k < m->n_operands; k++) {
        const vp_operand *operand = m->operands + k;
        char *at = (char *)(intptr_t)operand->address + m->row * TYPED(vp_row)(m, operand) + m->part * operand->part +
                   i * operand->bytes;
        const size_t bytes = (size_t)(m->few * operand->bytes);
        REAL *reals = (REAL *)m->rest[k];
        if (bytes && back) {
            if (operand->written) memcpy(at, reals, bytes);
        } else if (bytes) {
            memcpy(reals, at, bytes);
            if (operand->bytes == 1)
                memset((char *)reals + m->few, 0, (size_t)(BLOCK - m->few));
            else
                for (int64_t j = m->few; j < BLOCK; j++) reals[j] = reals[m->few - 1];
        }
    }
}

static void TYPED(vp_run_chain)(TYPED(vp_machine) *m, const TYPED(vp_link) *links, int64_t first, int64_t last) {
    const VEC v = {0};
    m->chain = links, m->end = last * REAL_BYTES;
    links->run(m, links, first * REAL_BYTES, v, v, v, v, v, v, v, v);
}

/* Computes columns [first, last) of the rows [row, rows) of a part. */
static void TYPED(vp_rows)(
    TYPED(vp_machine) *m, const mocha_args *args, int64_t row, int64_t rows, int64_t first, int64_t last) {
    const int32_t (*code)[6] = args->buffers[1];
    const int32_t (*phases)[2] = args->buffers[4];
    const int64_t n_phases = args->sizes[9], n_links = n_phases ? phases[n_phases - 1][1] : 0;
    const int64_t kept_bytes = TYPED(vp_row_bytes)(args->sizes[1]);
    const int64_t slots = m->n_numbers + m->n_operands + m->n_blocks + args->sizes[11];
    TYPED(vp_place) places[VP_SLOTS];
    TYPED(vp_link) links[VP_LINKS], rest[VP_LINKS];
    m->row = row;
    TYPED(vp_find)(m, places, slots, kept_bytes, 0);
    for (int64_t k = 0; k < n_links; k++) links[k] = TYPED(vp_bound)(places, code[k]);
    if ((last - first) % BLOCK) {
        TYPED(vp_find)(m, places, slots, kept_bytes, 1);
        for (int64_t k = 0; k < n_links; k++) rest[k] = TYPED(vp_bound)(places, code[k]);
    }
    for (; m->row < rows; m->row++) {
        int64_t number = m->decided, link = 0;
        for (int64_t phase = 0; phase < n_phases; phase++) {
            for (; number < phases[phase][0]; number++) TYPED(vp_run_number)(m, m->code + number);
            if (link == phases[phase][1]) continue;
            const int64_t end = first + (last - first) / BLOCK * BLOCK;
            for (int64_t i = first; i < end; i += VP_RUN * BLOCK)
                TYPED(vp_run_chain)(m, links + link, i, mocha_min(i + VP_RUN * BLOCK, end));
            if (end < last) {
                m->few = last - end;
                TYPED(vp_copy_rest)(m, end, 0);
                TYPED(vp_run_chain)(m, rest + link, end, end + BLOCK);
                TYPED(vp_copy_rest)(m, end, 1);
                m->few = 0;
            }
            link = phases[phase][1];
        }
        for (int64_t k = 0; k < n_links; k++)
            for (int j = 0; j < 5; j++) links[k].operands[j].at += links[k].operands[j].row;
    }
}

/* Copies numbers that the program may change, before any thread does. buffers: the operands, the numbers' copies;
   sizes: how many; operands: the place and the bytes of each. */
KERNEL(vector_program_cells) {
    UNUSED(team);
    const vp_operand *cells = args->buffers[0];
    int64_t *copies = args->buffers[1];
    for (int64_t i = 0; i < args->sizes[0]; i++)
        memcpy(copies + i, (const void *)(intptr_t)cells[i].address, (size_t)cells[i].bytes);
}

/* buffers: numbers, links, constants, operands, phases: where the numbers and the links of each end; sizes: the first
   column, columns, rows, elements from a row to the next if operands do not say it, numbers, operands, blocks, the
   numbers that are computed once, those and the ones that depend on checks, phases, and parts, kept rows; then, in
   buffers: memory for these of each thread. Parts are rows of which sums are made; without them, threads share the rows,
   or the columns of one row. */
KERNEL(vector_program) {
    const int64_t rows = args->sizes[2], columns = args->sizes[1], parts = args->sizes[10];
    TYPED(vp_machine) m;
    m.team = team, m.code = args->buffers[0], m.constants = args->buffers[2], m.operands = args->buffers[3];
    m.n_numbers = args->sizes[4], m.n_operands = args->sizes[5], m.n_blocks = args->sizes[6];
    m.once = args->sizes[7], m.decided = args->sizes[8];
    m.kept = (char *)args->buffers[5] + team->rank * args->sizes[11] * TYPED(vp_row_bytes)(columns);
    m.pitch = args->sizes[3];
    m.row = m.part = m.few = 0, m.finite = -1, m.poison = (VEC){0};
    const int32_t (*phases)[2] = args->buffers[4];
    const int64_t all = args->sizes[9] ? phases[args->sizes[9] - 1][0] : m.decided;
    for (int64_t i = 0; i < m.once; i++) TYPED(vp_run_number)(&m, m.code + i);
    for (int64_t i = m.decided; i < all; i++)
        if (m.code[i].op >= VP_sum_of) TYPED(vp_clear)(&m, m.code + i);
    int64_t first, last;
    if (parts) {
        const int64_t some = (rows + parts - 1) / parts;
        mocha_share(parts, 1, team, &first, &last);
        for (m.part = first; m.part < last; m.part++) {
            for (int64_t k = 0; k < m.n_operands; k++)
                if (m.operands[k].part)
                    memset((char *)(intptr_t)m.operands[k].address + m.part * m.operands[k].part, 0,
                           (size_t)m.operands[k].part);
            TYPED(vp_rows)(&m, args, mocha_min(m.part * some, rows), mocha_min((m.part + 1) * some, rows), 0, columns);
        }
    } else if (rows == 1) {
        mocha_share(columns, mocha_max(BLOCK, GRAIN), team, &first, &last);
        if (first < last) TYPED(vp_rows)(&m, args, 0, 1, args->sizes[0] + first, args->sizes[0] + last);
    } else {
        mocha_share(rows, 1, team, &first, &last);
        TYPED(vp_rows)(&m, args, first, last, args->sizes[0], args->sizes[0] + columns);
    }
}

/* Adds the sums of the parts. buffers: these, result; sizes: parts, columns, whether it is added. */
KERNEL(vector_program_sums) {
    const REAL *sums = args->buffers[0];
    REAL *result = args->buffers[1];
    const int64_t columns = args->sizes[1];
    int64_t first, last;
    mocha_share(columns, GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        REAL sum = args->sizes[2] ? result[i] : 0;
        for (int64_t part = 0; part < args->sizes[0]; part++) sum += sums[part * columns + i];
        result[i] = sum;
    }
}

#undef BLOCK
#define VP_LINK(name) {"vl_" #name, VP_LINK_##name},
