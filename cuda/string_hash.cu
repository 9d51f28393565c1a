// 64-bit hashes of byte strings: FarmHash's Fingerprint64 and MurmurHash64A, a thread a string.
#include "modulo.cuh"
#include "murmur.cuh"

namespace recis {
namespace {

constexpr uint64_t k0 = 0xc3a5c85c97cb3127, k1 = 0xb492b66fbe98f273, k2 = 0x9ae16a3b2f90404f;

// Strings begin anywhere, so words are put together from bytes; neighbours' bytes share a sector.
__device__ __forceinline__ uint64_t load_bytes(const uint8_t* s, int bytes) {
  uint64_t word = 0;
#pragma unroll
  for (int i = 0; i < bytes; ++i) word |= uint64_t(s[i]) << (8 * i);
  return word;
}
__device__ __forceinline__ uint64_t word(const uint8_t* s) { return load_bytes(s, 8); }
__device__ __forceinline__ uint64_t half_word(const uint8_t* s) { return load_bytes(s, 4); }
__device__ __forceinline__ uint64_t rotate(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }

__device__ __forceinline__ uint64_t hash_len_16(uint64_t u, uint64_t v, uint64_t mul) {
  const uint64_t a = shift_mix((u ^ v) * mul);
  return shift_mix((v ^ a) * mul) * mul;
}

__device__ uint64_t farm_0_to_16(const uint8_t* s, uint64_t len) {
  const uint64_t mul = k2 + len * 2;
  if (len >= 8) {
    const uint64_t a = word(s) + k2, b = word(s + len - 8);
    return hash_len_16(rotate(b, 37) * mul + a, (rotate(a, 25) + b) * mul, mul);
  }
  if (len >= 4) return hash_len_16(len + (half_word(s) << 3), half_word(s + len - 4), mul);
  if (len > 0) {
    const uint32_t y = s[0] + (uint32_t(s[len >> 1]) << 8), z = uint32_t(len) + (uint32_t(s[len - 1]) << 2);
    return shift_mix(y * k2 ^ z * k0) * k2;
  }
  return k2;
}

__device__ uint64_t farm_17_to_32(const uint8_t* s, uint64_t len) {
  const uint64_t mul = k2 + len * 2;
  const uint64_t a = word(s) * k1, b = word(s + 8), c = word(s + len - 8) * mul, d = word(s + len - 16) * k2;
  return hash_len_16(rotate(a + b, 43) + rotate(c, 30) + d, a + rotate(b + k2, 18) + c, mul);
}

__device__ uint64_t farm_33_to_64(const uint8_t* s, uint64_t len) {
  const uint64_t mul = k2 + len * 2;
  const uint64_t a = word(s) * k2, b = word(s + 8), c = word(s + len - 8) * mul, d = word(s + len - 16) * k2;
  const uint64_t y = rotate(a + b, 43) + rotate(c, 30) + d;
  const uint64_t z = hash_len_16(y, a + rotate(b + k2, 18) + c, mul);
  const uint64_t e = word(s + 16) * mul, f = word(s + 24);
  const uint64_t g = (y + word(s + len - 32)) * mul, h = (z + word(s + len - 24)) * mul;
  return hash_len_16(rotate(e + f, 43) + rotate(g, 30) + h, e + rotate(f + a, 18) + g, mul);
}

struct Pair {
  uint64_t first, second;
};

// 32 bytes and two seeds to two words, cheaply.
__device__ __forceinline__ Pair weak_hash(const uint8_t* s, uint64_t a, uint64_t b) {
  a += word(s);
  b = rotate(b + a + word(s + 24), 21);
  const uint64_t c = a;
  a += word(s + 8) + word(s + 16);
  b += rotate(a, 44);
  return {a + word(s + 24), b + c};
}

__device__ uint64_t farm_long(const uint8_t* s, uint64_t len) {
  constexpr uint64_t seed = 81;
  uint64_t x = seed, y = seed * k1 + 113, z = shift_mix(y * k2 + 113) * k2;
  Pair v{0, 0}, w{0, 0};
  x = x * k2 + word(s);
  // Chunks while more than 64 bytes remain; the last 64 are always taken once more below.
  const uint8_t* last = s + len - 64;
  for (const uint8_t* end = s + (len - 1) / 64 * 64; s != end; s += 64) {
    x = rotate(x + y + v.first + word(s + 8), 37) * k1;
    y = rotate(y + v.second + word(s + 48), 42) * k1;
    x ^= w.second;
    y += v.first + word(s + 40);
    z = rotate(z + w.first, 33) * k1;
    v = weak_hash(s, v.second * k1, x + w.first);
    w = weak_hash(s + 32, z + w.second, y + word(s + 16));
    const uint64_t swap = z;
    z = x;
    x = swap;
  }
  const uint64_t mul = k1 + ((z & 0xff) << 1);
  s = last;
  w.first += (len - 1) & 63;
  v.first += w.first;
  w.first += v.first;
  x = rotate(x + y + v.first + word(s + 8), 37) * mul;
  y = rotate(y + v.second + word(s + 48), 42) * mul;
  x ^= w.second * 9;
  y += v.first * 9 + word(s + 40);
  z = rotate(z + w.first, 33) * mul;
  v = weak_hash(s, v.second * mul, x + w.first);
  w = weak_hash(s + 32, z + w.second, y + word(s + 16));
  const uint64_t swap = z;
  z = x;
  x = swap;
  const uint64_t u = hash_len_16(v.first, w.first, mul) + shift_mix(y) * k0 + z;
  return hash_len_16(u, hash_len_16(v.second, w.second, mul) + x, mul);
}

struct Farm {
  __device__ uint64_t operator()(const uint8_t* s, uint64_t len) const {
    if (len <= 16) return farm_0_to_16(s, len);
    if (len <= 32) return farm_17_to_32(s, len);
    return len <= 64 ? farm_33_to_64(s, len) : farm_long(s, len);
  }
};

struct Murmur {
  __device__ uint64_t operator()(const uint8_t* s, uint64_t len) const {
    uint64_t h = murmur_begin(len);
    for (const uint8_t* end = s + len / 8 * 8; s != end; s += 8) h = murmur_add(h, word(s));
    if (len % 8) {
      uint64_t tail = 0;
      for (uint64_t i = len % 8; i-- > 0;) tail = tail << 8 | s[i];
      h = (h ^ tail) * kMurmur;
    }
    return murmur_end(h);
  }
};

template <class Hash, class Rest>
__global__ void __launch_bounds__(kThreads)
    string_hash_kernel(const uint8_t* bytes, int64_t capacity, const int32_t* offsets, int64_t count, Rest rest,
                       int64_t* out) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const Segment string = segment_of(offsets, i, capacity);
    out[i] = rest(int64_t(Hash()(bytes + string.begin, uint64_t(string.end - string.begin))));
  }
}

template <class Hash>
int string_hash(const char* op, const int8_t* bytes, int64_t capacity, const int32_t* offsets, int64_t count,
                uint64_t modulus, int64_t* out, recis_stream_t stream) {
  if (int status = first_of(require_array(out, count, op, "out"), require_array(offsets, 1, op, "offsets"),
                            require(bytes || count == 0, op, "bytes", "is null"),
                            require(capacity >= 0, op, "bytes", "has a negative size")))
    return status;
  if (count == 0) return RECIS_OK;
  return with_modulus(modulus, [&](auto rest) {
    return launch(op, string_hash_kernel<Hash, decltype(rest)>, blocks_for(count, kNoLimit), kThreads, 0, stream,
                  reinterpret_cast<const uint8_t*>(bytes), capacity, offsets, count, rest, out);
  });
}

}  // namespace
}  // namespace recis

extern "C" int recis_string_hash_farm(const int8_t* bytes, int64_t capacity, const int32_t* offsets,
                                      int64_t count, uint64_t modulus, int64_t* out, recis_stream_t stream) {
  return recis::string_hash<recis::Farm>("string_hash.farm", bytes, capacity, offsets, count, modulus, out, stream);
}

extern "C" int recis_string_hash_murmur(const int8_t* bytes, int64_t capacity, const int32_t* offsets,
                                        int64_t count, uint64_t modulus, int64_t* out, recis_stream_t stream) {
  return recis::string_hash<recis::Murmur>("string_hash.murmur", bytes, capacity, offsets, count, modulus, out,
                                           stream);
}
