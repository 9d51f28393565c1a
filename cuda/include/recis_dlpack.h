/*
 * DLPack tensors in and out of recis.h: pointer and sizes of a tensor that somebody else owns, checked.
 * No library is needed. If dlpack.h is included before, its structs are used; else those below, which
 * are the same in DLPack 0.8 and 1.x (the unversioned tensors that a "dltensor" capsule holds).
 */
#ifndef RECIS_DLPACK_H
#define RECIS_DLPACK_H

#include <stddef.h>
#include <stdint.h>

#ifndef DLPACK_DLPACK_H_
#define DLPACK_DLPACK_H_
#ifdef __cplusplus
extern "C" {
#endif

typedef enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13 } DLDeviceType;

typedef struct {
  DLDeviceType device_type;
  int32_t device_id;
} DLDevice;

typedef enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBool = 6 } DLDataTypeCode;

typedef struct {
  uint8_t code; /* a DLDataTypeCode */
  uint8_t bits;
  uint16_t lanes; /* 1 */
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape; /* [ndim] */
  int64_t *strides; /* [ndim], in elements; null: rows without gaps */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void *manager_ctx;
  void (*deleter)(struct DLManagedTensor *self); /* whoever takes the tensor calls it when done */
} DLManagedTensor;

#ifdef __cplusplus
}
#endif
#endif /* DLPACK_DLPACK_H_ */

/* Why a tensor cannot be handed to recis. */
typedef enum recis_dlpack_status {
  RECIS_DLPACK_OK = 0,
  RECIS_DLPACK_NULL = 1, /* no tensor, or no data for its elements */
  RECIS_DLPACK_DTYPE = 2, /* not of the type that is asked for */
  RECIS_DLPACK_RANK = 3, /* not as many dimensions as are asked for */
  RECIS_DLPACK_STRIDES = 4, /* gaps between rows, or another order */
  RECIS_DLPACK_DEVICE = 5, /* not on the device that is asked for */
  RECIS_DLPACK_ALIGNMENT = 6 /* not aligned to 16 bytes: copy it */
} recis_dlpack_status;

/* Types of recis.h's arrays. Unsigned numbers may come as signed ones of the same size (torch had none
 * for long), which are the same bits. */
typedef enum recis_dlpack_type {
  RECIS_DLPACK_F32,
  RECIS_DLPACK_F64,
  RECIS_DLPACK_I8,
  RECIS_DLPACK_I32,
  RECIS_DLPACK_I64,
  RECIS_DLPACK_U32,
  RECIS_DLPACK_U64
} recis_dlpack_type;

static inline DLDataType recis_dlpack_dtype(recis_dlpack_type type) {
  DLDataType dtype = {0, 0, 1};
  dtype.code = (uint8_t)(type <= RECIS_DLPACK_F64 ? kDLFloat : type <= RECIS_DLPACK_I64 ? kDLInt : kDLUInt);
  dtype.bits = (uint8_t)(type == RECIS_DLPACK_I8 ? 8
                         : type == RECIS_DLPACK_F32 || type == RECIS_DLPACK_I32 || type == RECIS_DLPACK_U32 ? 32
                                                                                                          : 64);
  return dtype;
}

/* A tensor's first element and its sizes, shape[0..ndim], if it is what a function of recis.h takes: of
 * that type and that many dimensions, on that device, row after row, aligned. The kernels of a library
 * built for the CPU (RECIS_SIMT) take kDLCPU, others kDLCUDA. `*data` is only written if it is. The
 * tensor stays its owner's, who must keep it until the work is done. */
static inline recis_dlpack_status recis_from_dlpack(const DLTensor *tensor, recis_dlpack_type type, int32_t ndim,
                                                    DLDeviceType device_type, int32_t device_id, void **data) {
  int64_t elements = 1;
  int32_t i;
  const DLDataType dtype = recis_dlpack_dtype(type);
  if (!tensor || !data) return RECIS_DLPACK_NULL;
  if (tensor->dtype.lanes != 1 || tensor->dtype.bits != dtype.bits) return RECIS_DLPACK_DTYPE;
  if (tensor->dtype.code != dtype.code && !(dtype.code == kDLUInt && tensor->dtype.code == kDLInt))
    return RECIS_DLPACK_DTYPE;
  if (tensor->ndim != ndim) return RECIS_DLPACK_RANK;
  if (tensor->device.device_type != device_type || tensor->device.device_id != device_id) return RECIS_DLPACK_DEVICE;
  for (i = 0; i < ndim; ++i) elements *= tensor->shape[i];
  if (tensor->strides && elements > 0) {
    int64_t stride = 1;
    for (i = ndim; i-- > 0; stride *= tensor->shape[i])
      if (tensor->shape[i] != 1 && tensor->strides[i] != stride) return RECIS_DLPACK_STRIDES;
  }
  if (elements > 0 && !tensor->data) return RECIS_DLPACK_NULL;
  if (((uintptr_t)tensor->data + tensor->byte_offset) % 16 != 0 && type != RECIS_DLPACK_I8)
    return RECIS_DLPACK_ALIGNMENT;
  *data = elements > 0 ? (char *)tensor->data + tensor->byte_offset : NULL;
  return RECIS_DLPACK_OK;
}

/* A tensor for memory that recis has written. `shape` [ndim] and the memory stay the caller's: for a
 * DLManagedTensor, keep both in what its deleter frees. */
static inline DLTensor recis_to_dlpack(void *data, recis_dlpack_type type, int32_t ndim, int64_t *shape,
                                       DLDeviceType device_type, int32_t device_id) {
  DLTensor tensor;
  tensor.data = data;
  tensor.device.device_type = device_type;
  tensor.device.device_id = device_id;
  tensor.ndim = ndim;
  tensor.dtype = recis_dlpack_dtype(type);
  tensor.shape = shape;
  tensor.strides = NULL;
  tensor.byte_offset = 0;
  return tensor;
}

#endif
