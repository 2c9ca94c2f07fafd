// A driver without a GPU, for tests/driver.rs: as much of the CUDA driver API as opening a device and moving
// bytes needs. Memory is the host's, a launch does nothing, and each call of interest is a line of the file
// that FAKE_CUDA_LOG names.
//
//   FAKE_CUDA_VERSION=12040   the version that it says it has; one before 13.0 lacks later functions
//   FAKE_CUDA_NO_BINARY=1     no image runs on its GPU
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default"))) int

enum { SUCCESS = 0, NOT_INITIALIZED = 3, NO_BINARY = 209 };

static bool initialized = false;

static int version() {
    const char* text = getenv("FAKE_CUDA_VERSION");
    return text ? atoi(text) : 13000;
}

static void note(const char* call, const char* what = "", int value = 0) {
    const char* path = getenv("FAKE_CUDA_LOG");
    FILE* file = path ? fopen(path, "a") : nullptr;
    if (!file) return;
    fprintf(file, "%s %s %d\n", call, what, value);
    fclose(file);
}

// What only later drivers have: a call of it on an older one is a test that fails.
static void since_13() {
    if (version() < 13000) {
        note("missing");
        abort();
    }
}

API cuInit(unsigned) {
    initialized = true;
    note("cuInit");
    return SUCCESS;
}
API cuDriverGetVersion(int* out) {
    *out = version();
    return SUCCESS;
}
API cuGetErrorString(int error, const char** out) {
    *out = error == NO_BINARY ? "no kernel image is available for execution on the device" : "an error";
    return SUCCESS;
}
API cuDeviceGetCount(int* out) {
    *out = 1;
    return initialized ? SUCCESS : NOT_INITIALIZED;
}
API cuDeviceGet(int* out, int index) {
    *out = index;
    return SUCCESS;
}
API cuDeviceGetName(char* out, int bytes, int) {
    snprintf(out, bytes, "NVIDIA Fake");
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t* out, int) {
    *out = (size_t)8 << 30;
    return SUCCESS;
}
API cuDeviceGetAttribute(int* out, int attribute, int) {
    *out = attribute == 75 ? 9 : 0;  // The compute capability, 9.0.
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void** out, int) {
    since_13();
    note("cuDevicePrimaryCtxRetain");
    *out = &initialized;
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) {
    note("cuDevicePrimaryCtxRelease");
    return SUCCESS;
}
static thread_local void* current = nullptr;
API cuCtxGetCurrent(void** out) {
    *out = current;
    return SUCCESS;
}
API cuCtxSetCurrent(void* context) {
    current = context;
    return SUCCESS;
}
API cuStreamCreate(void** out, unsigned) {
    note("cuStreamCreate");
    *out = malloc(1);
    return SUCCESS;
}
API cuStreamDestroy_v2(void* stream) {
    free(stream);
    return SUCCESS;
}
API cuStreamSynchronize(void*) { return SUCCESS; }
API cuModuleLoadData(void** out, const void*) {
    note("cuModuleLoadData");
    *out = &initialized;
    return getenv("FAKE_CUDA_NO_BINARY") ? NO_BINARY : SUCCESS;
}
API cuModuleUnload(void*) {
    note("cuModuleUnload");
    return SUCCESS;
}
API cuModuleGetFunction(void** out, void*, const char* name) {
    *out = strdup(name);
    return SUCCESS;
}
API cuFuncSetAttribute(void* function, int attribute, int value) {
    // 8: the most dynamic shared memory of a block; 9: the share of a multiprocessor's memory that is shared.
    note(attribute == 8 ? "shared" : attribute == 9 ? "carveout" : "attribute", (const char*)function, value);
    return SUCCESS;
}
API cuFuncLoad(void* function) {
    note("cuFuncLoad", (const char*)function);
    return SUCCESS;
}
API cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    *out = malloc(bytes);
    return SUCCESS;
}
API cuMemFreeHost(void* memory) {
    free(memory);
    return SUCCESS;
}
API cuMemAlloc_v2(uint64_t* out, size_t bytes) {
    *out = (uint64_t)malloc(bytes);
    return SUCCESS;
}
API cuMemFree_v2(uint64_t address) {
    free((void*)address);
    return SUCCESS;
}
API cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void*) {
    memset((void*)address, value, bytes);
    return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    memcpy((void*)to, from, bytes);
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    memcpy(to, (const void*)from, bytes);
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    memmove((void*)to, (const void*)from, bytes);
    return SUCCESS;
}
API cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   void*, void**, void**) {
    note("cuLaunchKernel", (const char*)function);
    return SUCCESS;
}
