"""The hash table and a combiner from Python, on the memory of NumPy or torch tensors, without linking to
either: recis is a C library, ctypes calls it.

    python examples/python/embedding_bag.py path/to/librecis.so            # built with RECIS_SIMT: NumPy
    python examples/python/embedding_bag.py path/to/librecis.so --torch    # built for CUDA: torch
"""

import argparse
import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint16
from ctypes import c_uint32, c_uint64, c_void_p, py_object

import numpy as np


class Lookup(Structure):  # recis_lookup
    _fields_ = [("embeddings", c_void_p), ("inverse", c_void_p), ("offsets", c_void_p), ("unique", c_int64),
                ("dim", c_int64), ("first_id", c_int64), ("capacity", c_int64), ("segments", c_int64)]


class Combined(Structure):  # recis_combined
    _fields_ = [("lookup", Lookup), ("weights", c_void_p), ("denominator", ctypes.c_int), ("first_column", c_int64)]


class IdsColumn(Structure):  # recis_ids_column
    _fields_ = [("ids", c_void_p), ("offsets", c_void_p), ("rows", c_int64), ("capacity", c_int64),
                ("first", c_int64), ("table", c_uint32)]


class Rows(Structure):  # recis_rows
    _fields_ = [("storage", c_void_p), ("bound", c_int64), ("dim", c_int64), ("stride", c_int64)]


class Initializer(Structure):  # recis_initializer
    _fields_ = [("distribution", c_int), ("a", c_double), ("b", c_double), ("lower_q", c_double),
                ("upper_q", c_double), ("lower", c_double), ("upper", c_double)]


class DLTensor(Structure):  # as in recis_dlpack.h
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)),
                ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


ABI_VERSION = 1
CODES = {"i": 0, "u": 1, "f": 2}
UNIFORM, DIVIDE_BY_COUNT = 1, 2
_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_capsule.restype, _capsule.argtypes = c_void_p, [py_object, c_char_p]


def address(tensor, dtype):
    """Where a tensor's first element is: of NumPy, torch, or whatever speaks DLPack. The tensor must be kept
    as long as the address is used."""
    capsule = tensor.__dlpack__()
    dl = ctypes.cast(_capsule(capsule, b"dltensor"), POINTER(DLTensor)).contents
    dtype = np.dtype(dtype)
    # Unsigned numbers may come as signed ones, which older versions of torch are without.
    codes = {CODES[dtype.kind], 0 if dtype.kind == "u" else CODES[dtype.kind]}
    if dl.code not in codes or dl.bits != 8 * dtype.itemsize or dl.lanes != 1:
        raise TypeError(f"a tensor of {dtype} is needed")
    stride = 1
    for size, of_size in reversed([(dl.shape[i], dl.strides[i] if dl.strides else None) for i in range(dl.ndim)]):
        if size > 1 and of_size not in (None, stride):
            raise ValueError("a tensor must be row after row, without gaps")
        stride *= size
    begin = (dl.data or 0) + dl.byte_offset
    if begin % 16:
        raise ValueError("a tensor must begin at a multiple of 16 bytes: copy it")
    return begin if stride else None


class NumPyMemory:
    """Arrays of the host, for a library that runs the kernels on the CPU."""

    @staticmethod
    def array(values, dtype):
        """A copy that begins at a multiple of 16 bytes: NumPy promises none."""
        values = np.asarray(values, dtype)
        room = np.zeros(values.nbytes + 16, np.uint8)
        begin = -room.ctypes.data % 16
        copy = room[begin:begin + values.nbytes].view(dtype).reshape(values.shape)
        copy[...] = values
        return copy

    numpy = staticmethod(np.asarray)
    stream = None


class TorchMemory:
    """Tensors of the current CUDA device, and torch's current stream."""

    def __init__(self):
        import torch

        self.torch = torch
        self.stream = c_void_p(torch.cuda.current_stream().cuda_stream)

    def array(self, values, dtype):
        # The same bits as signed numbers, which every version has.
        values = np.array(values, dtype)
        signed = values.view(values.dtype.str.replace("u", "i"))
        return self.torch.from_numpy(signed).cuda()

    def numpy(self, tensor):
        return tensor.cpu().numpy()


class Recis:
    """The functions of the library: a tensor and its type stand for a pointer, a status becomes an error."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.recis_last_error.restype = c_char_p
        if self._library.recis_abi_version() != ABI_VERSION:
            raise RuntimeError(f"{path} has another ABI version than {ABI_VERSION}")

    def __getattr__(self, name):
        function = getattr(self._library, f"recis_{name}")

        def call(*arguments):
            # ctypes would pass a plain int as 32 bits.
            arguments = [c_int64(a) if isinstance(a, int) else a for a in arguments]
            if function(*arguments):
                raise RuntimeError(self._library.recis_last_error().decode())

        return call


def run(recis, memory):
    random = np.random.default_rng(1)
    dim, bags, room = 8, 50, 512
    lengths = random.integers(0, 9, bags)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(-40, 40, offsets[-1]) * (1 << 55)
    total = len(ids)

    def pointer(tensor, dtype):
        return c_void_p(address(tensor, dtype))

    def zeros(shape, dtype):
        return memory.array(np.zeros(shape, dtype), dtype)

    # The distinct ids of the batch, and which of them each position holds.
    d_ids, d_offsets = memory.array(ids, np.int64), memory.array(offsets, np.int32)
    distinct, table_offsets = zeros(total, np.int64), zeros(2, np.uint32)
    inverse, positions, starts = zeros(total, np.uint32), zeros(total, np.uint32), zeros(total + 1, np.uint32)
    column = IdsColumn(address(d_ids, np.int64), address(d_offsets, np.int32), bags, total, 0, 0)
    workspace_bytes = c_size_t()
    recis.partition_ids_workspace_size(total, 1, total, ctypes.byref(workspace_bytes))
    workspace = zeros(workspace_bytes.value, np.uint8)
    recis.partition_ids_forward(
        ctypes.byref(column), 1, 1, total, total, pointer(distinct, np.int64), pointer(table_offsets, np.uint32),
        pointer(inverse, np.uint32), pointer(positions, np.uint32), pointer(starts, np.uint32),
        None, pointer(workspace, np.uint8), workspace_bytes, memory.stream)

    # Their rows in the table; new ones begin with uniform numbers.
    table = c_void_p()
    recis.hash_table_create(room, ctypes.byref(table), memory.stream)
    rows, new_ids, new_count = zeros(total, np.uint32), zeros(total, np.uint32), zeros(1, np.uint32)
    recis.hash_table_find_or_insert(
        table, pointer(distinct, np.int64), pointer(table_offsets, np.uint32), 1, total,
        pointer(rows, np.uint32), pointer(new_ids, np.uint32), pointer(new_count, np.uint32), None, memory.stream)
    storage, keys = zeros((room, dim), np.float32), memory.array([7], np.uint64)
    stored = Rows(address(storage, np.float32), room, dim, dim)
    uniform = Initializer(distribution=UNIFORM, a=-1, b=1)
    recis.rows_initialize(
        ctypes.byref(stored), ctypes.byref(uniform), pointer(keys, np.uint64), pointer(distinct, np.int64),
        pointer(rows, np.uint32), total, pointer(table_offsets, np.uint32), 1, pointer(new_ids, np.uint32),
        total, pointer(new_count, np.uint32), memory.stream)

    # The mean of each bag.
    embeddings, means = zeros((total, dim), np.float32), zeros((bags, dim), np.float32)
    recis.rows_gather(ctypes.byref(stored), 0, pointer(rows, np.uint32), total, None,
                      pointer(embeddings, np.float32), memory.stream)
    lookup = Lookup(address(embeddings, np.float32), address(inverse, np.uint32), address(d_offsets, np.int32),
                    total, dim, 0, total, bags)
    combined = Combined(lookup, None, DIVIDE_BY_COUNT, 0)
    recis.combine_forward(ctypes.byref(combined), 1, pointer(means, np.float32), dim, memory.stream)
    got, got_rows = memory.numpy(means), memory.numpy(rows).view(np.uint32)
    recis.hash_table_destroy(table)

    # The same in NumPy.
    got_ids, count = memory.numpy(distinct), int(memory.numpy(table_offsets).view(np.uint32)[1])
    assert set(got_ids[:count]) == set(ids), "the distinct ids are those of the batch"
    assert int(memory.numpy(new_count)[0]) == count == len(set(got_rows[:count])), "each id has a row of its own"
    row_of = dict(zip(got_ids[:count].tolist(), got_rows.tolist()))
    weight = memory.numpy(storage).astype(np.float64)
    expected = np.zeros((bags, dim))
    for bag in range(bags):
        of_bag = [weight[row_of[i]] for i in ids[offsets[bag]:offsets[bag + 1]].tolist()]
        if of_bag:
            expected[bag] = np.mean(of_bag, axis=0)
    error = np.abs(got - expected).max()
    assert error < 1e-6, f"means differ by {error}"
    assert np.abs(weight[got_rows[:count]]).min() > 0, "rows have initial values"

    # What the library refuses is an error with its message.
    try:
        recis.modulo_forward(None, 4, c_uint64(3), None, memory.stream)
    except RuntimeError as refused:
        print("refused as it must be:", refused)
    else:
        raise AssertionError("a null pointer was let through")
    print(f"embedding_bag: {total} ids, {count} distinct, {bags} bags, largest difference {error:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="librecis.so")
    parser.add_argument("--torch", action="store_true", help="tensors of torch on the current CUDA device")
    options = parser.parse_args()
    run(Recis(options.library), TorchMemory() if options.torch else NumPyMemory())
