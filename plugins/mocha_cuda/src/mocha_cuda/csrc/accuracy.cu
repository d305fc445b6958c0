/* How many labels are the class of the largest prediction. */

#include "groups.cuh"

/* A number and where it is. */
struct place {
    REAL x;
    int at;
};

/* NaN is larger than any number; of equals the first is taken. */
static __device__ inline struct place larger(struct place a, struct place b) {
    const bool a_is_nan = a.x != a.x, b_is_nan = b.x != b.x;
    const bool equal = a.x == b.x || (a_is_nan && b_is_nan);
    const bool b_wins = equal ? b.at < a.at : b_is_nan || (!a_is_nan && b.x > a.x);
    return b_wins ? b : a;
}

/* What a block has counted goes into the total, if it is the only one, or into its count. One thread. */
static __device__ inline void give_count(int right, int valid, int *counts, double *total) {
    if (gridDim.x == 1) {
        total[0] += right;
        total[1] += valid;
    } else {
        counts[blockIdx.x] = right;
    }
}

/* Of a prediction (rows, classes, positions). A group of `lanes` threads has an item, a row at a position. */
KERNEL(accuracy_forward)
(const REAL *prediction, const int *labels, const int *valid_rows, int *status, double *total, int *counts, int rows,
 int classes, int positions, int fault, int lanes) {
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
    right = block_sum(right);
    if (threadIdx.x == 0) give_count(right, valid, counts, total);
}

/* The counts of n blocks into the total. One block. */
KERNEL(add_counts)(const int *counts, int n, const int *valid_rows, double *total, int rows, int positions) {
    int right = 0;
    FOR_EACH(i, n) right += counts[i];
    right = block_sum(right);
    if (threadIdx.x == 0) give_count(right, counted(valid_rows, rows) * positions, NULL, total);
}
