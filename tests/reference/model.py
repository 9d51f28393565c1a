"""A small DeepCTR, from raw columns to updated parameters, written from the specification alone.

It is the document's model with smaller numbers: the same features, tables, combiners and order of
concatenation. Initial values are rounded to f32; everything after is float64, except the scalars
that SparseAdamWTF keeps in f32.
"""

import struct
from statistics import NormalDist

import numpy as np

from hashes import MASK, farm_fingerprint64, murmur64a, philox4x32

CONFIG = {
    "seed": 42,
    "steps": 20,
    "batch_size": 32,
    "boundaries": [0.0, 0.5, 1.0],
    "mod": 50,
    "cross_mod": 20,
    "seq_len": 6,
    "tile_len": 6,
    "initializer": {"mean": 0.0, "std": 0.1, "a": -2.0, "b": 2.0},
    # feature: table, dim, combiner; in the order of concatenation, after dense1
    "embeddings": {
        "dense2": ["sparse1", 8, "sum"],
        "sparse1": ["sparse1", 8, "sum"],
        "sparse2": ["sparse2", 16, "sum"],
        "sparse3": ["sparse3", 8, "sum"],
        "sparse4": ["sparse4", 16, "tile"],
        "sparse5": ["sparse5", 16, "tile"],
        "sparse1_x_sparse2": ["sparse1_x_sparse2", 16, "mean"],
    },
    "layers": [256, 16, 8, 4, 1],
    "adamw": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "sparse_adamw_tf": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "num_thresholds": 200,
}


# Features: raw columns to ids, a list for every row.


def features(columns):
    mod, seq_len = CONFIG["mod"], CONFIG["seq_len"]
    return {
        "dense2": [[bucketize(x, CONFIG["boundaries"]) for x in row] for row in columns["dense2"]],
        "sparse1": columns["sparse1"],
        "sparse2": columns["sparse2"],
        "sparse3": [[modulo(x, mod) for x in row] for row in columns["sparse3"]],
        "sparse4": [[modulo(x, mod) for x in row][:seq_len] for row in columns["sparse4"]],
        "sparse5": [[modulo(farm(s), mod) for s in row][:seq_len] for row in columns["sparse5"]],
        "sparse1_x_sparse2": [
            [modulo(x, CONFIG["cross_mod"]) for x in cross(*rows)]
            for rows in zip(columns["sparse1"], columns["sparse2"])
        ],
    }


def bucketize(x, boundaries):
    return sum(bool(np.float32(boundary) <= np.float32(x)) for boundary in boundaries)


def modulo(x, mod):
    return (x & MASK) % mod


def farm(string):
    return farm_fingerprint64(string.encode())


def cross(xs, ys):
    """Every pair of distinct ids. (All have weight 1, so rows of one pair need no case of their own.)"""
    return [murmur64a(struct.pack("<qq", x, y)) for x in sorted(set(xs)) for y in sorted(set(ys))]


# Initial values: a function of seed, name, id and column.


def random_word(name, id, column):
    key = murmur64a(name.encode()) ^ CONFIG["seed"]
    id &= MASK
    low = 0xFFFFFFFF
    return philox4x32([id & low, id >> 32, column // 4, 0], [key & low, key >> 32])[column % 4]


def uniform(name, id, column):
    return (random_word(name, id, column) + 0.5) * 2.0**-32


def trunc_normal(name, id, dim):
    draw = [trunc_normal_quantile(uniform(name, id, j), **CONFIG["initializer"]) for j in range(dim)]
    return np.array(draw).astype(np.float32).astype(np.float64)


def trunc_normal_quantile(p, mean, std, a, b):
    normal = NormalDist()
    l, u = normal.cdf((a - mean) / std), normal.cdf((b - mean) / std)
    return min(max(mean + std * normal.inv_cdf(l + p * (u - l)), a), b)


def linear_parameter(name, rows, columns, fan_in):
    bound = 1 / np.sqrt(fan_in)
    draw = [[-bound + 2 * bound * uniform(name, i, j) for j in range(columns)] for i in range(rows)]
    return np.array(draw).astype(np.float32).astype(np.float64)


def initial_dense():
    layers, dense = CONFIG["layers"], {}
    for i, (fan_in, out) in enumerate(zip(layers, layers[1:])):
        name = f"dense_arch.dnn.{2 * i}"
        dense[f"{name}.weight"] = linear_parameter(f"{name}.weight", out, fan_in, fan_in)
        dense[f"{name}.bias"] = linear_parameter(f"{name}.bias", 1, out, fan_in)[0]
    return dense


# The model. Its input is linear in the embeddings, so one list of uses serves both directions:
# input[row, column:column + dim] += coefficient * tables[table][id].


def uses(ids):
    start = 8  # after dense1
    for feature, (table, dim, combiner) in CONFIG["embeddings"].items():
        for row, row_ids in enumerate(ids[feature]):
            for k, id in enumerate(row_ids):
                if combiner == "tile":
                    if k < CONFIG["tile_len"]:
                        yield table, id, row, start + k * dim, dim, 1.0
                else:
                    yield table, id, row, start, dim, 1.0 / len(row_ids) if combiner == "mean" else 1.0
        start += dim * CONFIG["tile_len"] if combiner == "tile" else dim
    assert start == CONFIG["layers"][0]


def gather(tables, dense1, used):
    x = np.zeros((len(dense1), CONFIG["layers"][0]))
    x[:, :8] = dense1
    for table, id, row, column, dim, coefficient in used:
        x[row, column : column + dim] += coefficient * tables[table][id]
    return x


def mlp(dense, x):
    """Every layer's input, and the probabilities."""
    inputs = [x]
    for i in layer_numbers():
        y = inputs[-1] @ dense[f"dense_arch.dnn.{i}.weight"].T + dense[f"dense_arch.dnn.{i}.bias"]
        inputs.append(np.maximum(y, 0))
    return inputs[:-1], 1 / (1 + np.exp(-y[:, 0]))


def layer_numbers():
    return range(0, 2 * len(CONFIG["layers"]) - 2, 2)


def bce(p, y):
    with np.errstate(divide="ignore"):
        return -np.mean(y * np.maximum(np.log(p), -100) + (1 - y) * np.maximum(np.log1p(-p), -100))


def backward(dense, inputs, p, y, used):
    dense_grad, table_grad = {}, {}
    grad = ((p - y) / np.maximum(p * (1 - p), 1e-12) / len(y) * p * (1 - p))[:, None]
    for i, x in zip(reversed(layer_numbers()), reversed(inputs)):
        name = f"dense_arch.dnn.{i}"
        dense_grad[f"{name}.weight"] = grad.T @ x
        dense_grad[f"{name}.bias"] = grad.sum(axis=0)
        grad = grad @ dense[f"{name}.weight"] * ((x > 0) if i > 0 else 1)
    for table, id, row, column, dim, coefficient in used:
        of_table = table_grad.setdefault(table, {})
        of_table[id] = of_table.get(id, 0) + coefficient * grad[row, column : column + dim]
    return dense_grad, table_grad


# Optimizers. A state is (parameter, exp_avg, exp_avg_sq).


def adamw(state, grad, t, lr, beta1, beta2, eps, weight_decay):
    p, m, v = state
    p = p * (1 - lr * weight_decay)
    m = m + (grad - m) * (1 - beta1)
    v = beta2 * v + (1 - beta2) * grad**2
    p = p - lr / (1 - beta1**t) * m / (np.sqrt(v) / np.sqrt(1 - beta2**t) + eps)
    return p, m, v


def sparse_adamw_tf_alpha(t, lr, beta1, beta2):
    """The scalar of step t: powers of beta, one minus them and the root are f32."""
    power1 = power2 = np.float32(1)
    for _ in range(t):
        power1, power2 = np.float32(float(power1) * beta1), np.float32(float(power2) * beta2)
    root = np.sqrt(np.float32(1) - power2)
    return float(np.float32(-lr / float(np.float32(1) - power1) * float(root)))


def sparse_adamw_tf(state, grad, t, lr, beta1, beta2, eps, weight_decay):
    e, m, v = state
    alpha = sparse_adamw_tf_alpha(t, lr, beta1, beta2)
    beta1, beta2, one = np.float32(beta1), np.float32(beta2), np.float32(1)  # one - 0.999 is not 0.001
    e = e * float(one - np.float32(weight_decay))
    m = m * float(beta1) + grad * float(one - beta1)
    v = v * float(beta2) + float(one - beta2) * grad**2
    return e + alpha * (m / (np.sqrt(v) + eps)), m, v


# The metric: counts at thresholds since the first step.


class Auroc:
    def __init__(self, n):
        thresholds = np.arange(n) / (n - 1)
        thresholds[0], thresholds[-1] = -1e-7, 1 + 1e-7
        self.thresholds = thresholds.astype(np.float32)
        self.tp, self.fp, self.tn, self.fn = np.zeros((4, n), np.int64)

    def update(self, p, y):
        above = p[:, None] > self.thresholds
        positive = (y != 0)[:, None]
        self.tp += (above & positive).sum(axis=0)
        self.fp += (above & ~positive).sum(axis=0)
        self.tn += (~above & ~positive).sum(axis=0)
        self.fn += (~above & positive).sum(axis=0)

    def compute(self):
        rec = (self.tp + 1e-6) / (self.tp + self.fn + 1e-6)
        fpr = self.fp / (self.fp + self.tn + 1e-6)
        return float(np.sum((fpr[:-1] - fpr[1:]) * (rec[:-1] + rec[1:]) / 2))
