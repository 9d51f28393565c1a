"""The hashes and the random numbers that the reference needs, on Python's integers."""

import struct

MASK = (1 << 64) - 1


def murmur64a(data):
    """MurmurHash64A with seed 0, as an unsigned 64-bit integer."""
    m, r = 0xC6A4A7935BD1E995, 47
    h = len(data) * m & MASK
    whole = len(data) // 8 * 8
    for (k,) in struct.iter_unpack("<Q", data[:whole]):
        k = k * m & MASK
        k = (k ^ k >> r) * m & MASK
        h = (h ^ k) * m & MASK
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & MASK
    h = (h ^ h >> r) * m & MASK
    return h ^ h >> r


K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def farm_fingerprint64(s):
    """FarmHash's Fingerprint64, as an unsigned 64-bit integer."""
    n = len(s)
    if n > 64:
        return _farm_long(s)
    mul = K2 + 2 * n
    if n == 0:
        return K2
    if n < 4:
        y = s[0] + (s[n >> 1] << 8)
        z = n + (s[-1] << 2)
        return _shift_mix((y * K2 ^ z * K0) & MASK) * K2 & MASK
    if n < 8:
        return _mix(n + (_u32(s, 0) << 3), _u32(s, n - 4), mul)
    if n <= 16:
        a, b = _u64(s, 0) + K2 & MASK, _u64(s, n - 8)
        return _mix(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)
    a, b = _u64(s, 0) * (K1 if n <= 32 else K2) & MASK, _u64(s, 8)
    c, d = _u64(s, n - 8) * mul & MASK, _u64(s, n - 16) * K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & MASK
    z = _mix(y, a + _rotate(b + K2, 18) + c, mul)
    if n <= 32:
        return z
    e, f = _u64(s, 16) * mul & MASK, _u64(s, 24)
    g, h = (y + _u64(s, n - 32)) * mul & MASK, (z + _u64(s, n - 24)) * mul
    return _mix(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _farm_long(s):
    n = len(s)
    x, y = 81, 81 * K1 + 113 & MASK
    z = _shift_mix(y * K2 + 113 & MASK) * K2 & MASK
    v, w = (0, 0), (0, 0)
    x = x * K2 + _u64(s, 0) & MASK

    def chunk(at, mul, fold):
        nonlocal v, w, x, y, z
        x = _rotate(x + y + v[0] + _u64(s, at + 8), 37) * mul
        y = _rotate(y + v[1] + _u64(s, at + 48), 42) * mul
        x = (x ^ w[1] * fold) & MASK
        y = y + v[0] * fold + _u64(s, at + 40) & MASK
        z = _rotate(z + w[0], 33) * mul & MASK
        v = _weak(s, at, v[1] * mul, x + w[0])
        w = _weak(s, at + 32, z + w[1], y + _u64(s, at + 16))
        z, x = x, z

    for at in range(0, (n - 1) // 64 * 64, 64):
        chunk(at, K1, 1)
    mul = K1 + ((z & 0xFF) << 1)
    w = (w[0] + (n - 1 & 63) & MASK, w[1])
    v = (v[0] + w[0] & MASK, v[1])
    w = (w[0] + v[0] & MASK, w[1])
    chunk(n - 64, mul, 9)
    left = _mix(v[0], w[0], mul) + _shift_mix(y) * K0 + z
    return _mix(left, _mix(v[1], w[1], mul) + x, mul)


def _u32(s, at):
    return int.from_bytes(s[at : at + 4], "little")


def _u64(s, at):
    return int.from_bytes(s[at : at + 8], "little")


def _rotate(x, right):
    x &= MASK
    return (x >> right | x << (64 - right)) & MASK


def _shift_mix(x):
    return x ^ x >> 47


def _mix(u, v, mul):
    a = _shift_mix((u ^ v) * mul & MASK)
    return _shift_mix((v ^ a) * mul & MASK) * mul & MASK


def _weak(s, at, a, b):
    w, x, y, z = (_u64(s, at + 8 * i) for i in range(4))
    a = a + w & MASK
    b = _rotate(b + a + z, 21)
    c = a + x + y
    return c + z & MASK, b + _rotate(c, 44) + a & MASK


def philox4x32(counter, key):
    """Philox4x32-10: four 32-bit words from a counter of four and a key of two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        low = 0xFFFFFFFF
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & low, p0 >> 32 ^ c[3] ^ k[1], p0 & low]
        k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
    return c
