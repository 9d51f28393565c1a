// One gradient for each row out of several lists.
#include "device_wide.cuh"
#include "lanes.cuh"

namespace recis {
namespace {

constexpr int64_t kMostLists = 64;

// The lists one behind the other: list l begins at place begin[l].
struct Lists {
  recis_gradients list[kMostLists];
  uint32_t begin[kMostLists + 1];
  int64_t count;
};

// Which list each place is in, by bisection, for there are few.
__device__ __forceinline__ int list_of(const Lists& lists, uint32_t place) {
  return int(range_of(lists.begin, lists.count, place));
}

struct Scratch {
  uint32_t* keys;           // [total] rows, RECIS_NO_ROW where there is none
  uint32_t* places;         // [total]
  uint32_t* sorted_keys;    // [total]
  uint32_t* sorted_places;  // [total]
  uint32_t* ordinals;       // [total] of how many rows the first places are
  uint32_t* starts;         // [total + 1] where in the sorted places a row's begin
  char* device_wide;
  size_t device_wide_bytes;
};

Scratch scratch_of(Workspace& workspace, int64_t total) {
  const size_t sort = sort_pairs_bytes(total), sum = sum_bytes(total);
  Scratch scratch;
  scratch.keys = workspace.take<uint32_t>(total);
  scratch.places = workspace.take<uint32_t>(total);
  scratch.sorted_keys = workspace.take<uint32_t>(total);
  scratch.sorted_places = workspace.take<uint32_t>(total);
  scratch.ordinals = workspace.take<uint32_t>(total);
  scratch.starts = workspace.take<uint32_t>(total + 1);
  scratch.device_wide_bytes = sort > sum ? sort : sum;
  scratch.device_wide = workspace.take<char>(int64_t(scratch.device_wide_bytes));
  return scratch;
}

__global__ void __launch_bounds__(kThreads) concatenate_kernel(Lists lists, int64_t total, Scratch scratch) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < total; i += grid_threads()) {
    const int l = list_of(lists, uint32_t(i));
    const recis_gradients& list = lists.list[l];
    const int64_t at = i - lists.begin[l];
    scratch.keys[i] = at < bounded(list.count, list.capacity) ? list.rows[at] : RECIS_NO_ROW;
    scratch.places[i] = uint32_t(i);
  }
}

__device__ __forceinline__ bool begins_row(const uint32_t* keys, int64_t i) {
  return keys[i] != RECIS_NO_ROW && (i == 0 || keys[i] != keys[i - 1]);
}

__global__ void __launch_bounds__(kThreads) mark_kernel(int64_t total, Scratch scratch) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < total; i += grid_threads())
    scratch.ordinals[i] = begins_row(scratch.sorted_keys, i);
}

__global__ void __launch_bounds__(kThreads)
    rows_kernel(int64_t total, Scratch scratch, uint32_t* rows, uint32_t* count) {
  wait_for_stream();
  if (grid_thread() == 0) *count = total > 0 ? scratch.ordinals[total - 1] : 0;
  const uint32_t* keys = scratch.sorted_keys;
  for (int64_t i = grid_thread(); i < total; i += grid_threads()) {
    if (begins_row(keys, i)) {
      rows[scratch.ordinals[i] - 1] = keys[i];
      scratch.starts[scratch.ordinals[i] - 1] = uint32_t(i);
    }
    if (keys[i] != RECIS_NO_ROW && (i + 1 == total || keys[i + 1] == RECIS_NO_ROW))
      scratch.starts[scratch.ordinals[i]] = uint32_t(i + 1);
  }
}

template <int width>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(Lists lists, int64_t total, int64_t dim, float steps, Scratch scratch, int shift,
               float* values) {
  wait_for_stream();
  const int64_t rows = scratch.ordinals[total - 1];
  for (int64_t row = grid_thread() >> shift; row < rows; row += grid_threads() >> shift) {
    const uint32_t begin = scratch.starts[row], end = scratch.starts[row + 1];
    for (int64_t c = lane_column<width>(shift); c < dim; c += int64_t(width) << shift) {
      Floats<width> sum{};
      for (uint32_t i = begin; i < end; ++i) {
        const uint32_t place = scratch.sorted_places[i];
        const int l = list_of(lists, place);
        add(sum, load_floats<width>(lists.list[l].values + (place - lists.begin[l]) * dim + c));
      }
      for (float& value : sum.value) value /= steps;
      store_floats(values + row * dim + c, sum);
    }
  }
}

int require_lists(const recis_gradients* lists, int64_t count, const char* op) {
  if (int status = first_of(require(count >= 0 && count <= kMostLists, op, "list_count", "is not in 0..64"),
                            require(lists || count == 0, op, "lists", "is null")))
    return status;
  int64_t total = 0;
  for (int64_t l = 0; l < count; ++l) {
    const recis_gradients& list = lists[l];
    if (int status = first_of(require_array(list.rows, list.capacity, op, "a list's rows"),
                              require_array(list.values, list.capacity, op, "a list's values"),
                              require_array(list.count, 0, op, "a list's count")))
      return status;
    total += list.capacity < INT32_MAX ? list.capacity : INT32_MAX;
  }
  return require(total < INT32_MAX, op, "the lists' capacity", "is too large");
}

}  // namespace
}  // namespace recis

extern "C" int recis_merge_gradients_workspace_size(int64_t total, size_t* bytes) {
  using namespace recis;
  const char* op = "merge_gradients.workspace_size";
  if (int status = first_of(require(total >= 0 && total < INT32_MAX, op, "total", "is negative or too large"),
                            require(bytes, op, "bytes", "is null")))
    return status;
  if (int status = require_device(op)) return status;
  Workspace workspace;
  scratch_of(workspace, total);
  *bytes = workspace.bytes();
  return RECIS_OK;
}

extern "C" int recis_merge_gradients_forward(const recis_gradients* lists, int64_t list_count, int64_t dim,
                                             float steps, uint32_t* rows, float* values, uint32_t* count,
                                             void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "merge_gradients.forward";
  if (int status = require_lists(lists, list_count, op)) return status;
  Lists all{};
  all.count = list_count;
  for (int64_t l = 0; l < list_count; ++l) {
    all.list[l] = lists[l];
    all.begin[l + 1] = all.begin[l] + uint32_t(lists[l].capacity);
  }
  const int64_t total = all.begin[list_count];
  Workspace cut(workspace);
  const Scratch scratch = scratch_of(cut, total);
  if (int status = first_of(require(dim > 0, op, "dim", "is below 1"),
                            require(steps > 0, op, "steps", "is not above 0"),
                            require_array(rows, total, op, "rows"),
                            require_array(values, total, op, "values"), require_array(count, 1, op, "count"),
                            require_workspace(workspace, workspace_bytes, cut.bytes(), op)))
    return status;
  const unsigned blocks = blocks_for(total);
  if (total == 0) return launch(op, rows_kernel, blocks, kThreads, 0, stream, total, scratch, rows, count);
  const bool wide = dim % 4 == 0;
  const int shift = group_shift(dim, wide ? 4 : 1);
  if (int status = launch(op, concatenate_kernel, blocks, kThreads, 0, stream, all, total, scratch))
    return status;
  if (int status = sort_pairs(op, scratch.keys, scratch.sorted_keys, scratch.places, scratch.sorted_places,
                              total, 32, scratch.device_wide, scratch.device_wide_bytes, stream))
    return status;
  if (int status = launch(op, mark_kernel, blocks, kThreads, 0, stream, total, scratch)) return status;
  if (int status = inclusive_sum(op, scratch.ordinals, scratch.ordinals, total, scratch.device_wide,
                                 scratch.device_wide_bytes, stream))
    return status;
  if (int status = launch(op, rows_kernel, blocks, kThreads, 0, stream, total, scratch, rows, count))
    return status;
  return launch(op, wide ? sum_kernel<4> : sum_kernel<1>, blocks_for(total << shift), kThreads, 0, stream,
                all, total, dim, steps, scratch, shift, values);
}
