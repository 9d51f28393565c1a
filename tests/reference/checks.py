"""The reference's parts against the vectors of tests/data, and its gradients against differences."""

import json
import pathlib

import numpy as np

import hashes
import model
from hashes import MASK

DATA = pathlib.Path(__file__).parent.parent / "data"


def cases(topic):
    return json.loads((DATA / "vectors" / f"{topic}.json").read_text())["cases"]


def check_vectors():
    words = hashes.philox4x32([0] * 4, [0] * 2)  # from the paper's code, Random123
    assert words == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], words
    for case in cases("farmhash"):
        got = hashes.farm_fingerprint64(bytes.fromhex(case["bytes_hex"]))
        assert got == int(case["google_fingerprint64_u64"]), case
    for case in cases("murmurhash"):
        assert hashes.murmur64a(bytes.fromhex(case["bytes_hex"])) == int(case["u64"]), case
    for case in cases("feature_cross"):
        assert model.cross([case["x"]], [case["y"]]) == [case["out"] & MASK], case
    for case in cases("mod"):
        assert [model.modulo(x, case["mod"]) for x in case["values"]] == case["out"], case
    for case in cases("bucketize"):
        values = [float(x) for x in case["values"]]
        assert [model.bucketize(x, case["boundaries"]) for x in values] == case["out"], case
    for case in cases("trunc_normal"):
        law = {name: case[name] for name in ["mean", "std", "a", "b"]}
        for point in case["points"]:
            if 0 < point["q"] < 1:
                got = model.trunc_normal_quantile(point["q"], **law)
                np.testing.assert_allclose(got, point["value"], rtol=1e-4, atol=1e-7)
    for case in cases("auroc"):
        auc = model.Auroc(case["num_thresholds"])
        auc.update(np.array(case["predictions"]), np.array(case["labels"]))
        np.testing.assert_allclose(auc.compute(), case["auc"], atol=1e-5)


def check_optimizers():
    names = ["lr", "beta1", "beta2", "eps", "weight_decay"]
    for case in cases("dense_adamw"):
        zero = np.zeros(len(case["init_param"]))
        state = np.array(case["init_param"]), zero, zero
        for t, step in enumerate(case["steps"], start=1):
            options = {name: case[name] for name in names}
            state = model.adamw(state, np.array(step["grad"]), t, **options)
            for got, slot in zip(state, ["param", "exp_avg", "exp_avg_sq"]):
                np.testing.assert_allclose(got, step[slot], rtol=1e-5, atol=1e-8)
    for case in cases("sparse_adamw"):
        if case["optimizer"] != "SparseAdamWTF":
            continue
        param = np.array(case["init_param"])
        state = np.stack([param, np.zeros_like(param), np.zeros_like(param)])
        options = {name: case[name] for name in names}
        for t, step in enumerate(case["steps"], start=1):
            alpha = model.sparse_adamw_tf_alpha(t, case["lr"], case["beta1"], case["beta2"])
            assert alpha == step["alpha"], (alpha, step["alpha"])
            rows = step["rows"]
            state[:, rows] = model.sparse_adamw_tf(state[:, rows], np.array(step["grad"]), t, **options)
            for got, slot in zip(state, ["param", "exp_avg", "exp_avg_sq"]):
                np.testing.assert_allclose(got, step[slot], rtol=2e-6, atol=2e-8)


def check_gradients(network, columns):
    """Central differences of the loss in every tenth parameter and embedding."""
    used, inputs, p = network.forward(columns)
    y = np.array(columns["label"])[:, 0]
    dense, tables = network.parameters(), network.embeddings()
    dense_grad, table_grad = model.backward(dense, inputs, p, y, used)

    def loss():
        return model.bce(model.mlp(dense, model.gather(tables, columns["dense1"], used))[1], y)

    pairs = [(dense[name], dense_grad[name]) for name in dense]
    pairs += [(tables[table][id], grad) for table, rows in table_grad.items() for id, grad in rows.items()]
    checked = 0
    for values, grad in pairs:
        for i in range(checked % 10, values.size, 10):
            kept, h = values.flat[i], 1e-6
            values.flat[i] = kept + h
            above = loss()
            values.flat[i] = kept - h
            below = loss()
            values.flat[i] = kept
            np.testing.assert_allclose((above - below) / (2 * h), grad.flat[i], rtol=1e-4, atol=1e-9)
            checked += 1
    return checked
