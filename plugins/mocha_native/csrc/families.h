/* Every family of kernels for one REAL. */

#include "lanes.h"

#include "inner_product.h"
#include "neurons.h"
#include "element_wise.h"
#include "power.h"
#include "softmax.h"
#include "losses.h"
#include "accuracy.h"
#include "dropout.h"
#include "sgd.h"
#include "structural.h"

#undef REAL
#undef INT
#undef SUFFIX
#undef POW
#undef LOG
#undef EXP_TERMS
#undef EXP_MAGIC
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_BIAS
#undef EXP_SHIFT
#undef VEC
#undef IVEC
#undef LANES
