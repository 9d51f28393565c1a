"""Holds the files of make_data against pyarrow: every codec, with and without a dictionary, in one
stripe and in several. What the files should hold comes from `make_data --json`.

    python tests/reference/check_make_data.py target/debug/examples
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

from pyarrow import orc

ROWS = 300
STRIPE_ROWS = 77
TYPES = {
    "label": "list<item: double>",
    "dense1": "list<item: double>",
    "dense2": "list<item: double>",
    "sparse1": "list<item: int64>",
    "sparse2": "list<item: int64>",
    "sparse3": "list<item: int64>",
    "sparse4": "list<item: int64>",
    "sparse5": "list<item: string>",
}


def check(make_data, output, codec, dictionary, stripe_rows):
    command = [make_data, "--output", output, "--files=2", f"--rows={ROWS}", "--max-len=400"]
    command += ["--distinct", "--json", f"--compression={codec}", f"--stripe-rows={stripe_rows}"]
    subprocess.run(command + ["--dictionary"] * dictionary, check=True, stdout=subprocess.DEVNULL)

    files = sorted(pathlib.Path(output).glob("*.orc"))
    assert [file.name for file in files] == ["data_0.orc", "data_1.orc"], files
    for file in files:
        expected = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
        read = orc.ORCFile(file)
        assert {field.name: str(field.type) for field in read.schema} == TYPES, read.schema
        assert list(TYPES) == read.schema.names, read.schema.names
        assert read.nrows == len(expected) == ROWS, read.nrows
        assert read.nstripes == -(-ROWS // stripe_rows), read.nstripes
        assert read.compression == ("UNCOMPRESSED" if codec == "none" else codec.upper()), read.compression
        for row, (got, want) in enumerate(zip(read.read().to_pylist(), expected, strict=True)):
            for column in TYPES:
                assert got[column] == want[column], f"{file} row {row} {column}: {got[column]}, not {want[column]}"
    return sum(file.stat().st_size for file in files)


def main():
    make_data = pathlib.Path(sys.argv[1]) / "make_data"
    for codec, stripe_rows in itertools.product(["none", "zlib", "snappy", "zstd", "lz4"], [ROWS, STRIPE_ROWS]):
        sizes = []
        for dictionary in [False, True]:
            with tempfile.TemporaryDirectory() as output:
                sizes.append(check(make_data, output, codec, dictionary, stripe_rows))
        direct, indexed = sizes
        # Ten bytes a string or two bytes an index: a flag without effect would show.
        assert codec != "none" or indexed < 0.6 * direct, f"{direct} bytes without a dictionary, {indexed} with"
        print(f"{codec}, {stripe_rows} rows a stripe: {direct} bytes, {indexed} with a dictionary")


if __name__ == "__main__":
    main()
