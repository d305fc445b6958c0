/* A cuBLASLt that computes nothing: it keeps what it was told, for tests to look at.

   With NVIDIA's header, the compiler checks that its functions are declared alike. */

#ifdef WITH_HEADER
#include <cublasLt.h>
#else
#include <stddef.h>
#include <stdint.h>
typedef int cublasStatus_t, cudaDataType, cudaDataType_t, cublasComputeType_t;
typedef int cublasLtMatrixLayoutAttribute_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t;
typedef void *cublasLtHandle_t, *cublasLtMatrixLayout_t, *cublasLtMatmulDesc_t, *cublasLtMatmulPreference_t;
typedef void *cudaStream_t;
typedef struct {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;
typedef struct {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;
#endif
#include <stdlib.h>
#include <string.h>

enum { ATTRIBUTES = 64 };
typedef struct {
    size_t sizes[ATTRIBUTES]; /* 0: never set */
    unsigned char values[ATTRIBUTES][8];
} descriptor;

typedef struct {
    void *handle, *matmul, *a, *a_layout, *b, *b_layout, *c, *c_layout, *d, *d_layout, *workspace, *stream;
    size_t workspace_bytes;
    uint64_t algorithm;
    double alpha, beta;
} product;

product fake_product;               /* the last one */
void (*fake_multiply)(void);        /* called for each */
descriptor fake_preference;         /* of the last search */
int fake_alive;                     /* handles and descriptors */
int fake_algorithms = 3;            /* how many a search finds; numbered from 100 */
int fake_refused_algorithm = -1;    /* a result of this number has failed */
int fake_refused_epilogue = -1;
int fake_stopped_algorithm = -1;    /* a product by it fails */
char fake_failing[64];              /* the function that fails */
int fake_status;                    /* how */

static int failing(const char *name) { return *name && !strcmp(name, fake_failing) ? fake_status : 0; }

static int create(void **out, const char *name) {
    if (failing(name)) return failing(name);
    fake_alive++;
    *out = calloc(1, sizeof(descriptor));
    return 0;
}

static int destroy(void *it) {
    fake_alive--;
    free(it);
    return 0;
}

static int set(void *it, int attribute, const void *value, size_t size, const char *name) {
    if (failing(name)) return failing(name);
    if (attribute < 0 || attribute >= ATTRIBUTES || size > 8) return 7;
    descriptor *d = it;
    d->sizes[attribute] = size;
    memset(d->values[attribute], 0, 8);
    memcpy(d->values[attribute], value, size);
    return 0;
}

static int get(void *it, int attribute, void *value, size_t size, size_t *written) {
    descriptor *d = it;
    memcpy(value, d->values[attribute], size);
    *written = size;
    return 0;
}

size_t cublasLtGetVersion(void) { return 131000; }
const char *cublasLtGetStatusString(cublasStatus_t status) { return status == 15 ? "not in this fake" : "as told"; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) { return create((void **)out, __func__); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t it) { return destroy(it); }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld) {
    int status = create((void **)out, __func__), t = type;
    if (!status) {
        set(*out, 0, &t, 4, "");
        set(*out, 2, &rows, 8, "");
        set(*out, 3, &cols, 8, "");
        set(*out, 4, &ld, 8, "");
    }
    return status;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale) {
    int status = create((void **)out, __func__), c = compute, s = scale;
    if (!status) {
        set(*out, 0, &c, 4, "");
        set(*out, 1, &s, 4, "");
    }
    return status;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    return create((void **)out, __func__);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t it) { return destroy(it); }
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t it) { return destroy(it); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t it) { return destroy(it); }

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t it, cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t size) {
    return set(it, attribute, value, size, __func__);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t it, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t size) {
    return set(it, attribute, value, size, __func__);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t it,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t size) {
    return set(it, attribute, value, size, __func__);
}
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t it, cublasLtMatrixLayoutAttribute_t attribute,
                                                void *value, size_t size, size_t *written) {
    return get(it, attribute, value, size, written);
}
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t it, cublasLtMatmulDescAttributes_t attribute,
                                              void *value, size_t size, size_t *written) {
    return get(it, attribute, value, size, written);
}
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t it,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, void *value,
                                                    size_t size, size_t *written) {
    return get(it, attribute, value, size, written);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t results[], int *found) {
    if (failing(__func__)) return failing(__func__);
    if (!handle || !matmul || !a || !b || !c || !d || !preference || most < 1) return 7;
    fake_preference = *(descriptor *)preference;
    int epilogue;
    memcpy(&epilogue, ((descriptor *)matmul)->values[7], 4);
    if (epilogue == fake_refused_epilogue) return 15;
    *found = most < fake_algorithms ? most : fake_algorithms;
    for (int i = 0; i < *found; i++) {
        results[i].algo.data[0] = 100 + i;
        results[i].state = i == fake_refused_algorithm ? 15 : 0;
    }
    return 0;
}

static double number(cublasLtMatmulDesc_t matmul, const void *it) {
    return ((descriptor *)matmul)->values[1][0] ? *(const double *)it : *(const float *)it;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    if (failing(__func__)) return failing(__func__);
    if ((int)algorithm->data[0] == fake_stopped_algorithm) return 15;
    fake_product = (product){handle,
                             matmul,
                             (void *)a,
                             a_layout,
                             (void *)b,
                             b_layout,
                             (void *)c,
                             c_layout,
                             d,
                             d_layout,
                             workspace,
                             stream,
                             workspace_bytes,
                             algorithm->data[0],
                             number(matmul, alpha),
                             number(matmul, beta)};
    if (fake_multiply) fake_multiply();
    return 0;
}
