/* The kernels of kernels.h, for each dtype and each instruction set. */
#include <math.h>

#define MOCHA_LIBRARY acme_swish
#define MOCHA_SOURCE "kernels.h"
#define MOCHA_KERNELS(K) \
    K(swish_forward) \
    K(swish_backward) \
    K(nesterov_forward)
#include <mocha/library.h>
