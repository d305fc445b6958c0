/* Softmax loss, multinomial logistic loss and square loss. Rows from valid_rows on do not count, and have no
   gradient.

   The number of blocks that sum a loss depends only on the shape, so that results are the same on every device. */

#include "block_sums.cuh"
#include "softmax.cuh"

/* The least probability; smaller ones count as this, so that the loss stays finite. */
static __device__ inline REAL clamped(REAL probability) {
    const REAL smallest = (REAL)1e-20;
    return probability <= smallest ? smallest : probability;
}

/* A label that is the index of a class. */
static __device__ inline bool is_class(int label, int classes) { return label >= 0 && label < classes; }

/* The loss: the sum of the parts of all threads, divided by `divisor`, times `weight`. Returns true in the thread that
   has it. */
static __device__ inline bool finish(REAL part, REAL *sums, unsigned *ticket, REAL *loss, int divisor,
                                     REAL weight = 1) {
    if (!sum_of_blocks(part, sums, ticket, blockIdx.x, gridDim.x) || threadIdx.x) return false;
    *loss = part / max(divisor, 1) * weight;
    return true;
}

/* -log(p) at the label, where p is the softmax of x. If `probability` is not NULL, p is written there. */
KERNEL(softmax_loss_forward)
(const REAL *x, const int *labels, const int *valid_rows, int *status, REAL *loss, REAL *probability, REAL *sums,
 unsigned *ticket, int rows, int classes, int positions, int fault, int lanes) {
    const int items = rows * positions, valid = counted(valid_rows, rows) * positions;
    REAL part = 0;
    FOR_EACH_GROUP(item, items, lanes) {
        const int begin = item_begin(item, items, classes, positions);
        const struct softmax row = softmax_of(x + begin, classes, positions, lanes);
        if (item >= items) continue;
        for (int c = threadIdx.x % lanes; probability && c < classes; c += lanes) {
            const int at = begin + c * positions;
            probability[at] = row.of(x[at]);
        }
        if (threadIdx.x % lanes || item >= valid) continue;
        const bool known = is_class(labels[item], classes);
        if (!known) report(status, fault);
        part -= log(clamped(known ? row.of(x[begin + labels[item] * positions]) : 0));
    }
    finish(part, sums, ticket, loss, valid);
}

/* (p - 1 at the label) * dy / labels that count. */
KERNEL(softmax_loss_backward)
(const REAL *dy, const int *labels, const int *valid_rows, const REAL *probability, REAL *dx, int rows, int classes,
 int positions, int add) {
    const int size = classes * positions, valid = counted(valid_rows, rows);
    const REAL scale = *dy / max(valid * positions, 1);
    FOR_EACH(i, rows * size) {
        const int n = (int)i / size, c = (int)i % size / positions, p = (int)i % positions;
        const REAL at_label = n < valid && labels[n * positions + p] == c ? 1 : 0;
        give(dx + i, n < valid ? (probability[i] - at_label) * scale : 0, add);
    }
}

/* Forward and backward of the loss and of the objective: `weight` times the loss, and the gradient of x. seed is the
   gradient of the objective. `bad_objective` is the fault if the objective is not finite; 0 if it is not checked. */
KERNEL(softmax_loss_step)
(const REAL *x, const int *labels, const int *valid_rows, int *status, const REAL *seed, REAL *objective, REAL *dx,
 REAL *sums, unsigned *ticket, int rows, int classes, int positions, int fault, int bad_objective, int lanes,
 double weight) {
    const int items = rows * positions, valid = counted(valid_rows, rows) * positions;
    const REAL scale = *seed * (REAL)weight / max(valid, 1);
    REAL part = 0;
    FOR_EACH_GROUP(item, items, lanes) {
        const int begin = item_begin(item, items, classes, positions);
        const struct softmax row = softmax_of(x + begin, classes, positions, lanes);
        if (item >= items) continue;
        const bool counts = item < valid;
        const int label = counts ? labels[item] : 0;
        for (int c = threadIdx.x % lanes; c < classes; c += lanes) {
            const int at = begin + c * positions;
            const REAL at_label = c == label ? 1 : 0;
            dx[at] = counts ? (row.of(x[at]) - at_label) * scale : 0;
        }
        if (threadIdx.x % lanes || !counts) continue;
        const bool known = is_class(label, classes);
        if (!known) report(status, fault);
        part -= log(clamped(known ? row.of(x[begin + label * positions]) : 0));
    }
    const bool given = finish(part, sums, ticket, objective, valid, (REAL)weight);
    if (given && bad_objective && !isfinite(*objective)) report(status, bad_objective);
}

/* -log(p) at the label, where p is the input. */
KERNEL(multinomial_logistic_loss_forward)
(const REAL *probability, const int *labels, const int *valid_rows, int *status, REAL *loss, REAL *sums,
 unsigned *ticket, int rows, int classes, int positions, int fault) {
    const int valid = counted(valid_rows, rows) * positions;
    REAL part = 0;
    FOR_EACH(item, valid) {
        const bool known = is_class(labels[item], classes);
        if (!known) report(status, fault);
        const int begin = item_begin(item, valid, classes, positions);
        part -= log(clamped(known ? probability[begin + labels[item] * positions] : 0));
    }
    finish(part, sums, ticket, loss, valid);
}

/* -dy / (labels that count * p) at the label. */
KERNEL(multinomial_logistic_loss_backward)
(const REAL *dy, const REAL *probability, const int *labels, const int *valid_rows, REAL *dx, int rows, int classes,
 int positions, int add) {
    const int size = classes * positions, valid = counted(valid_rows, rows);
    const REAL scale = *dy / max(valid * positions, 1);
    FOR_EACH(i, rows * size) {
        const int n = (int)i / size, c = (int)i % size / positions, p = (int)i % positions;
        const bool at_label = n < valid && labels[n * positions + p] == c;
        give(dx + i, at_label ? -scale / clamped(probability[i]) : 0, add);
    }
}

/* Half of the squares of differences, averaged over the rows that count. */
KERNEL(square_loss_forward)
(const REAL *prediction, const REAL *label, const int *valid_rows, REAL *loss, REAL *sums, unsigned *ticket, int rows,
 int features) {
    const int valid = counted(valid_rows, rows);
    REAL part = 0;
    FOR_EACH(i, valid * features) {
        const REAL difference = prediction[i] - label[i];
        part += difference * difference;
    }
    finish(part, sums, ticket, loss, 2 * valid);
}

/* The gradients of prediction and label, each NULL where it is not wanted. */
KERNEL(square_loss_backward)
(const REAL *dy, const REAL *prediction, const REAL *label, const int *valid_rows, REAL *left, REAL *right, int rows,
 int features, int add_left, int add_right) {
    const int valid = counted(valid_rows, rows);
    const REAL scale = *dy / max(valid, 1);
    FOR_EACH(i, rows * features) {
        const REAL gradient = i < (long long)valid * features ? (prediction[i] - label[i]) * scale : 0;
        if (left) give(left + i, gradient, add_left);
        if (right) give(right + i, -gradient, add_right);
    }
}
