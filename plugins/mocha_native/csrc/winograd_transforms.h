/* The one-dimensional transforms of Cook and Toom for REAL, at the points 0, 1, -1, 2, -2 (, 1/2, -1/2) and infinity.

   A filter of POINTS - 3 taps meets POINTS neighbouring elements of a row and makes WINOGRAD_TILE results:
     results = inverse(weights(filter) * data(elements)), with a product for each point.
   Two points a and -a share their even and their odd powers. `points` is a literal. */

#ifndef MOCHA_WINOGRAD_TRANSFORMS_H
#define MOCHA_WINOGRAD_TRANSFORMS_H

/* Results of a row of a tile; the scheme of 6 points is F(4, 3), that of 8 is F(4, 5). */
#define WINOGRAD_TILE 4
#define WINOGRAD_RESULTS (WINOGRAD_TILE * WINOGRAD_TILE)
#define MOST_POINTS 8

/* The weight of tap j at point i; weights(filter)[i] is the sum over the taps. */
static const double winograd_weights_6[6][5] = {{1. / 4, 0, 0},
                                                {-1. / 6, -1. / 6, -1. / 6},
                                                {-1. / 6, 1. / 6, -1. / 6},
                                                {1. / 24, 1. / 12, 1. / 6},
                                                {1. / 24, -1. / 12, 1. / 6},
                                                {0, 0, 1}};
static const double winograd_weights_8[8][5] = {{-1, 0, 0, 0, 0},
                                                {-2. / 9, -2. / 9, -2. / 9, -2. / 9, -2. / 9},
                                                {-2. / 9, 2. / 9, -2. / 9, 2. / 9, -2. / 9},
                                                {1. / 90, 1. / 45, 2. / 45, 4. / 45, 8. / 45},
                                                {1. / 90, -1. / 45, 2. / 45, -4. / 45, 8. / 45},
                                                {32. / 45, 16. / 45, 8. / 45, 4. / 45, 2. / 45},
                                                {32. / 45, -16. / 45, 8. / 45, -4. / 45, 2. / 45},
                                                {0, 0, 0, 0, 1}};

#endif

/* `points` elements to as many. */
ALWAYS_INLINE void TYPED(winograd_data)(const int points, const VEC *d, VEC *out) {
    VEC even[3], odd[3];
    if (points == 6) {
        even[0] = d[4] - 4 * d[2], odd[0] = d[3] - 4 * d[1];
        even[1] = d[4] - d[2], odd[1] = 2 * (d[3] - d[1]);
        out[0] = 4 * d[0] - 5 * d[2] + d[4];
        out[5] = 4 * d[1] - 5 * d[3] + d[5];
    } else {
        even[0] = d[2] + d[6] - (REAL)4.25 * d[4], odd[0] = d[1] + d[5] - (REAL)4.25 * d[3];
        even[1] = (REAL)0.25 * d[2] - (REAL)1.25 * d[4] + d[6], odd[1] = (REAL)0.5 * d[1] - (REAL)2.5 * d[3] + 2 * d[5];
        even[2] = 4 * d[2] - 5 * d[4] + d[6], odd[2] = 2 * d[1] - (REAL)2.5 * d[3] + (REAL)0.5 * d[5];
        out[0] = d[6] - d[0] + (REAL)5.25 * (d[2] - d[4]);
        out[7] = d[7] - d[1] + (REAL)5.25 * (d[3] - d[5]);
    }
    UNROLL for (int i = 0; i < points / 2 - 1; i++) {
        out[2 * i + 1] = even[i] + odd[i];
        out[2 * i + 2] = even[i] - odd[i];
    }
}

/* Transforms the products at `points` points to the results of a row. */
ALWAYS_INLINE void TYPED(winograd_inverse)(const int points, const VEC *d, VEC *out) {
    const VEC p1 = d[1] + d[2], q1 = d[1] - d[2], p2 = d[3] + d[4], q2 = d[3] - d[4];
    out[0] = d[0] + p1 + p2;
    out[1] = q1 + 2 * q2;
    out[2] = p1 + 4 * p2;
    out[3] = q1 + 8 * q2 + d[points - 1];
    if (points == 8) {
        const VEC p3 = d[5] + d[6], q3 = d[5] - d[6];
        out[0] += p3;
        out[1] += (REAL)0.5 * q3;
        out[2] += (REAL)0.25 * p3;
        out[3] += (REAL)0.125 * q3;
    }
}

/* The transpose of `winograd_inverse`: gradients of a row's results to those of the products. */
ALWAYS_INLINE void TYPED(winograd_lift)(const int points, const VEC *d, VEC *out) {
    VEC even[3] = {d[0] + d[2], d[0] + 4 * d[2], d[0] + (REAL)0.25 * d[2]};
    VEC odd[3] = {d[1] + d[3], 2 * d[1] + 8 * d[3], (REAL)0.5 * d[1] + (REAL)0.125 * d[3]};
    out[0] = d[0];
    UNROLL for (int i = 0; i < points / 2 - 1; i++) {
        out[2 * i + 1] = even[i] + odd[i];
        out[2 * i + 2] = even[i] - odd[i];
    }
    out[points - 1] = d[3];
}

/* LANES filters, [tap][filter], at all points, `plane` elements apart. */
ALWAYS_INLINE void TYPED(winograd_filters)(const int points, const REAL *taps, REAL *to, int64_t plane, int64_t count,
                                    int add) {
    const int size = points - WINOGRAD_TILE + 1;
    VEC lines[MOST_POINTS][MOST_POINTS];
    for (int i = 0; i < points; i++) {
        const double *weight = points == 6 ? winograd_weights_6[i] : winograd_weights_8[i];
        UNROLL for (int v = 0; v < size; v++) {
            VEC sum = (VEC){0};
            UNROLL for (int u = 0; u < size; u++)
                sum += (REAL)weight[u] * TYPED(load)(taps + (u * size + v) * LANES);
            lines[i][v] = sum;
        }
    }
    for (int i = 0; i < points; i++)
        for (int j = 0; j < points; j++) {
            const double *weight = points == 6 ? winograd_weights_6[j] : winograd_weights_8[j];
            VEC sum = (VEC){0};
            UNROLL for (int v = 0; v < size; v++)
                sum += (REAL)weight[v] * lines[i][v];
            if (add) sum += TYPED(load_some)(to + (i * points + j) * plane, count);
            TYPED(store_some)(to + (i * points + j) * plane, sum, count);
        }
}

/* LANES filters' gradients, [tap][filter], from those at all points, `plane` elements apart: transposed weights. */
ALWAYS_INLINE void TYPED(winograd_taps)(const int points, const REAL *from, int64_t plane, REAL *taps) {
    const int size = points - WINOGRAD_TILE + 1;
    VEC lines[MOST_POINTS][MOST_POINTS];
    UNROLL for (int j = 0; j < points; j++) UNROLL
        for (int u = 0; u < size; u++) {
            VEC sum = (VEC){0};
            UNROLL for (int i = 0; i < points; i++)
                sum += (REAL)(points == 6 ? winograd_weights_6 : winograd_weights_8)[i][u] *
                       TYPED(load)(from + (i * points + j) * plane);
            lines[u][j] = sum;
        }
    UNROLL for (int u = 0; u < size; u++) UNROLL
        for (int v = 0; v < size; v++) {
            VEC sum = (VEC){0};
            UNROLL for (int j = 0; j < points; j++)
                sum += (REAL)(points == 6 ? winograd_weights_6 : winograd_weights_8)[j][v] * lines[u][j];
            TYPED(store)(taps + (u * size + v) * LANES, sum);
        }
}
