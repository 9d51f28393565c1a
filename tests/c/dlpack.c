/* DLPack tensors into and out of recis.h: what is let through, and what is refused. */
#include "recis_dlpack.h"

#include <stdio.h>
#include <stdlib.h>

static void expect(recis_dlpack_status got, recis_dlpack_status wanted, const char *what) {
  if (got == wanted) return;
  fprintf(stderr, "wrong: %s: status %d, expected %d\n", what, (int)got, (int)wanted);
  exit(1);
}

static recis_dlpack_status take(const DLTensor *tensor, void **data) {
  *data = (void *)-1;
  return recis_from_dlpack(tensor, RECIS_DLPACK_F32, 2, kDLCPU, 0, data);
}

int main(void) {
  float *values = aligned_alloc(16, 16 * sizeof(float));
  int64_t shape[2] = {4, 3}, strides[2] = {3, 1};
  void *data;
  const DLTensor tensor = recis_to_dlpack(values, RECIS_DLPACK_F32, 2, shape, kDLCPU, 0);
  DLTensor other = tensor;

  expect(take(&tensor, &data), RECIS_DLPACK_OK, "a tensor of ours");
  if (data != values) expect(RECIS_DLPACK_NULL, RECIS_DLPACK_OK, "its data");
  other.strides = strides;
  expect(take(&other, &data), RECIS_DLPACK_OK, "strides of rows without gaps");
  strides[0] = 4;
  expect(take(&other, &data), RECIS_DLPACK_STRIDES, "gaps between rows");
  if (data != (void *)-1) expect(RECIS_DLPACK_NULL, RECIS_DLPACK_OK, "data is left alone when refused");
  shape[0] = 1;
  expect(take(&other, &data), RECIS_DLPACK_OK, "the stride of a single row does not matter");
  shape[0] = 4, strides[0] = 1, strides[1] = 4;
  expect(take(&other, &data), RECIS_DLPACK_STRIDES, "columns before rows");
  other = tensor, other.byte_offset = 16;
  expect(take(&other, &data), RECIS_DLPACK_OK, "an offset");
  if (data != values + 4) expect(RECIS_DLPACK_NULL, RECIS_DLPACK_OK, "data behind an offset");
  other.byte_offset = 4;
  expect(take(&other, &data), RECIS_DLPACK_ALIGNMENT, "an offset that is not aligned");
  other = tensor, other.dtype.bits = 64;
  expect(take(&other, &data), RECIS_DLPACK_DTYPE, "f64");
  other = tensor, other.dtype.code = kDLInt;
  expect(take(&other, &data), RECIS_DLPACK_DTYPE, "i32 for f32");
  other = tensor, other.dtype.lanes = 4;
  expect(take(&other, &data), RECIS_DLPACK_DTYPE, "vectors");
  other = tensor, other.ndim = 1;
  expect(take(&other, &data), RECIS_DLPACK_RANK, "one dimension");
  other = tensor, other.device.device_type = kDLCUDA;
  expect(take(&other, &data), RECIS_DLPACK_DEVICE, "another device");
  other = tensor, other.device.device_id = 1;
  expect(take(&other, &data), RECIS_DLPACK_DEVICE, "a second device");
  other = tensor, other.data = NULL;
  expect(take(&other, &data), RECIS_DLPACK_NULL, "no data");
  shape[0] = 0;
  expect(take(&other, &data), RECIS_DLPACK_OK, "no data, and no elements");
  if (data) expect(RECIS_DLPACK_NULL, RECIS_DLPACK_OK, "an empty tensor's data is null");
  expect(take(NULL, &data), RECIS_DLPACK_NULL, "no tensor");

  other = recis_to_dlpack(values, RECIS_DLPACK_I32, 1, shape, kDLCPU, 0);
  expect(recis_from_dlpack(&other, RECIS_DLPACK_U32, 1, kDLCPU, 0, &data), RECIS_DLPACK_OK, "i32 for u32");
  other = recis_to_dlpack(values, RECIS_DLPACK_U32, 1, shape, kDLCPU, 0);
  expect(recis_from_dlpack(&other, RECIS_DLPACK_I32, 1, kDLCPU, 0, &data), RECIS_DLPACK_DTYPE, "u32 for i32");
  free(values);
  printf("dlpack: as it must be\n");
  return 0;
}
