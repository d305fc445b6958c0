/* Softmax loss, multinomial logistic loss and square loss. Rows from valid_rows on have no part in a loss, and no gradient.

   The first two are made in two steps: threads share the rows, and keep log(probability at the label) of each position;
   then one thread sums these up in the order of the rows (mean_loss). */
#ifndef MOCHA_LOSSES_H
#define MOCHA_LOSSES_H

/* Probabilities below it count as this, so that the loss stays finite. */
#define SMALLEST 1e-20
#define KERNELS(K) \
    K(softmax_loss_forward) \
    K(softmax_loss_backward) \
    K(softmax_loss_step) \
    K(multinomial_logistic_loss_forward) \
    K(multinomial_logistic_loss_backward) \
    K(mean_loss) \
    K(square_loss_forward) \
    K(square_loss_backward)

#endif

#include "softmax_rows.h"

/* The number of positions over which a loss is the mean. */
static REAL TYPED(counted)(int64_t valid, int64_t positions) { return (REAL)(valid * positions > 1 ? valid * positions : 1); }

/* log(probability at the label) of each position of a row; a label that is out of range counts as improbable. */
static void TYPED(log_likelihood_row)(const REAL *probability, const int32_t *labels, REAL *logs, int64_t classes,
                               int64_t positions) {
    for (int64_t p = 0; p < positions; p++) {
        const int32_t label = labels[p];
        const REAL at_label = label >= 0 && label < classes ? probability[label * positions + p] : 0;
        logs[p] = LOG(at_label <= (REAL)SMALLEST ? (REAL)SMALLEST : at_label);
    }
}

/* (probability - 1 at the label) * scale of a row, which may take the place of the probabilities. */
static void TYPED(softmax_loss_gradient_row)(const REAL *probability, const int32_t *labels, REAL *out, int64_t classes,
                                      int64_t positions, REAL scale, int64_t added) {
    for (int64_t i = 0; i < classes * positions; i++) out[i] = probability[i] * scale + (added ? out[i] : 0);
    for (int64_t p = 0; p < positions; p++) {
        const int32_t label = labels[p];
        if (label >= 0 && label < classes) out[label * positions + p] -= scale;
    }
}

/* The mean of -log(probability) at the labels that count, times a weight. One thread runs it.
   buffers: logs, labels, valid_rows, status, loss; sizes: rows, classes, positions, fault; numbers: weight. */
KERNEL(mean_loss) {
    const REAL *logs = args->buffers[0];
    const int32_t *labels = args->buffers[1];
    int32_t *status = args->buffers[3];
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]), positions = args->sizes[2];
    REAL total = 0;
    UNUSED(team);
    for (int64_t i = 0; i < valid * positions; i++) {
        total += logs[i];
        const int wrong = labels[i] < 0 || labels[i] >= args->sizes[1];
        if (wrong && *status == 0) *status = (int32_t)args->sizes[3];
    }
    *(REAL *)args->buffers[4] = (0 - total) / TYPED(counted)(valid, positions) * (REAL)args->numbers[0];
}

/* buffers: x, labels, valid_rows, probabilities, logs; sizes: rows, classes, positions. */
KERNEL(softmax_loss_forward) {
    const REAL *x = args->buffers[0];
    const int32_t *labels = args->buffers[1];
    REAL *probability = args->buffers[3], *logs = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) {
        const int64_t at = n * positions;
        REAL *row = probability + n * size;
        TYPED(softmax_row)(x + n * size, row, classes, positions);
        if (n < valid) TYPED(log_likelihood_row)(row, labels + at, logs + at, classes, positions);
    }
}

/* buffers: dy, labels, valid_rows, probabilities, dx; sizes: rows, classes, positions, whether it is added. */
KERNEL(softmax_loss_backward) {
    const REAL *dy = args->buffers[0], *probability = args->buffers[3];
    const int32_t *labels = args->buffers[1];
    REAL *dx = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]), added = args->sizes[3];
    const REAL scale = *dy / TYPED(counted)(valid, positions);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) {
        const int32_t *of_row = labels + n * positions;
        REAL *out = dx + n * size;
        if (n < valid) {
            TYPED(softmax_loss_gradient_row)(probability + n * size, of_row, out, classes, positions, scale, added);
        } else if (!added) {
            memset(out, 0, (size_t)size * sizeof *out);
        }
    }
}

/* Forward, backward of the objective, and backward in one. The probabilities of a row are written where its gradient
   goes, and are changed to the gradient at once. buffers: x, labels, valid_rows, seed (the gradient of the
   objective), dx, logs; sizes: rows, classes, positions; numbers: weight of the loss in the objective. */
KERNEL(softmax_loss_step) {
    const REAL *x = args->buffers[0], *seed = args->buffers[3];
    const int32_t *labels = args->buffers[1];
    REAL *dx = args->buffers[4], *logs = args->buffers[5];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]);
    const REAL dy = *seed * (REAL)args->numbers[0], scale = dy / TYPED(counted)(valid, positions);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++) {
        const int64_t at = n * positions;
        REAL *row = dx + n * size;
        if (n >= valid) {
            memset(row, 0, (size_t)size * sizeof *row);
            continue;
        }
        TYPED(softmax_row)(x + n * size, row, classes, positions);
        TYPED(log_likelihood_row)(row, labels + at, logs + at, classes, positions);
        TYPED(softmax_loss_gradient_row)(row, labels + at, row, classes, positions, scale, 0);
    }
}

/* buffers: probabilities, labels, valid_rows, logs; sizes: rows, classes, positions. */
KERNEL(multinomial_logistic_loss_forward) {
    const REAL *probability = args->buffers[0];
    const int32_t *labels = args->buffers[1];
    REAL *logs = args->buffers[3];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[2], args->sizes[0]);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < mocha_min(last, valid); n++) {
        const int64_t at = n * positions;
        TYPED(log_likelihood_row)(probability + n * size, labels + at, logs + at, classes, positions);
    }
}

/* -scale / probability at the label. buffers: dy, probabilities, labels, valid_rows, dx; sizes: rows, classes,
   positions, whether it is added. */
KERNEL(multinomial_logistic_loss_backward) {
    const REAL *dy = args->buffers[0], *probability = args->buffers[1];
    const int32_t *labels = args->buffers[2];
    REAL *dx = args->buffers[4];
    const int64_t classes = args->sizes[1], positions = args->sizes[2], size = classes * positions;
    const int64_t valid = mocha_valid_rows(args->buffers[3], args->sizes[0]);
    const REAL scale = *dy / TYPED(counted)(valid, positions);
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
