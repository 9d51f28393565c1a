// A dense column into its place in a matrix, rounded to f32.
#include "elementwise.cuh"
#include "unfit.cuh"

namespace recis {
namespace {

// Where a column goes.
struct Place {
  float* out;  // from the first column on
  int64_t stride;
  uint64_t* unfit;
};

template <class T>
__device__ __forceinline__ float rounded(T value, int64_t row, const Place& place) {
  const float number = float(value);
  if (!is_finite(number)) report_unfit(place.unfit, row, number);
  return number;
}

// `size` values a thread: 4 if packs of both sides are aligned, or 1.
template <int size, class T>
__global__ void __launch_bounds__(kThreads)
    copy_column_kernel(const T* values, int64_t rows, int64_t width, Place place) {
  wait_for_stream();
  const int64_t groups = width / size;
  for (int64_t i = grid_thread(); i < rows * groups; i += grid_threads()) {
    const int64_t row = i / groups, column = i % groups * size;
    float* const to = place.out + row * place.stride + column;
    if constexpr (size == 1) {
      *to = rounded(values[i], row, place);
    } else {
      Pack<float> numbers;
#pragma unroll
      for (int k = 0; k < size; k += Pack<T>::size) {
        const Pack<T> pack = load(values, (i * size + k) / Pack<T>::size);
#pragma unroll
        for (int j = 0; j < Pack<T>::size; ++j) numbers.value[k + j] = rounded(pack.value[j], row, place);
      }
      store(to, 0, numbers);
    }
  }
}

template <class T>
int copy_column(const char* op, const T* values, int64_t rows, int64_t width, float* out, int64_t first_column,
                int64_t out_stride, uint64_t* unfit, recis_stream_t stream) {
  if (int status = first_of(require(rows >= 0, op, "rows", "is negative"), require_reportable(rows, op, "rows"),
                            require(width >= 0 && width <= INT32_MAX, op, "width", "is negative or too large"),
                            require(first_column >= 0, op, "first_column", "is negative"),
                            require(first_column <= out_stride && width <= out_stride - first_column, op,
                                    "out_stride", "is below what the columns need")))
    return status;
  const int64_t count = rows * width;
  if (int status = first_of(require_array(values, count, op, "values"), require_array(out, count, op, "out"),
                            require_array(unfit, 1, op, "unfit")))
    return status;
  if (count == 0) return RECIS_OK;
  const bool wide = width % 4 == 0 && first_column % 4 == 0 && out_stride % 4 == 0;
  const auto kernel = wide ? copy_column_kernel<4, T> : copy_column_kernel<1, T>;
  return launch(op, kernel, blocks_for(count / (wide ? 4 : 1)), kThreads, 0, stream, values, rows, width,
                Place{out + first_column, out_stride, unfit});
}

}  // namespace
}  // namespace recis

extern "C" int recis_copy_column_f32(const float* values, int64_t rows, int64_t width, float* out,
                                     int64_t first_column, int64_t out_stride, uint64_t* unfit,
                                     recis_stream_t stream) {
  return recis::copy_column("copy_column.f32", values, rows, width, out, first_column, out_stride, unfit, stream);
}

extern "C" int recis_copy_column_f64(const double* values, int64_t rows, int64_t width, float* out,
                                     int64_t first_column, int64_t out_stride, uint64_t* unfit,
                                     recis_stream_t stream) {
  return recis::copy_column("copy_column.f64", values, rows, width, out, first_column, out_stride, unfit, stream);
}

extern "C" int recis_copy_column_i64(const int64_t* values, int64_t rows, int64_t width, float* out,
                                     int64_t first_column, int64_t out_stride, uint64_t* unfit,
                                     recis_stream_t stream) {
  return recis::copy_column("copy_column.i64", values, rows, width, out, first_column, out_stride, unfit, stream);
}
