/* What convolutions need beside cuDNN. */

#include "mocha.cuh"

/* The gradient of a bias, in two steps. First sums of slices: of the n * positions elements of a channel of dy
   (n, channels, positions), each slice of `length` is summed by one block of the grid (channels * slices). */
KERNEL(bias_gradient_slices)
(const REAL *dy, REAL *sums, int n, int channels, int positions, int slices, int length) {
    int channel = blockIdx.x / slices, slice = blockIdx.x % slices;
    int begin = slice * length, end = min(n * positions, begin + length);
    REAL sum = 0;
    for (int i = begin + threadIdx.x; i < end; i += THREADS)
        sum += dy[((long long)(i / positions) * channels + channel) * positions + i % positions];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/* Then their sums, in order. */
KERNEL(bias_gradient)(const REAL *sums, REAL *db, int channels, int slices, int add) {
    FOR_EACH(channel, channels) {
        REAL sum = 0;
        for (int i = 0; i < slices; i++) sum += sums[channel * slices + i];
        give(db + channel, sum, add);
    }
}

/* y = max(floor, y); NaN stays. */
KERNEL(rectify)(REAL *y, int n, double floor) {
    FOR_EACH(i, n) y[i] = y[i] <= (REAL)floor ? (REAL)floor : y[i];
}

/* bfloat16 is the upper half of a float. Two of them are in each int of y; rounded to the nearest, ties to even. */
KERNEL(to_bfloat16)(const REAL *x, int *y, int n) {
    unsigned short *halves = reinterpret_cast<unsigned short *>(y);
    FOR_EACH(i, n) {
        float value = (float)x[i];
        unsigned bits;
        memcpy(&bits, &value, sizeof bits);
        unsigned rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        halves[i] = value == value ? rounded : 0x7fc0u; /* rounding might make a NaN infinite */
    }
}

/* Back again. */
KERNEL(from_bfloat16)(const int *x, REAL *y, int n, int add) {
    const unsigned short *halves = reinterpret_cast<const unsigned short *>(x);
    FOR_EACH(i, n) {
        unsigned bits = (unsigned)halves[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        give(y + i, (REAL)value, add);
    }
}
