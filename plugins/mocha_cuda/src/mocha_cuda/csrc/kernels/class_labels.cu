/* Class indices of floating-point labels. */

#include "rows.cuh"

KERNEL(labels_forward)(const REAL *x, int *status, int *labels, int n, int fault) {
    FOR_EACH(i, n) labels[i] = label_of(x[i], status, fault);
}
