/* Definitions that depend on REAL, for float. */

#define REAL float
#define REAL_BYTES 4
#define INT int32_t
#define SUFFIX _float32
#define POW powf
#define LOG logf
#define SQRT sqrtf
#define FLOOR floorf
#define CEIL ceilf
#define NEAREST nearbyintf
#define EXP_TERMS \
    1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f
#define EXP_MAGIC 12582912.0f
#define EXP_LOWEST -104.0f
#define EXP_HIGHEST 89.0f
#define EXP_LN2_HIGH 0.693359375
#define EXP_LN2_LOW -2.12194440e-4
#define EXP_BIAS 127
#define EXP_SHIFT 23
