/* Multiply-adds that wait for nothing but the units that do them: twelve independent sums in registers. Compiled on
   the fly for this machine; vectors are as wide as it has them. */

#if defined(__AVX512F__)
#define LANE_BYTES 64
#elif defined(__AVX__)
#define LANE_BYTES 32
#else
#define LANE_BYTES 16
#endif
#define SUMS 12

typedef float vec __attribute__((vector_size(LANE_BYTES)));

/* Floating-point operations of one round of the loop. */
int peak_flop(void) { return 2 * SUMS * (int)(sizeof(vec) / sizeof(float)); }

float peak_run(long rounds) {
    vec sums[SUMS], a = (vec){0} + 0.999f, b = (vec){0} + 1e-4f, total = {0};
    for (int i = 0; i < SUMS; i++) sums[i] = (vec){0} + (float)i;
    for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * a + b;
        __asm__ volatile("");
    }
    for (int i = 0; i < SUMS; i++) total += sums[i];
    return total[0];
}
