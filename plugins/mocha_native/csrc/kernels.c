/* All kernels for one instruction set. Compiled once for each, with the flags that allow it and
     ISA         its name,
     LANE_BYTES  how wide its vectors are;
   each family is included once for float and once for double. */

#include <math.h>
#include <string.h>

#include "mocha.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define TYPED(name) JOIN(name, SUFFIX)
#define KERNEL(name) static void TYPED(name)(const mocha_args *args, const mocha_team *team)
/* Elements in a thread's share of element-wise work: whole cache lines and whole vectors. */
#define GRAIN 64
#define UNUSED(x) ((void)(x))

#define REAL float
#define INT int32_t
#define SUFFIX _float32
#define POW powf
#define LOG logf
#define EXP_TERMS \
    1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f
#define EXP_MAGIC 12582912.0f
#define EXP_LOWEST -104.0f
#define EXP_HIGHEST 89.0f
#define EXP_LN2_HIGH 0.693359375
#define EXP_LN2_LOW -2.12194440e-4
#define EXP_BIAS 127
#define EXP_SHIFT 23
#include "families.h"

#define REAL double
#define INT int64_t
#define SUFFIX _float64
#define POW pow
#define LOG log
#define EXP_TERMS \
    1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0, \
        1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 1 / 2.0
#define EXP_MAGIC 6755399441055744.0
#define EXP_LOWEST -746.0
#define EXP_HIGHEST 710.0
#define EXP_LN2_HIGH 6.93145751953125e-1
#define EXP_LN2_LOW 1.42860682030941723212e-6
#define EXP_BIAS 1023
#define EXP_SHIFT 52
#include "families.h"

#define ENTRY(name) {#name "_float32", name##_float32}, {#name "_float64", name##_float64},

static const mocha_entry entries[] = {
    INNER_PRODUCT_KERNELS(ENTRY) NEURON_KERNELS(ENTRY) ELEMENT_WISE_KERNELS(ENTRY) POWER_KERNELS(ENTRY)
        SOFTMAX_KERNELS(ENTRY) LOSS_KERNELS(ENTRY) ACCURACY_KERNELS(ENTRY) DROPOUT_KERNELS(ENTRY) SGD_KERNELS(ENTRY)
            STRUCTURAL_KERNELS(ENTRY)};

extern const mocha_isa JOIN(mocha_isa_, ISA);
const mocha_isa JOIN(mocha_isa_, ISA) = {
    TEXT(ISA), entries, (int64_t)(sizeof entries / sizeof *entries), PANEL_VECTORS *LANE_BYTES, PANEL_ROWS};
