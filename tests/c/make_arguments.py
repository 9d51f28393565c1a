"""Writes a C program that calls every function of recis.h: once rightly, and once for every argument that
can be wrong. Usage: make_arguments.py recis.h >arguments.c

What it knows of arguments it takes from the declarations; what a declaration does not say stands below.
A new function is called without a change here, and fails until its sizes are given if the usual do not do.
"""

import re
import sys

# Sizes that make all calls valid. Every array has room for far more.
SIZES = {
    "count": 8, "capacity": 8, "rows": 8, "tables": 1, "total": 8, "ids": 8, "width": 4, "out_stride": 8,
    "first_column": 0, "out_capacity": 32, "keep": 2, "boundary_count": 4, "threshold_count": 4,
    "column_count": 1, "feature_count": 1, "gradient_count": 1, "list_count": 1, "parameter_count": 1, "dim": 4, "slot": 0, "tile_len": 2, "dense_count": 1, "tile_count": 1,
    "layer_count": 1, "id_capacity": 8, "multiplier": 3, "prime": 5, "buckets": 3, "x_capacity": 8, "y_capacity": 8,
    "modulus": 3, "table": 0, "logical_table": 0, "world_size": 2, "steps": 1, "accumulate": 0, "listed": 8, "unordered": 0, "prepared_bytes": 0,
}
# Numbers that may be anything, and floats, of which few are refused.
ANY = {"multiplier", "accumulate", "unordered"}
# Values beyond the largest for unsigned ones, which cannot be negative.
TOO_LARGE = {"table": 4096, "logical_table": 4096, "modulus": 0}
# Where a modulus of 0 is none.
WITHOUT_MODULUS = {"recis_string_hash_farm", "recis_string_hash_murmur", "recis_truncate_forward"}
# Pointers that may be null.
OPTIONAL = {
    ("recis_ragged", "weights"), ("recis_combined", "weights"), ("recis_ids_column", "offsets"), ("recis_gradients", "count"),
    ("*", "count const uint32_t *"), ("*", "weights const float *"), ("recis_bce_forward", "d_prediction"),
    ("recis_partition_ids_forward", "count"), ("recis_linear_tile_backward_tiles", "d_embeddings"),
    ("recis_hash_table_find_or_insert", "counters"),
}
# Fields in the order of their structs.
STRUCTS = {
    "recis_adamw_parameter": ["value", "exp_avg", "exp_avg_sq", "gradient", "count"],
    "recis_ragged": ["values", "offsets", "weights", "rows", "capacity"],
    "recis_ids_column": ["ids", "offsets", "rows", "capacity", "first", "table"],
    "recis_rows": ["storage", "bound", "dim", "stride"],
    "recis_initializer": [],
    "recis_gradients": ["rows", "values", "count", "capacity"],
    "recis_lookup": ["embeddings", "inverse", "offsets", "unique", "dim", "first_id", "capacity", "segments"],
    "recis_occurrences": ["positions", "starts", "table_offsets", "total", "table"],
    "recis_combined": ["lookup", "weights", "denominator", "first_column"],
    "recis_combined_gradient": ["feature", "occurrences", "d_out", "out_stride", "d_embeddings"],
    "recis_linear_size": ["rows", "inputs", "outputs", "precision"],
    "recis_dense_columns": ["x", "width", "first_column"],
    "recis_tile": ["lookup", "tile_len", "first_column", "range"],
    "recis_mlp_layer": ["weight", "bias", "d_weight", "d_bias", "inputs", "outputs"],
}
# Fields that are structs.
NESTED = {"lookup": "recis_lookup", "feature": "recis_combined", "occurrences": "recis_occurrences"}
FIELDS = {
    "bound": 8, "dim": 4, "stride": 12, "first": 0, "unique": 8, "first_id": 0, "segments": 8, "inputs": 12,
    "outputs": 4, "total": 8, "rows": 8, "capacity": 8, "table": 0, "width": 4, "tile_len": 2,
    "precision": 0, "denominator": 0, "count": 8, "out_stride": 8,
}
# A network ends in one value a row.
STRUCT_FIELDS = {("recis_mlp_layer", "outputs"): 1}
# A column's place: the tile takes the columns 0..8, the dense one those behind.
PLACES = {"recis_dense_columns": 8, "recis_tile": 0, "recis_combined": 0}
# Where a dense column alone is asked for, and what else differs by function.
BY_FUNCTION = {("recis_linear_tile_backward_dense", "width"): 4}
# No layer of these sizes has any.
PREPARED = {"prepared": "NULL", "prepared_bytes": "0"}
# What does nothing then, on no device either.
WITHOUT_WORK = {"recis_linear_tile_prepare", "recis_linear_tile_prepare_inputs", "recis_linear_tile_prepare_backward"}
# Sizes at which every function that takes scratch memory needs some. Such calls are refused: no array has
# to be that large.
LARGE = {"rows": 100000}
LARGE_FIELDS = {("recis_ragged", "rows"): 100000, ("recis_linear_size", "rows"): 512,
                ("recis_linear_size", "inputs"): 512, ("recis_linear_size", "outputs"): 512,
                ("recis_lookup", "segments"): 512, ("recis_dense_columns", "width"): 400}
POINTERS = {"values", "offsets", "weights", "ids", "storage", "rows", "count", "embeddings", "inverse",
            "positions", "starts", "table_offsets", "x", "value", "exp_avg", "exp_avg_sq", "gradient",
            "weight", "bias", "d_weight", "d_bias", "d_out", "d_embeddings"}

header = re.sub(r"/\*.*?\*/", "", open(sys.argv[1]).read(), flags=re.S)
declarations = re.findall(r"^(int|int64_t|uint64_t|const char \*)\s*(recis_\w+)\(([^)]*)\);", header, re.M)


def parameters_of(text):
    if text.strip() == "void":
        return []
    parts = [re.match(r"(.*?)(\w+)$", " ".join(part.split())) for part in text.split(",")]
    return [(part.group(1).strip(), part.group(2)) for part in parts]


def struct_literal(struct, arrays, changed=None, large=False):
    """The struct as a compound literal, with one field changed."""
    if struct == "recis_initializer":
        return "(recis_initializer){.distribution = RECIS_CONSTANT}"
    fields = []
    for field in STRUCTS[struct]:
        if field in NESTED:
            value = struct_literal(NESTED[field], arrays, None, large)
        elif field == "range":
            value = "NULL"
        elif is_pointer(struct, field):
            value = f"array({next(arrays)})"
        elif field == "first_column":
            value = str(PLACES[struct])
        else:
            usual = STRUCT_FIELDS.get((struct, field), FIELDS[field])
            value = str(large and LARGE_FIELDS.get((struct, field)) or usual)
        if changed and changed[0] == field:
            value = changed[1]
        fields.append(f".{field} = {value}")
    return f"({struct}){{{', '.join(fields)}}}"


def is_pointer(struct, field):
    numbers = {("recis_ids_column", "rows"), ("recis_ragged", "rows"), ("recis_linear_size", "rows"),
               ("recis_adamw_parameter", "count")}
    return field in POINTERS and (struct, field) not in numbers


def numbers():
    number = 0
    while True:
        yield number
        number += 1


class Call:
    """A function's valid arguments, and what can be done to each."""

    def __init__(self, name, parameters):
        self.name, self.parameters = name, parameters

    def text(self, place=None, value=None, field=None, large=False):
        arrays, arguments = numbers(), []
        for i, (kind, name) in enumerate(self.parameters):
            changed = (field, value) if place == i and field else None
            argument = self.argument(kind, name, arrays, changed, large)
            arguments.append(value if place == i and not field else argument)
        return f"{self.name}({', '.join(arguments)})"

    def argument(self, kind, name, arrays, changed, large):
        struct = kind.replace("const ", "").rstrip("* ")
        if kind == "recis_stream_t":
            return "NULL"
        if struct in STRUCTS:
            return "&" + struct_literal(struct, arrays, changed, large)
        if kind == "recis_hash_table **":
            return "&made"
        if struct == "recis_hash_table":
            return "table"
        if kind == "size_t *":
            return "&bytes"
        if name == "workspace_bytes":
            return "SIZE_MAX" if large else "WORKSPACE"
        if name in PREPARED:
            return PREPARED[name]
        if "*" in kind:
            return f"array({next(arrays)})" if name != "workspace" else "workspace"
        if kind.startswith("recis_"):
            return "0"
        if large and name in LARGE:
            return str(LARGE[name])
        return str(BY_FUNCTION.get((self.name, name), SIZES.get(name, 1)))

    def may_be_null(self, kind, name):
        return bool({(self.name, name), ("*", f"{name} {kind}")} & OPTIONAL)

    def mistakes(self):
        """(place, field, value, what the message must say)"""
        for i, (kind, name) in enumerate(self.parameters):
            struct = kind.replace("const ", "").rstrip("* ")
            if kind == "recis_stream_t" or name == "workspace" or name in PREPARED:
                continue
            if struct in STRUCTS:
                if not self.may_be_null("", name):
                    yield i, None, "NULL", "null"
                yield from ((i, *mistake) for mistake in self.of_struct(struct))
            elif "*" in kind:
                if not self.may_be_null(kind, name):
                    yield i, None, "NULL", "null"
                # Bytes need no alignment, nor does what is the host's.
                if struct not in ("int8_t", "size_t", "recis_hash_table"):
                    yield i, None, "misaligned()", "not aligned to 16 bytes"
            elif name == "workspace_bytes":
                continue
            elif kind.startswith("recis_"):
                yield i, None, f"({kind})99", "unknown"
            elif name in TOO_LARGE and not (name == "modulus" and self.name in WITHOUT_MODULUS):
                yield i, None, str(TOO_LARGE[name]), ""
            elif kind in ("int64_t", "int32_t") and name not in ANY:
                yield i, None, "-1", ""

    def of_struct(self, struct):
        for field in STRUCTS[struct]:
            if field in NESTED or field == "range":
                # What is in them is wrong where they are arguments of their own, and any range will do.
                continue
            if is_pointer(struct, field):
                # Sizes say how much scratch memory is needed; they may leave arrays out of account.
                if (struct, field) not in OPTIONAL and not self.name.endswith("_size"):
                    yield field, "NULL", "null"
                if not self.name.endswith("_size"):
                    yield field, "misaligned()", "not aligned to 16 bytes"
            elif field in ("precision", "denominator"):
                yield field, "99", "unknown"
            elif field in ("table", "out_stride"):
                # No size depends on it.
                if not self.name.endswith("_size"):
                    yield field, "4096" if field == "table" else "-1", ""
            else:
                yield field, "-1", ""


HEAD = """\
/* Made by tests/c/make_arguments.py from recis.h. */
#include "../../tests/c/arguments.h"

int main(int count, char **arguments) {
  begin(count, arguments);
"""

calls = [(kind, Call(name, parameters_of(text))) for kind, name, text in declarations]
print(HEAD)
for kind, call in calls:
    if call.name in ("recis_hash_table_destroy", "recis_hash_table_create"):
        continue
    print(f"  /* {call.name} */")
    if kind != "int" or not call.parameters:
        print(f"  answer(\"{call.name}\", (uint64_t){call.text()});")
        continue
    needs_device = any(name == "stream" for _, name in call.parameters) and call.name not in WITHOUT_WORK
    print(f"  {'accept' if needs_device else 'answer_ok'}(\"{call.name}\", {call.text()});")
    for place, field, value, message in call.mistakes():
        print(f"  refuse(\"{call.name}\", \"{call.parameters[place][1]}{'.' + field if field else ''} = {value}\", "
              f"\"{message}\", {call.text(place, value, field)});")
    for place, (_, name) in enumerate(call.parameters):
        if name == "workspace":
            print(f"  refuse_workspace(\"{call.name}\", \"workspace = NULL\", {call.text(place, 'NULL', large=True)});")
            print(f"  refuse_workspace(\"{call.name}\", \"workspace misaligned\", "
                  f"{call.text(place, 'misaligned()', large=True)});")
        if name == "workspace_bytes":
            print(f"  refuse_workspace(\"{call.name}\", \"workspace_bytes = 0\", {call.text(place, '0', large=True)});")
print("  return end();\n}")
