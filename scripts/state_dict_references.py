#!/usr/bin/env python3
"""Writes crates/flodl/tests/data/state_dicts.safetensors: for every layer with parameters PyTorch's
own state_dict, an input and the output in eval mode.

    python scripts/state_dict_references.py

With an argument it goes the other way: it loads such a file, written by flodl's test of state
dicts, into PyTorch's layers and compares the outputs.

Needs torch only. Names are `case.parameter`, `in.case.0`, `in.case.1`, … and `out.case`.
"""

import sys
from pathlib import Path

import torch
from references import save
from torch import nn

FILE = Path(__file__).parent.parent / "crates/flodl/tests/data/state_dicts.safetensors"
DTYPES = {"F32": torch.float32, "I64": torch.int64}


def cases():
    """Name, layer and inputs; the layers have been used in training once."""
    options = {"dim_feedforward": 12, "dropout": 0.0, "batch_first": True}
    encoder = nn.TransformerEncoderLayer(8, 2, **options)
    decoder = nn.TransformerDecoderLayer(8, 2, **options)
    widths = {"kdim": 5, "vdim": 5, "add_bias_kv": True, "batch_first": True}
    mixed = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)
    )
    indices = torch.tensor([[4, 0, 4], [2, 1, 3]])
    image, volume = (2, 4, 5, 6), (2, 4, 3, 4, 3)
    strided = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    layers = {
        "Linear": (nn.Linear(5, 3), (4, 5)),
        "Linear_no_bias": (nn.Linear(5, 3, bias=False), (4, 5)),
        "Conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
        "Conv2d": (nn.Conv2d(4, 6, 3, padding=1, groups=2), image),
        "Conv3d": (nn.Conv3d(4, 2, 2, bias=False), volume),
        "ConvTranspose1d": (nn.ConvTranspose1d(4, 2, 3), (2, 4, 5)),
        "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, **strided), image),
        "ConvTranspose3d": (nn.ConvTranspose3d(4, 2, 2), volume),
        "BatchNorm": (nn.BatchNorm1d(5), (4, 5)),
        "BatchNorm2d": (nn.BatchNorm2d(4), image),
        "BatchNorm3d": (nn.BatchNorm3d(4), volume),
        "LayerNorm": (nn.LayerNorm(5), (3, 5)),
        "RMSNorm": (nn.RMSNorm(5), (3, 5)),
        "GroupNorm": (nn.GroupNorm(2, 4), image),
        "InstanceNorm": (nn.InstanceNorm2d(4, affine=True), image),
        "InstanceNorm_tracking": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), image),
        "Embedding": (nn.Embedding(5, 3), indices),
        "EmbeddingBag": (nn.EmbeddingBag(5, 3), indices),
        "RNNCell": (nn.RNNCell(3, 4), (2, 3)),
        "GRUCell": (nn.GRUCell(3, 4), (2, 3)),
        "LSTMCell": (nn.LSTMCell(3, 4), (2, 3)),
        "RNN": (nn.RNN(3, 4, 2), (5, 2, 3)),
        "GRU": (nn.GRU(3, 4, 2, batch_first=True), (2, 5, 3)),
        "LSTM": (nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
        "MultiheadAttention": (nn.MultiheadAttention(8, 2, batch_first=True), (2, 3, 8)),
        "TransformerEncoderLayer": (encoder, (2, 3, 8)),
        "TransformerEncoder": (nn.TransformerEncoder(encoder, 2), (2, 3, 8)),
        "TransformerDecoderLayer": (nn.TransformerDecoderLayer(8, 2, **options), (2, 3, 8), (2, 4, 8)),
        "Bilinear": (nn.Bilinear(3, 4, 2), (5, 3), (5, 4)),
        "PReLU": (nn.PReLU(4), image),
        "Sequential": (mixed, (2, 3, 5, 5)),
        "InstanceNorm1d": (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), (2, 4, 5)),
        "InstanceNorm3d": (nn.InstanceNorm3d(4, affine=True, track_running_stats=True), volume),
        "MultiheadAttention_of_widths": (nn.MultiheadAttention(8, 2, **widths), (2, 3, 8), (2, 4, 5)),
        "TransformerDecoder": (nn.TransformerDecoder(decoder, 2, nn.LayerNorm(8)), (2, 3, 8), (2, 4, 8)),
        "Transformer": (nn.Transformer(8, 2, 1, 2, **options), (2, 3, 8), (2, 4, 8)),
    }
    for name, (layer, *shapes) in layers.items():
        inputs = [s if torch.is_tensor(s) else torch.randn(s) for s in shapes]
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(torch.randn_like(p) * 0.1)
            forward(layer, inputs)
        yield name, layer.eval(), inputs


def forward(layer, inputs):
    if isinstance(layer, nn.MultiheadAttention):
        inputs = [inputs[0], inputs[-1], inputs[-1]]
    out = layer(*inputs)
    if isinstance(layer, nn.LSTMCell):
        # flodl's state is one value: h and c side by side.
        return torch.cat(out, 1)
    return out[0] if isinstance(out, tuple) else out


def read(path):
    import json

    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, about in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            raw = bytearray(data[8 + size + start : 8 + size + end])
            tensors[name] = torch.frombuffer(raw, dtype=DTYPES[about["dtype"]]).view(about["shape"])
    return tensors


torch.manual_seed(0)
theirs = read(sys.argv[1]) if len(sys.argv) > 1 else None
tensors = {}
for name, layer, inputs in cases():
    if theirs is not None:
        start = name + "."
        state = {k[len(start) :]: v for k, v in theirs.items() if k.startswith(start)}
        layer.load_state_dict(state, strict=True)
        inputs = [theirs[f"in.{name}.{i}"] for i in range(len(inputs))]
        torch.testing.assert_close(forward(layer, inputs), theirs[f"out.{name}"], atol=1e-5, rtol=1e-5)
        continue
    tensors |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    tensors |= {f"in.{name}.{i}": value for i, value in enumerate(inputs)}
    with torch.no_grad():
        tensors[f"out.{name}"] = forward(layer, inputs)
if theirs is None:
    save(FILE, tensors, [])
else:
    print("PyTorch loads every state dict and computes the same")
