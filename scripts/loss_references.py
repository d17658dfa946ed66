"""Writes crates/flodl/tests/data/losses.json: values and gradients of the losses at extreme inputs, in
float32 and float64, as PyTorch gives them (reduction "none"; the gradient is that of the sum). The
focal losses, which PyTorch has not, come from their definition in 60 decimal digits.

    python scripts/loss_references.py
"""

import json
import math
import pathlib
from decimal import Decimal, getcontext

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).parent.parent / "crates/flodl/tests/data/losses.json"
getcontext().prec = 60

WIDE = [0.0, 1e-30, -1e-30, 1e-4, -1e-4, 1.0, -1.0, 20.0, -20.0, 90.0, -90.0, 1e4, -1e4, 3e18, -3e18]
CHANCES = [0.0, 1e-30, 1e-7, 0.25, 0.5, 1.0 - 2.0**-20, 1.0]
ROWS = [
    [0.0, 0.0, 0.0],
    [90.0, 0.0, -90.0],
    [1e4, 1e4, -1e4],
    [-1e4, 0.0, 1e4],
    [1e-30, -1e-30, 0.0],
    [3e18, -3e18, 0.0],
]
CLASSES = [0, 1, 2, 0, 1, 2]


def signs(x):
    return torch.tensor([(-1.0) ** i for i in range(x.numel())], dtype=x.dtype).reshape(x.shape)


def halves(x):
    return torch.tensor([(0.0, 0.25, 1.0)[i % 3] for i in range(x.numel())], dtype=x.dtype).reshape(
        x.shape
    )


def target(x):
    return halves(x) * 4 - 2


classes = torch.tensor(CLASSES)
labels = torch.tensor([[0, -1, 0], [2, 1, -1]] * 3)
N = {"reduction": "none"}
TABLE = {
    "mse": (WIDE, lambda x: F.mse_loss(x, target(x), **N)),
    "l1": (WIDE, lambda x: F.l1_loss(x, target(x), **N)),
    "smooth_l1": (WIDE, lambda x: F.smooth_l1_loss(x, target(x), **N)),
    "huber": (WIDE, lambda x: F.huber_loss(x, target(x), **N)),
    "bce": (CHANCES, lambda x: F.binary_cross_entropy(x, halves(x), **N)),
    "bce_with_logits": (WIDE, lambda x: F.binary_cross_entropy_with_logits(x, halves(x), **N)),
    "kl_div": (WIDE, lambda x: F.kl_div(x, halves(x), **N)),
    "poisson": (WIDE, lambda x: F.poisson_nll_loss(x, halves(x), **N)),
    "poisson_rate": (CHANCES, lambda x: F.poisson_nll_loss(x, halves(x), log_input=False, **N)),
    "gaussian": (WIDE, lambda x: F.gaussian_nll_loss(x, target(x), torch.ones_like(x), **N)),
    "gaussian_of_var": (
        CHANCES,
        lambda x: F.gaussian_nll_loss(torch.ones_like(x), halves(x), x, **N),
    ),
    "hinge_embedding": (WIDE, lambda x: F.hinge_embedding_loss(x, signs(x), **N)),
    # PyTorch's own overflows from 88 on; this is the same function without that.
    "soft_margin": (WIDE, lambda x: torch.logaddexp(torch.zeros_like(x), -signs(x) * x)),
    "margin_ranking": (WIDE, lambda x: F.margin_ranking_loss(x, target(x), signs(x), **N)),
    "cross_entropy": (ROWS, lambda x: F.cross_entropy(x, classes, **N)),
    "nll": (ROWS, lambda x: F.nll_loss(x, classes, **N)),
    "multi_margin": (ROWS, lambda x: F.multi_margin_loss(x, classes, **N)),
    "multilabel_margin": (ROWS, lambda x: F.multilabel_margin_loss(x, labels, **N)),
    "multilabel_soft_margin": (ROWS, lambda x: F.multilabel_soft_margin_loss(x, halves(x), **N)),
    "cosine_embedding": (
        ROWS,
        lambda x: F.cosine_embedding_loss(x, torch.ones_like(x), signs(x[:, 0]), **N),
    ),
    "triplet_margin": (
        ROWS,
        lambda x: F.triplet_margin_loss(x, torch.ones_like(x), -torch.ones_like(x), **N),
    ),
}


def numbers(t):
    return [v if math.isfinite(v) else str(v) for v in t.flatten().tolist()]


def case(values, loss, dtype):
    x = torch.tensor(values, dtype=dtype, requires_grad=True)
    y = loss(x)
    y.sum().backward()
    return {"value": numbers(y.detach()), "grad": numbers(x.grad)}


def sigmoid(z):
    return 1 / (1 + (-z).exp())


def focal(z, gamma):
    """(1 - p)^γ (-ln p) for p = sigmoid(z), and its derivative, by the chain rule in p."""
    p, q = sigmoid(z), sigmoid(-z)
    value = q**gamma * -p.ln()
    slope = p * q * (-gamma * q ** (gamma - 1) * -p.ln() - q**gamma / p)
    return float(value), float(slope)


found = {
    name: {
        "input": [v for r in values for v in (r if isinstance(r, list) else [r])],
        "float32": case(values, loss, torch.float32),
        "float64": case(values, loss, torch.float64),
    }
    for name, (values, loss) in TABLE.items()
}
logits = [0.0, 0.5, -0.5, 3.0, -3.0, 12.0, -12.0, 40.0, -40.0, 90.0, -90.0]
focals = {}
for gamma in (0.0, 0.5, 1.0, 2.0):
    both = [focal(Decimal(z), Decimal(gamma)) for z in logits]
    focals[str(gamma)] = {"value": [v for v, _ in both], "grad": [g for _, g in both]}
OUT.write_text(
    json.dumps({"losses": found, "classes": CLASSES, "logits": logits, "focal": focals}) + "\n"
)
