/* A library that looks like cuDNN as far as its version, and fails in everything else. */
#include <stddef.h>
#include <stdio.h>

size_t cudnnGetVersion(void) { return VERSION; }
const char *cudnnGetErrorString(int status) {
    return status == 3000 ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_FAKE";
}
void cudnnGetLastErrorString(char *message, size_t size) { snprintf(message, size, "first\nit is   a fake.\n"); }

#define FAILS(name) \
    int name(void) { return 3000; }
FAILS(cudnnCreate)
FAILS(cudnnDestroy)
/* Succeeds with one stream only, whose address has more than 32 bits. */
int cudnnSetStream(void *handle, void *stream) { return !handle && stream == (void *)0x123456789aL ? 0 : 3000; }
FAILS(cudnnBackendCreateDescriptor)
FAILS(cudnnBackendDestroyDescriptor)
FAILS(cudnnBackendSetAttribute)
FAILS(cudnnBackendGetAttribute)
FAILS(cudnnBackendFinalize)
FAILS(cudnnBackendExecute)
