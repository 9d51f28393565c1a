"""Trains the reference model, and writes down everything that went in and came out.
Tables list their ids in ascending order, as signed integers.

    python tests/reference/deepctr.py > tests/data/trace.json
    python tests/reference/deepctr.py --check    # the reference against vectors, itself and the file
"""

import json
import pathlib
import sys

import numpy as np

from checks import check_gradients, check_optimizers, check_vectors
from columns import batches
from model import (
    CONFIG,
    Auroc,
    adamw,
    backward,
    bce,
    features,
    gather,
    initial_dense,
    mlp,
    sparse_adamw_tf,
    trunc_normal,
    uses,
)

# No prediction of this data lies so close to one of the AUC's thresholds that f32 might count it
# on the other side.
DATA_SEED, MARGIN = 106, 2e-5
TRACE = pathlib.Path(__file__).parent.parent / "data" / "trace.json"


class Model:
    def __init__(self):
        self.dense = {name: untrained(p) for name, p in initial_dense().items()}
        self.tables = {table: {} for table, _, _ in CONFIG["embeddings"].values()}
        self.auc = Auroc(CONFIG["num_thresholds"])

    def forward(self, columns):
        used = list(uses(features(columns)))
        for table, id, _, _, dim, _ in used:
            if id not in self.tables[table]:
                self.tables[table][id] = untrained(trunc_normal(table, id, dim))
        x = gather(self.embeddings(), columns["dense1"], used)
        return used, *mlp(self.parameters(), x)

    def embeddings(self):
        return {table: {id: e for id, (e, _, _) in rows.items()} for table, rows in self.tables.items()}

    def parameters(self):
        return {name: p for name, (p, _, _) in self.dense.items()}

    def step(self, t, columns):
        y = np.array(columns["label"])[:, 0]
        used, inputs, p = self.forward(columns)
        self.auc.update(p, y)
        assert np.abs(p[:, None] - self.auc.thresholds).min() > MARGIN, "choose another DATA_SEED"
        done = {"loss": bce(p, y), "auc": self.auc.compute(), "predictions": p}
        dense_grad, table_grad = backward(self.parameters(), inputs, p, y, used)
        for name, grad in dense_grad.items():
            self.dense[name] = adamw(self.dense[name], grad, t, **CONFIG["adamw"])
        for table, grads in table_grad.items():
            rows = self.tables[table]
            for id, grad in grads.items():
                rows[id] = sparse_adamw_tf(rows[id], grad, t, **CONFIG["sparse_adamw_tf"])
        return done


def untrained(parameter):
    return parameter, np.zeros_like(parameter), np.zeros_like(parameter)


def trace():
    model, steps = Model(), []
    for t, columns in enumerate(raw_batches(), start=1):
        steps.append({"columns": columns} | model.step(t, columns))
    tables = {}
    for table, rows in model.tables.items():
        ids = sorted(rows)
        slots = zip(["embedding", "exp_avg", "exp_avg_sq"], zip(*(rows[id] for id in ids)))
        tables[table] = {"ids": ids} | {slot: np.array(values) for slot, values in slots}
    return {"config": CONFIG, "steps": steps, "tables": tables, "dense": model.parameters()}


def raw_batches():
    return batches(DATA_SEED, CONFIG["steps"], CONFIG["batch_size"], longest=10)


def write(trace, file):
    """JSON with one line for each step, table and parameter."""
    sections = []
    for section, content in trace.items():
        named = content.items() if isinstance(content, dict) else [(None, item) for item in content]
        lines = [(f"{json.dumps(name)}: " if name else "") + dumps(item) for name, item in named]
        opening, closing = "{}" if isinstance(content, dict) else "[]"
        sections.append(f"{json.dumps(section)}: {opening}\n" + ",\n".join(lines) + f"\n{closing}")
    file.write("{" + ",\n".join(sections) + "}\n")


def dumps(item):
    def plain(value):
        if isinstance(value, np.ndarray):
            return plain(value.tolist())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        # Ten digits are more than f32 can be compared with, and half the file.
        return float(f"{value:.10g}") if isinstance(value, float) else value

    return json.dumps(plain(item), ensure_ascii=False, separators=(",", ":"))


def check():
    check_vectors()
    check_optimizers()
    model = Model()
    checked = 0
    for t, columns in zip([1, 2, 3], raw_batches()):
        checked += check_gradients(model, columns)
        model.step(t, columns)
    again = json.loads(dumps(trace()))
    assert_close(again, json.loads(TRACE.read_text()), "trace")
    print(f"vectors, {checked} gradients and {TRACE.name} agree")


def assert_close(got, want, place):
    if isinstance(want, dict):
        assert list(got) == list(want), place
        for name in want:
            assert_close(got[name], want[name], f"{place}.{name}")
    elif isinstance(want, list):
        assert len(got) == len(want), place
        for i, pair in enumerate(zip(got, want)):
            assert_close(*pair, f"{place}[{i}]")
    elif isinstance(want, float):  # sums may be in another order elsewhere
        assert abs(got - want) <= 1e-7 + 1e-6 * abs(want), f"{place}: {got}, not {want}"
    else:
        assert got == want, f"{place}: {got}, not {want}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        write(trace(), sys.stdout)
