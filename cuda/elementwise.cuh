// One function for every element: 16 bytes a thread and array, the rest one by one.
#pragma once

#include "common.cuh"

namespace recis {

// Calls f(i) for whole packs of `size` elements and then g(i) for the elements behind the last pack.
template <int size, class F, class G>
__device__ __forceinline__ void for_each_pack(int64_t count, F f, G g) {
  const int64_t packs = count / size;
  for (int64_t i = grid_thread(); i < packs; i += grid_threads()) f(i);
  const int64_t rest = packs * size + grid_thread();
  if (rest < count) g(rest);
}

template <class T>
__device__ __forceinline__ Pack<T> load(const T* array, int64_t pack) {
  return reinterpret_cast<const Pack<T>*>(array)[pack];
}

template <class T>
__device__ __forceinline__ void store(T* array, int64_t pack, Pack<T> value) {
  reinterpret_cast<Pack<T>*>(array)[pack] = value;
}

// out[i] = f(in[i]).
template <class T, class F>
__global__ void __launch_bounds__(kThreads) map_kernel(const T* in, int64_t count, T* out, F f) {
  wait_for_stream();
  for_each_pack<Pack<T>::size>(
      count,
      [&](int64_t i) {
        Pack<T> pack = load(in, i);
        for (T& value : pack.value) value = f(value);
        store(out, i, pack);
      },
      [&](int64_t i) { out[i] = f(in[i]); });
}

// out[i] = f(a[i], b[i]).
template <class T, class F>
__global__ void __launch_bounds__(kThreads) zip_kernel(const T* a, const T* b, int64_t count, T* out, F f) {
  wait_for_stream();
  for_each_pack<Pack<T>::size>(
      count,
      [&](int64_t i) {
        Pack<T> x = load(a, i), y = load(b, i);
        for (int k = 0; k < Pack<T>::size; ++k) x.value[k] = f(x.value[k], y.value[k]);
        store(out, i, x);
      },
      [&](int64_t i) { out[i] = f(a[i], b[i]); });
}

template <class T, class F>
int map(const char* op, const T* in, int64_t count, T* out, F f, recis_stream_t stream) {
  if (int status = first_of(require_array(in, count, op, "the input"),
                            require_array(out, count, op, "the output")))
    return status;
  if (count == 0) return RECIS_OK;
  const unsigned blocks = blocks_for(count / Pack<T>::size, kNoLimit);
  return launch(op, map_kernel<T, F>, blocks, kThreads, 0, stream, in, count, out, f);
}

template <class T, class F>
int zip(const char* op, const T* a, const T* b, int64_t count, T* out, F f, recis_stream_t stream) {
  if (int status = first_of(require_array(a, count, op, "the first input"),
                            require_array(b, count, op, "the second input"),
                            require_array(out, count, op, "the output")))
    return status;
  if (count == 0) return RECIS_OK;
  const unsigned blocks = blocks_for(count / Pack<T>::size, kNoLimit);
  return launch(op, zip_kernel<T, F>, blocks, kThreads, 0, stream, a, b, count, out, f);
}

}  // namespace recis
