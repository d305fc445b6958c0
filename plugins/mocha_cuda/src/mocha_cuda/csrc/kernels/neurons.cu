/* Neurons. Backward reads outputs only, as on every backend: dx = dy times the slope at y. */

#include "mocha.cuh"

/* A value, and a gradient; `number` is the neuron's constant. Comparisons are such that NaN stays NaN. */
struct relu {
    static __device__ REAL value(REAL x, REAL epsilon) { return x <= epsilon ? epsilon : x; }
    static __device__ REAL gradient(REAL dy, REAL y, REAL epsilon) { return y > epsilon ? dy : 0; }
};
struct lrelu {
    static __device__ REAL value(REAL x, REAL slope) { return x > 0 ? x : x * slope; }
    static __device__ REAL gradient(REAL dy, REAL y, REAL slope) { return y > 0 ? dy : dy * slope; }
};
struct sigmoid {
    static __device__ REAL value(REAL x, REAL) { return 1 / (1 + exp(-x)); }
    static __device__ REAL gradient(REAL dy, REAL y, REAL) { return dy * y * (1 - y); }
};
struct hyperbolic {
    static __device__ REAL value(REAL x, REAL) { return tanh(x); }
    static __device__ REAL gradient(REAL dy, REAL y, REAL) { return dy * (1 - y * y); }
};
struct exponential {
    static __device__ REAL value(REAL x, REAL) { return exp(x); }
    static __device__ REAL gradient(REAL dy, REAL y, REAL) { return dy * y; }
};

#define NEURON(name, Neuron) \
    KERNEL(name##_forward)(const REAL *x, REAL *y, int n, double number) { \
        FOR_EACH(i, n) y[i] = Neuron::value(x[i], (REAL)number); \
    } \
    KERNEL(name##_backward)(const REAL *dy, const REAL *y, REAL *dx, int n, double number, int add) { \
        FOR_EACH(i, n) give(dx + i, Neuron::gradient(dy[i], y[i], (REAL)number), add); \
    }

NEURON(relu, relu)
NEURON(lrelu, lrelu)
NEURON(sigmoid, sigmoid)
NEURON(tanh, hyperbolic)
NEURON(exponential, exponential)
