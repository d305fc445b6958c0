/* Counts the labels that equal the class of the largest prediction. */

#include "block_sums.cuh"
#include "groups.cuh"

/* A number and its index. */
struct place {
    REAL x;
    int at;
};

/* NaN is larger than any number. The first of equal numbers is taken. */
static __device__ inline struct place larger(struct place a, struct place b) {
    const bool a_is_nan = a.x != a.x, b_is_nan = b.x != b.x;
    const bool equal = a.x == b.x || (a_is_nan && b_is_nan);
    const bool b_wins = equal ? b.at < a.at : b_is_nan || (!a_is_nan && b.x > a.x);
    return b_wins ? b : a;
}

/* The prediction is (rows, classes, positions). A group of `lanes` threads takes an item: a row at a position. */
KERNEL(accuracy_forward)
(const REAL *prediction, const int *labels, const int *valid_rows, int *status, double *total, int *counts,
 unsigned *ticket, int rows, int classes, int positions, int fault, int lanes) {
    const int valid = counted(valid_rows, rows) * positions;
    int right = 0;
    FOR_EACH_GROUP(item, valid, lanes) {
        const REAL *x = prediction + item_begin(item, valid, classes, positions);
        struct place best = {x[0], 0};
        for (int c = threadIdx.x % lanes; c < classes; c += lanes) best = larger(best, {x[c * positions], c});
        for (int distance = lanes / 2; distance; distance /= 2) {
            const REAL other = __shfl_xor_sync(0xffffffffu, best.x, distance);
            best = larger(best, {other, __shfl_xor_sync(0xffffffffu, best.at, distance)});
        }
        if (item >= valid || threadIdx.x % lanes) continue;
        if (labels[item] < 0 || labels[item] >= classes) report(status, fault);
        right += labels[item] == best.at;
    }
    if (sum_of_blocks(right, counts, ticket, blockIdx.x, gridDim.x) && threadIdx.x == 0) {
        total[0] += right;
        total[1] += valid;
    }
}
