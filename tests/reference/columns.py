"""Raw columns to train on: small, and with everything in them that a user's files may hold."""

import numpy as np

TOP = 2**63

# Ids that are never reduced. 0 to 3 are also dense2's buckets, which share sparse1's table; 1 and
# 2^52 + 1 differ only above bit 52; -1, -2 and the extremes must not be special.
RAW_IDS = [0, 1, 2, 3, 4, 5, 17, 99, -1, -2, -7, 2**32, 2**52 + 1, -TOP, TOP - 1]


def batches(seed, steps, rows, longest):
    """`steps` dicts of columns, each a list of `rows` lists."""
    rng = np.random.default_rng(seed)
    words = strings(rng, 60)

    def ragged(values, at_most):
        return [[values() for _ in range(rng.integers(0, at_most + 1))] for _ in range(rows)]

    def one_of(choices):
        return lambda: choices[rng.integers(len(choices))]

    def any_id():
        return int(rng.integers(-TOP, TOP)) if rng.random() < 0.2 else int(rng.integers(-100, 1000))

    def fractions(width, low, high):
        # Multiples of 1/256 are the same number in f32, in f64 and in a few decimals.
        return (rng.integers(low * 256, high * 256, (rows, width)) / 256).tolist()

    for step in range(steps):
        dense1 = fractions(8, 0, 1)
        score = 6 * np.array(dense1) @ [1, -1, 1, -1, 1, -1, 1, -1]
        batch = {
            "label": (rng.random((rows, 1)) < 1 / (1 + np.exp(-score[:, None]))).astype(float).tolist(),
            "dense1": dense1,
            # Multiples of 1/8 from -1/4 on: every boundary is hit exactly.
            "dense2": (rng.integers(-2, 11, (rows, 1)) / 8).tolist(),
            "sparse1": ragged(one_of(RAW_IDS), 3),
            "sparse2": ragged(one_of(RAW_IDS[::-2]), 3),
            "sparse3": ragged(any_id, 2),
            "sparse4": ragged(any_id, longest),
            "sparse5": ragged(one_of(words), longest),
        }
        if step == 2:  # one value everywhere, as in the document's files
            batch |= {name: [[i] for i in range(rows)] for name in ["sparse1", "sparse2", "sparse3"]}
        if step == 4:  # columns without any value
            batch |= {name: [[] for _ in range(rows)] for name in ["sparse2", "sparse4"]}
        if step == 5:  # one id over and over
            batch |= {"sparse4": [[-51] * longest for _ in range(rows)]}
        yield batch


def strings(rng, count):
    """Strings of every length class of the farm hash, some of them not ASCII."""
    alphabet = [*"abcdefghijklmnopqrstuvwxyz0123456789", "ä", "中"]
    lengths = [0, 1, 3, 4, 7, 8, 16, 17, 32, 33, 64, 65, 128, 129] + [10] * (count - 14)
    return ["".join(alphabet[rng.integers(len(alphabet))] for _ in range(n)) for n in lengths]
