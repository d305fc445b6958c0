/* What updates of parameters share: rows of a table, whose last three numbers are these.
     long long elements, fault, first_block;
   The first block of a row follows the last one of the row before. Fault 0: new values are not checked. */

#pragma once

#include "tables.cuh"

/* The number of elements of a parameter that a block updates. */
#define TILE (4 * THREADS)

/* i is each element of a row that this thread updates. */
#define FOR_EACH_OF_ROW(i, row) \
    for (long long i = (blockIdx.x - (row).first_block) * TILE + threadIdx.x, \
                   end_of_##i = min((blockIdx.x - (row).first_block + 1) * TILE, (row).elements); \
         i < end_of_##i; i += THREADS)

/* The gradient with that of its penalty, decay * w (L2) or sparsity * sign(w) (L1). NaN has itself as its sign, as in
   NumPy. */
static __device__ inline REAL regularized(REAL g, REAL w, double decay, double sparsity) {
    if (decay != 0) g += (REAL)decay * w;
    if (sparsity != 0) g += (REAL)sparsity * (w > 0 ? 1 : w < 0 ? -1 : w);
    return g;
}
