/* A stand-in for libnvidia-ml.so.1: NVIDIA's programs run on it unmodified, on a host without GPUs.
 *
 * The file that NVML_NODE names describes the node, in one line for each part, with the fields separated by tabs:
 *
 *   driver  VERSION  CUDA (13000 is 13.0)
 *   gpu     UUID  MINOR  PCI-ADDRESS  MEMORY-MIB  CC-MAJOR  CC-MINOR  MIG (-1 not capable, 0 off, 1 on)  NAME
 *   slice   UUID  GPU-INSTANCE  NVML-GPU-INSTANCE-PROFILE  COMPUTE-SLICES  MEMORY-MIB  MULTIPROCESSORS
 *
 * A slice belongs to the last GPU before it and has one compute instance, 0. The file that NVML_EVENTS names is read
 * while a program waits for events; each of its lines is one, in the order in which they occurred:
 *
 *   xid     GPU-INDEX  XID  GPU-INSTANCE (-1: the whole GPU)
 *
 * Functions that NVIDIA's programs do not call are missing; a program that calls one ends with "symbol lookup error".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvml.h"

#define MIB (1024ULL * 1024ULL)
#define MOST_GPUS 16
#define MOST_SLICES 8
#define EVENT_INTERVAL_US 20000

struct nvmlDevice_st { /* a GPU, or a slice, whose `parent` is its GPU */
    char uuid[96], name[96], pci[13]; /* 0000:00:04.0 */
    unsigned index, minor, instance, profile, multiprocessors, slices;
    int major_cc, minor_cc, mig;
    unsigned long long mib;
    struct nvmlDevice_st *parent;
    struct nvmlDevice_st *slice[MOST_SLICES];
};

static struct nvmlDevice_st gpus[MOST_GPUS], all_slices[MOST_GPUS * MOST_SLICES];
static unsigned gpu_count, slice_count, initialized;
static char driver[80];
static int cuda;
static int events_registered;

static nvmlReturn_t copy(char *to, unsigned length, const char *from) {
    if (strlen(from) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, from);
    return NVML_SUCCESS;
}

static int read_line(const char *line) {
    if (sscanf(line, "driver\t%79[^\t]\t%d", driver, &cuda) == 2)
        return 1;
    struct nvmlDevice_st *gpu = &gpus[gpu_count], *slice = &all_slices[slice_count];
    if (gpu_count < MOST_GPUS &&
        sscanf(line, "gpu\t%95[^\t]\t%u\t%12[^\t]\t%llu\t%d\t%d\t%d\t%95[^\n]", gpu->uuid, &gpu->minor, gpu->pci,
               &gpu->mib, &gpu->major_cc, &gpu->minor_cc, &gpu->mig, gpu->name) == 8) {
        gpu->index = gpu_count++;
        return 1;
    }
    if (gpu_count && sscanf(line, "slice\t%95[^\t]\t%u\t%u\t%u\t%llu\t%u", slice->uuid, &slice->instance,
                            &slice->profile, &slice->slices, &slice->mib, &slice->multiprocessors) == 6) {
        slice->parent = gpu = &gpus[gpu_count - 1];
        for (unsigned i = 0; i < MOST_SLICES; i++)
            if (!gpu->slice[i]) {
                slice->index = i;
                gpu->slice[i] = slice;
                slice_count++;
                return 1;
            }
    }
    return 0;
}

nvmlReturn_t nvmlInit_v2(void) {
    const char *path = getenv("NVML_NODE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (!initialized++) {
        memset(gpus, 0, sizeof gpus);
        memset(all_slices, 0, sizeof all_slices);
        gpu_count = slice_count = 0;
        char line[512];
        while (fgets(line, sizeof line, file))
            if (!read_line(line)) {
                fprintf(stderr, "nvml: %s: cannot be read: %s", path, line);
                fclose(file);
                return NVML_ERROR_UNKNOWN;
            }
    }
    fclose(file);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlShutdown(void) {
    if (!initialized)
        return NVML_ERROR_UNINITIALIZED;
    initialized--;
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    static char text[32];
    snprintf(text, sizeof text, "NVML's error %d", result);
    return result == NVML_SUCCESS ? "The operation was successful" : text;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) { return copy(version, length, driver); }

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    *version = cuda;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    *count = gpu_count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    device->handle = &gpus[index];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    for (unsigned i = 0; i < gpu_count + slice_count; i++) {
        device->handle = i < gpu_count ? &gpus[i] : &all_slices[i - gpu_count];
        if (!strcmp(device->handle->uuid, uuid))
            return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    return copy(name, length, device.handle->name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    return copy(uuid, length, device.handle->uuid);
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) {
    *minor = device.handle->minor;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    memset(pci, 0, sizeof *pci);
    sscanf(device.handle->pci, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%s", device.handle->pci);
    snprintf(pci->busId, sizeof pci->busId, "0000%s", device.handle->pci); /* NVML's domain has 8 digits, sysfs' has 4 */
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    memory->total = memory->free = device.handle->mib * MIB;
    memory->used = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    *major = device.handle->major_cc;
    *minor = device.handle->minor_cc;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuFabricInfo(nvmlDevice_t device, nvmlGpuFabricInfo_t *info) {
    (void)device, (void)info;
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t one, nvmlDevice_t other, nvmlGpuTopologyLevel_t *level) {
    (void)one, (void)other;
    *level = NVML_TOPOLOGY_SYSTEM;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link, nvmlEnableState_t *active) {
    (void)device, (void)link, (void)active;
    return NVML_ERROR_NOT_SUPPORTED;
}

/* Multi-instance GPUs: a GPU instance and its compute instance are the slice itself. */

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    if (device.handle->mig < 0)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = (unsigned)device.handle->mig;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    (void)device;
    *count = MOST_SLICES - 1;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *slice) {
    if (index >= MOST_SLICES || !(slice->handle = device.handle->slice[index]))
        return NVML_ERROR_NOT_FOUND;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is_slice) {
    *is_slice = device.handle->parent != NULL;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t slice, nvmlDevice_t *device) {
    device->handle = slice.handle->parent;
    return device->handle ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t slice, unsigned *id) {
    *id = slice.handle->instance;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t slice, unsigned *id) {
    (void)slice;
    *id = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t slice, nvmlDeviceAttributes_t *attributes) {
    memset(attributes, 0, sizeof *attributes);
    attributes->multiprocessorCount = slice.handle->multiprocessors;
    attributes->gpuInstanceSliceCount = attributes->computeInstanceSliceCount = slice.handle->slices;
    attributes->memorySizeMB = slice.handle->mib;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned id, nvmlGpuInstance_t *instance) {
    for (unsigned i = 0; i < MOST_SLICES; i++)
        if (device.handle->slice[i] && device.handle->slice[i]->instance == id) {
            instance->handle = (struct nvmlGpuInstance_st *)device.handle->slice[i];
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned profile,
                                                 nvmlGpuInstanceProfileInfo_t *info) {
    for (unsigned i = 0; i < MOST_SLICES; i++)
        if (device.handle->slice[i] && device.handle->slice[i]->profile == profile) {
            memset(info, 0, sizeof *info);
            info->id = profile;
            info->sliceCount = device.handle->slice[i]->slices;
            info->memorySizeMB = device.handle->slice[i]->mib;
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info) {
    struct nvmlDevice_st *slice = (struct nvmlDevice_st *)instance.handle;
    memset(info, 0, sizeof *info);
    info->device.handle = slice->parent;
    info->id = slice->instance;
    info->profileId = slice->profile;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t instance, unsigned id,
                                                   nvmlComputeInstance_t *compute) {
    compute->handle = (struct nvmlComputeInstance_st *)instance.handle;
    return id ? NVML_ERROR_NOT_FOUND : NVML_SUCCESS;
}

static unsigned compute_profile(const struct nvmlDevice_st *slice) {
    return slice->slices == 7 ? NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE : slice->slices - 1;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t compute, nvmlComputeInstanceInfo_t *info) {
    struct nvmlDevice_st *slice = (struct nvmlDevice_st *)compute.handle;
    memset(info, 0, sizeof *info);
    info->device.handle = slice->parent;
    info->gpuInstance.handle = (struct nvmlGpuInstance_st *)slice;
    info->profileId = compute_profile(slice);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t instance, unsigned profile, unsigned engine,
                                                          nvmlComputeInstanceProfileInfo_t *info) {
    struct nvmlDevice_st *slice = (struct nvmlDevice_st *)instance.handle;
    if (engine != NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED || profile != compute_profile(slice))
        return NVML_ERROR_NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->id = profile;
    info->sliceCount = slice->slices;
    return NVML_SUCCESS;
}

/* Events. There is one set, as each resource's health check has one, and the node one resource. */

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    set->handle = calloc(1, sizeof(long)); /* the number of bytes of NVML_EVENTS that were read */
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set.handle);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    (void)device;
    *types = nvmlEventTypeXidCriticalError | nvmlEventTypeDoubleBitEccError | nvmlEventTypeSingleBitEccError;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    (void)set;
    /* As NVML: events of a slice are those of its GPU. */
    events_registered |= !device.handle->parent && (types & nvmlEventTypeXidCriticalError);
    return device.handle->parent ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    long *offset = (long *)set.handle;
    const char *path = getenv("NVML_EVENTS");
    for (unsigned long waited = 0; waited < timeout_ms * 1000UL; waited += EVENT_INTERVAL_US) {
        FILE *file = path && events_registered ? fopen(path, "r") : NULL;
        char line[128];
        unsigned index;
        int instance;
        if (file && !fseek(file, *offset, SEEK_SET) && fgets(line, sizeof line, file) && strchr(line, '\n')) {
            *offset = ftell(file);
            fclose(file);
            memset(data, 0, sizeof *data);
            data->eventType = nvmlEventTypeXidCriticalError;
            if (sscanf(line, "xid\t%u\t%llu\t%d", &index, &data->eventData, &instance) != 3 || index >= gpu_count)
                return NVML_ERROR_UNKNOWN;
            data->device.handle = &gpus[index];
            data->gpuInstanceId = (unsigned)instance;
            data->computeInstanceId = instance < 0 ? 0xFFFFFFFF : 0;
            return NVML_SUCCESS;
        }
        if (file)
            fclose(file);
        usleep(EVENT_INTERVAL_US);
    }
    return NVML_ERROR_TIMEOUT;
}
