"""Writes the small files that the tests of checkpoints and metrics read.

Needs PyTorch, numpy and scikit-learn; the tests need none of them.
    python scripts/data_references.py
"""

import collections
import json
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import torch
from sklearn import metrics

warnings.filterwarnings("ignore")
OUT = os.path.join(os.path.dirname(__file__), "../crates/flodl/tests/data")
os.makedirs(OUT, exist_ok=True)


def path(name):
    return os.path.join(OUT, name)


def torch_files():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for i, p in enumerate(model.parameters()):
        p.data = torch.arange(p.numel(), dtype=torch.float32).reshape(p.shape) / 8 + i
    torch.save(model.state_dict(), path("linear.pt"))
    torch.save(model.state_dict(), path("legacy.pt"), _use_new_zipfile_serialization=False)
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    everything = {
        "model": model.state_dict(),
        "parameter": torch.nn.Parameter(torch.tensor([1.5, -2.5])),
        "transposed": base.t(),
        "slice": base[1:3, 2:5],
        "step2": base[:, ::2],
        "expanded": torch.tensor([7.0]).expand(3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "half": torch.tensor([0.5, -1.0], dtype=torch.float16),
        "bfloat": torch.tensor([0.5, -1.0], dtype=torch.bfloat16),
        "long": torch.tensor([1, -(2**40)]),
        "int": torch.tensor([3, -4], dtype=torch.int32),
        "short": torch.tensor([300, -4], dtype=torch.int16),
        "char": torch.tensor([5, -6], dtype=torch.int8),
        "byte": torch.tensor([7, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "epoch": 3,
        "big": 2**40,
        "minus": -5,
        "lr": 1e-3,
        "name": "naïve",
        "flag": True,
        "none": None,
        "list": [1, (2, 3)],
        "by number": {0: 1.0},
    }
    torch.save(everything, path("everything.pt"))
    torch.save(everything, path("everything_p4.pt"), pickle_protocol=4)


def hostile():
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/flodl-was-here",))

    def archive(name, program):
        with zipfile.ZipFile(path(name), "w") as z:
            z.writestr("archive/data.pkl", program)
            z.writestr("archive/version", "3\n")

    archive("hostile_system.pt", pickle.dumps({"w": Evil()}, protocol=2))
    archive("hostile_eval.pt", b"\x80\x02c__builtin__\neval\nX\x03\x00\x00\x001+1\x85R.")
    archive("hostile_getattr.pt", b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.")


def score_cases():
    rng = np.random.default_rng(3)
    n, c = 60, 4
    target = rng.integers(0, c, n)
    logits = rng.normal(size=(n, c)) + 1.2 * np.eye(c)[target]
    logits = np.round(logits, 3)
    # No sample is taken for class 3, and ties happen.
    logits[:, 3] = np.minimum(logits[:, 3], logits[:, :3].max(1) - 0.001)
    said = logits.argmax(1)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    binary = (target == 1).astype(int)
    scores = np.round(logits[:, 1], 1)  # many ties
    reg = np.round(rng.normal(size=(30, 2)) * [1.0, 100.0] + [0.0, 5000.0], 3)
    guess = np.round(reg + rng.normal(size=reg.shape) * [0.5, 30.0], 3)
    expect = {
        "accuracy": metrics.accuracy_score(target, said),
        "top2": metrics.top_k_accuracy_score(target, logits, k=2),
        "top3": metrics.top_k_accuracy_score(target, logits, k=3),
        "confusion": metrics.confusion_matrix(target, said, labels=range(c)).ravel().tolist(),
        "auroc": metrics.roc_auc_score(binary, scores),
        "auroc macro": metrics.roc_auc_score(target, probs, multi_class="ovr", average="macro"),
        "auroc weighted": metrics.roc_auc_score(target, probs, multi_class="ovr", average="weighted"),
        "ap": metrics.average_precision_score(binary, scores),
        "ap macro": metrics.average_precision_score(target, probs, average="macro"),
        "ap weighted": metrics.average_precision_score(target, probs, average="weighted"),
        "perplexity": float(np.exp(metrics.log_loss(target, probs, labels=range(c)))),
        "mse": metrics.mean_squared_error(reg, guess),
        "mae": metrics.mean_absolute_error(reg, guess),
        "rmse": float(np.sqrt(metrics.mean_squared_error(reg, guess))),
        "r2": metrics.r2_score(reg, guess),
        "r2 first": metrics.r2_score(reg[:, 0], guess[:, 0]),
    }
    for name, f in [
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ]:
        for average in ["micro", "macro", "weighted"]:
            expect[f"{name} {average}"] = f(target, said, average=average, zero_division=0)
        expect[f"{name} binary"] = f(binary, (said == 1).astype(int))
        expect[f"{name} classes"] = f(target, said, average=None, zero_division=0).tolist()
    out = {
        "target": target.tolist(),
        "logits": logits.ravel().tolist(),
        "probs": probs.ravel().tolist(),
        "binary": binary.tolist(),
        "scores": scores.tolist(),
        "reg": reg.ravel().tolist(),
        "guess": guess.ravel().tolist(),
        "expect": expect,
    }
    with open(path("metrics.json"), "w") as f:
        json.dump(out, f)


torch_files()
hostile()
score_cases()


def parquet_table(path):
    """A Parquet file with a column of each kind, some blanks, and two row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 120
    table = pa.table(
        {
            "number": pa.array([None if i % 10 == 3 else i * 0.5 for i in range(n)], pa.float64()),
            "count": pa.array([i * i for i in range(n)], pa.int64()),
            "flag": pa.array([i % 3 == 0 for i in range(n)], pa.bool_()),
            "word": pa.array([["red", "green", None][i % 3] for i in range(n)], pa.string()),
        }
    )
    pq.write_table(table, path, compression="snappy", row_group_size=64)


parquet_table(path("table.parquet"))
