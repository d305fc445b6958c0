/* Kernels that convolutions use beside cuDNN. */

#include "block_sums.cuh"

/* The gradient of a bias: the sums of the channels of dy (n, channels, positions). Each slice of `length` of the
   n * positions elements of a channel is summed by one block of the grid (channels * slices). */
KERNEL(bias_gradient)
(const REAL *dy, REAL *sums, unsigned *tickets, REAL *db, int n, int channels, int positions, int slices, int length,
 int add) {
    int channel = blockIdx.x / slices, slice = blockIdx.x % slices;
    int begin = slice * length, end = min(n * positions, begin + length);
    REAL sum = 0;
    for (int i = begin + threadIdx.x; i < end; i += THREADS)
        sum += dy[((long long)(i / positions) * channels + channel) * positions + i % positions];
    if (sum_of_blocks(sum, sums + channel * slices, tickets + channel, slice, slices) && threadIdx.x == 0)
        give(db + channel, sum, add);
}

/* y = max(floor, y); NaN stays. */
KERNEL(rectify)(REAL *y, int n, double floor) { FOR_EACH(i, n) y[i] = y[i] <= (REAL)floor ? (REAL)floor : y[i]; }

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

/* Converts bfloat16 back to float. */
KERNEL(from_bfloat16)(const int *x, REAL *y, int n, int add) {
    const unsigned short *halves = reinterpret_cast<const unsigned short *>(x);
    FOR_EACH(i, n) {
        unsigned bits = (unsigned)halves[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        give(y + i, (REAL)value, add);
    }
}
