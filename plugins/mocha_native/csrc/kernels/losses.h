/* Softmax loss, multinomial logistic loss and square loss. Rows from valid_rows on have no part in a loss, and no gradient. */

#ifndef MOCHA_LOSSES_H
#define MOCHA_LOSSES_H

/* Probabilities below it count as this, so that the loss stays finite. */
#define SMALLEST 1e-20
#define KERNELS(K) \
    K(softmax_loss_forward) K(softmax_loss_backward) K(multinomial_logistic_loss_forward) \
    K(multinomial_logistic_loss_backward) K(square_loss_forward) K(square_loss_backward)

#endif

#include "softmax_rows.h"

/* The mean of -log(probability) at the labels that count; sizes: rows, classes, positions, fault. */
static REAL TYPED(negative_log_likelihood)(const REAL *probability, const int32_t *labels, const int32_t *rows,
                                           int32_t *status, const int64_t *sizes) {
    const int64_t classes = sizes[1], positions = sizes[2], valid = mocha_valid_rows(rows, sizes[0]);
    REAL total = 0;
    for (int64_t n = 0; n < valid; n++)
        for (int64_t p = 0; p < positions; p++) {
            const int32_t label = labels[n * positions + p];
            REAL at_label = 0;
            if (label >= 0 && label < classes) {
                at_label = probability[(n * classes + label) * positions + p];
            } else if (*status == 0) {
                *status = (int32_t)sizes[3];
            }
            total += LOG(at_label <= (REAL)SMALLEST ? (REAL)SMALLEST : at_label);
        }
    return -total / (REAL)(valid * positions > 1 ? valid * positions : 1);
}

/* Threads share the probabilities; the first one sums up, in the order of the rows.
   buffers: x, labels, valid_rows, status, loss, probabilities; sizes: rows, classes, positions, fault. */
KERNEL(softmax_loss_forward) {
    void *const *b = args->buffers;
    TYPED(softmax_rows)(b[0], b[5], args->sizes, team);
    mocha_meet(team);
    if (team->rank == 0) *(REAL *)b[4] = TYPED(negative_log_likelihood)(b[5], b[1], b[2], b[3], args->sizes);
}

/* (probability - 1 at the label) * scale. buffers: dy, labels, valid_rows, probabilities, dx; sizes: rows, classes,
   positions, whether it is added. */
KERNEL(softmax_loss_backward) {
    const REAL *dy = args->buffers[0], *probability = args->buffers[3];
    const int32_t *labels = args->buffers[1];
    REAL *dx = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2];
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]), size = classes * positions;
    const REAL scale = *dy / (REAL)(valid * positions > 1 ? valid * positions : 1);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) {
        REAL *out = dx + n * size;
        if (!args->sizes[3]) memset(out, 0, (size_t)size * sizeof *out);
        if (n >= valid) continue;
        for (int64_t i = 0; i < size; i++) out[i] += probability[n * size + i] * scale;
        for (int64_t p = 0; p < positions; p++) {
            const int32_t label = labels[n * positions + p];
            if (label >= 0 && label < classes) out[label * positions + p] -= scale;
        }
    }
}

/* One thread runs it. buffers: probabilities, labels, valid_rows, status, loss; sizes: rows, classes, positions, fault. */
KERNEL(multinomial_logistic_loss_forward) {
    void *const *b = args->buffers;
    UNUSED(team);
    *(REAL *)b[4] = TYPED(negative_log_likelihood)(b[0], b[1], b[2], b[3], args->sizes);
}

/* -scale / probability at the label. buffers: dy, probabilities, labels, valid_rows, dx; sizes: rows, classes,
   positions, whether it is added. */
KERNEL(multinomial_logistic_loss_backward) {
    const REAL *dy = args->buffers[0], *probability = args->buffers[1];
    const int32_t *labels = args->buffers[2];
    REAL *dx = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[3], args->sizes[0]);
    const REAL scale = *dy / (REAL)(valid * positions > 1 ? valid * positions : 1);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    if (!args->sizes[3]) memset(dx + first * size, 0, (size_t)((last - first) * size) * sizeof *dx);
    for (int64_t n = first; n < mocha_min(last, valid); n++)
        for (int64_t p = 0; p < positions; p++) {
            const int32_t label = labels[n * positions + p];
            if (label < 0 || label >= classes) continue;
            const int64_t at = (n * classes + label) * positions + p;
            dx[at] -= scale / (probability[at] <= (REAL)SMALLEST ? (REAL)SMALLEST : probability[at]);
        }
}

/* One thread runs it. buffers: prediction, label, valid_rows, loss; sizes: rows, features. */
KERNEL(square_loss_forward) {
    const REAL *prediction = args->buffers[0], *label = args->buffers[1];
    REAL *loss = args->buffers[3];
    const int64_t n = mocha_valid_rows(args->buffers[2], args->sizes[0]) * args->sizes[1];
    VEC sum = (VEC){0};
    for (int64_t i = 0; i < n; i += LANES) {
        const VEC difference = TYPED(load_some)(prediction + i, n - i) - TYPED(load_some)(label + i, n - i);
        sum += difference * difference;
    }
    UNUSED(team);
    *loss = TYPED(sum)(sum) / (2 * (REAL) * (const int32_t *)args->buffers[2]);
}

/* buffers: dy, prediction, label, valid_rows, then the gradients of prediction and label, each NULL where it is not
   wanted; sizes: rows, features, and for each gradient whether it is added. */
KERNEL(square_loss_backward) {
    const REAL *prediction = args->buffers[1], *label = args->buffers[2];
    const int32_t *valid = args->buffers[3];
    const REAL scale = *(const REAL *)args->buffers[0] / (REAL)*valid;
    const int64_t counted = mocha_valid_rows(valid, args->sizes[0]) * args->sizes[1];
    int64_t first, last;
    mocha_share(args->sizes[0] * args->sizes[1], GRAIN, team, &first, &last);
    for (int which = 0; which < 2; which++) {
        REAL *out = args->buffers[4 + which];
        const REAL factor = which ? -scale : scale;
        for (int64_t i = first; out && i < last; i++) {
            const REAL gradient = i < counted ? (prediction[i] - label[i]) * factor : 0;
            out[i] = gradient + (args->sizes[2 + which] ? out[i] : 0);
        }
    }
}
