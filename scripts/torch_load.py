"""Loads a .pt file with torch.load, as PyTorch's users would (weights_only), and compares it bit by
bit with a .safetensors file of the same tensors. Exit status 1 if they differ.

    python scripts/torch_load.py FILE.pt FILE.safetensors

`FLODL_PYTHON=python cargo test -p flodl --test checkpoint torch_loads` runs it on what floDl writes.
"""

import sys

import torch
from safetensors.torch import load_file


def same(a, b):
    bits = lambda t: t.contiguous().flatten().view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


ours, want = torch.load(sys.argv[1], weights_only=True), load_file(sys.argv[2])
faults = [f"{n}: only in one" for n in set(ours) ^ set(want)]
faults += [f"{n} differs" for n in set(ours) & set(want) if not same(ours[n], want[n])]
module = torch.nn.Linear(4, 3)
module.load_state_dict({"weight": ours["z.weight"], "bias": ours["z.weight"][:, 0]})
print("\n".join(faults) or f"{len(ours)} tensors are the same in torch {torch.__version__}")
sys.exit(bool(faults))
