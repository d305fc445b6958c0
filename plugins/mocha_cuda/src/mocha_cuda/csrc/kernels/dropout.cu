/* Dropout with the random numbers of mocha_core.api.uniform: Philox4x32-10, one counter for four neighbouring features. */

#include "mocha.cuh"

/* The counter becomes four words of random bits. */
static __device__ inline void philox(unsigned counter[4], unsigned key0, unsigned key1) {
    for (int round = 0; round < 10; round++) {
        const unsigned high0 = __umulhi(counter[0], 0xD2511F53u), low0 = counter[0] * 0xD2511F53u;
        const unsigned high1 = __umulhi(counter[2], 0xCD9E8D57u), low1 = counter[2] * 0xCD9E8D57u;
        counter[0] = high1 ^ counter[1] ^ key0;
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key1;
        counter[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* y = x * factor where the element's word is above `dropped`, and else 0; backward is the same of dy. x and y are
   (rows, features). */
KERNEL(dropout)
(const REAL *x, const long long *iteration, const long long *first_row, REAL *y, int rows, int features, unsigned key0,
 unsigned key1, unsigned stream, unsigned dropped, double factor, int add) {
    const int groups = features / 4 + (features % 4 != 0);
    FOR_EACH(i, rows * groups) {
        const int row = (int)i / groups, group = (int)i % groups;
        unsigned words[4] = {(unsigned)group, (unsigned)*first_row + (unsigned)row, stream, (unsigned)*iteration};
        philox(words, key0, key1);
        const int begin = row * features + 4 * group, some = min(4, features - 4 * group);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < some) give(y + begin + j, words[j] > dropped ? x[begin + j] * (REAL)factor : 0, add);
    }
}
