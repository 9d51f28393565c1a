#!/usr/bin/env python3
"""How fast pyarrow reads an ORC file into Arrow tables: the line that benches/orc_dataset.rs prints.

    pip install pyarrow
    python scripts/compare_pyarrow.py FILE.orc
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow
from pyarrow import orc

SECONDS = 3.0
PASSES = 5
SMALL = 64 << 20


def read(path):
    """All stripes, one after the other, as batches."""
    file = orc.ORCFile(path)
    batches = [file.read_stripe(i) for i in range(file.nstripes)]
    return file.nrows, sum(batch.nbytes for batch in batches)


def measure(path, threads):
    stored = os.path.getsize(path)
    copies = -(-SMALL // stored)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        begin, passes = time.perf_counter(), 0
        while passes <= PASSES or time.perf_counter() - begin < SECONDS:
            start = time.perf_counter()
            results = list(pool.map(read, [path] * copies))
            if passes > 0:
                best = min(best, time.perf_counter() - start)
            passes += 1
    rows, decoded = (sum(column) for column in zip(*results))
    name = os.path.splitext(os.path.basename(path))[0]
    print(
        f"pyarrow {pyarrow.__version__}/{name}/{threads}: {1e3 * best / copies:.1f} ms a file"
        f" | {rows / best:.0f} rows/s | {decoded / best / 1e6:.0f} MB/s decoded"
        f" | {copies * stored / best / 1e6:.0f} MB/s stored"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pyarrow.set_cpu_count(1)
    for threads in (1, 2):
        measure(sys.argv[1], threads)
