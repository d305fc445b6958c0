/* Arithmetic on two blobs, element by element. */

#include "mocha.cuh"

/* Backward: da and db are NULL where they are not wanted, and may be one buffer: they are written one after the
   other. Operands that an operation does not read (a, b, y) are NULL. */
#define ELEMENT_WISE(name, FORWARD, LEFT, RIGHT) \
    KERNEL(name##_forward)(const REAL *a, const REAL *b, REAL *y, int n) { FOR_EACH(i, n) y[i] = FORWARD; } \
    KERNEL(name##_backward) \
    (const REAL *dy, [[maybe_unused]] const REAL *a, [[maybe_unused]] const REAL *b, [[maybe_unused]] const REAL *y, \
     REAL *da, REAL *db, int n, int add_a, int add_b) { \
        FOR_EACH(i, n) { \
            if (da) give(da + i, LEFT, add_a); \
            if (db) give(db + i, RIGHT, add_b); \
        } \
    }

ELEMENT_WISE(add, a[i] + b[i], dy[i], dy[i])
ELEMENT_WISE(subtract, a[i] - b[i], dy[i], -dy[i])
ELEMENT_WISE(multiply, a[i] * b[i], dy[i] * b[i], dy[i] * a[i])
ELEMENT_WISE(divide, a[i] / b[i], dy[i] / b[i], -(dy[i] / b[i]) * y[i])
