// Remainders of ids, by themselves.
#include "modulo.cuh"

#include "elementwise.cuh"

extern "C" int recis_modulo_forward(const int64_t* values, int64_t count, uint64_t modulus, int64_t* out,
                                    recis_stream_t stream) {
  const char* op = "modulo.forward";
  if (int status = recis::require(modulus > 0, op, "the modulus", "is 0")) return status;
  return recis::map(op, values, count, out, recis::Modulo(modulus), stream);
}
