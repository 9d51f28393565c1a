/*
 * Memory for the kernels of a library that runs on the CPU (RECIS_SIMT): watched to the byte. Any other
 * memory aligned to 16 bytes serves as well; kernels' accesses to it are not watched.
 */
#ifndef RECIS_SIMT_H
#define RECIS_SIMT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* Memory for `bytes` bytes, aligned to 16, that ends against a page without access, as near as the
 * alignment allows. Null if there is none. The contents are unspecified. */
void *recis_simt_allocate(size_t bytes);
/* Frees what recis_simt_allocate gave; null is fine. Ends the program if a kernel has written beside it. */
void recis_simt_release(void *memory);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
