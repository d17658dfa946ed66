"""Writes crates/flodl/tests/data/optim.json: trajectories of what PyTorch's own tables of optimizers
lack. Lion by the paper's formula in numpy, since PyTorch has none; Muon with the learning rate that
matches AdamW's, and LBFGS with a line search on Rosenbrock's valley, by torch.optim.

    python scripts/optim_references.py
"""

import json
import pathlib

import numpy as np
import torch

OUT = pathlib.Path(__file__).parent.parent / "crates/flodl/tests/data/optim.json"
STEPS = 12


def lion(w, grads, lr, beta1, beta2, decay, maximize):
    """Chen et al. 2023, algorithm 2."""
    m, out = np.zeros_like(w), []
    for g in grads:
        g = -g if maximize else g
        update = np.sign(beta1 * m + (1 - beta1) * g) + decay * w
        w = w - lr * update
        m = beta2 * m + (1 - beta2) * g
        out.append(w.tolist())
    return out


def muon(w, grads, maximize):
    p = torch.nn.Parameter(torch.tensor(w))
    optimizer = torch.optim.Muon([p], lr=0.02, adjust_lr_fn="match_rms_adamw")
    out = []
    for g in grads:
        p.grad = torch.tensor(-g if maximize else g)
        optimizer.step()
        out.append(p.detach().flatten().tolist())
    return out


def lbfgs(strong_wolfe):
    p = torch.nn.Parameter(torch.tensor([-1.2, 1.0, -0.5, 2.0], dtype=torch.float64))
    search = "strong_wolfe" if strong_wolfe else None
    lr = 1 if strong_wolfe else 0.01
    optimizer = torch.optim.LBFGS([p], lr=lr, max_iter=4, history_size=3, line_search_fn=search)
    out = []

    def closure():
        optimizer.zero_grad()
        a, b = p[:-1], p[1:]
        loss = (100 * (b - a * a) ** 2 + (1 - a) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(10):
        loss = optimizer.step(closure).item()
        out.append([loss, *p.tolist()])
    return out


rng = np.random.default_rng(3)
w, grads = rng.normal(size=5), rng.normal(size=(STEPS, 5))
# A gradient of exactly 0 leaves the weight to the momentum alone.
grads[4] = 0.0
wide, wide_grads = rng.normal(size=(3, 6)), rng.normal(size=(STEPS, 3, 6))
cases = {
    "w": w.tolist(),
    "grads": grads.tolist(),
    "matrix": wide.flatten().tolist(),
    "matrix_grads": wide_grads.reshape(STEPS, -1).tolist(),
    "lion": lion(w, grads, 0.01, 0.9, 0.99, 0.0, False),
    "lion_decay": lion(w, grads, 0.03, 0.8, 0.95, 0.1, False),
    "lion_maximize": lion(w, grads, 0.01, 0.9, 0.99, 0.05, True),
    "muon_match_rms_adamw": muon(wide, wide_grads, False),
    "lbfgs_strong_wolfe": lbfgs(True),
    "lbfgs": lbfgs(False),
}
OUT.write_text(json.dumps(cases) + "\n")
