#!/usr/bin/env python3
"""Writes crates/flodl/tests/data/attention.safetensors: what PyTorch computes for attention and
transformers, in f64, where its own test samples have nothing.

    python scripts/attention_references.py

Needs torch only; the tests read the committed file. Names are `case/what`: `in.*` inputs, `p.*`
parameters, `out`, `g.*` and `gp.*` the gradients of sum(out * cot).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from references import save
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
tensors = {}


def put(case, inputs, module, call, **constants):
    for value in inputs.values():
        value.requires_grad_(True)
    params = dict(module.named_parameters()) if module is not None else {}
    for p in params.values():
        with torch.no_grad():
            p.add_(torch.randn_like(p) * 0.1)
    out = call(**inputs)
    cot = torch.randn_like(out)
    (out * cot).sum().backward()
    parts = {"out": out, "cot": cot, **{f"c.{k}": v for k, v in constants.items()}}
    for name, value in inputs.items():
        parts |= {f"in.{name}": value, f"g.{name}": value.grad}
    for name, value in params.items():
        parts |= {f"p.{name}": value, f"gp.{name}": value.grad}
    tensors.update({f"{case}/{name}": value.detach() for name, value in parts.items()})


def qkv(*shapes):
    return dict(zip("qkv", (torch.randn(s) for s in shapes)))


def sdpa():
    attend = F.scaled_dot_product_attention
    mask = torch.rand(2, 1, 3, 5) < 0.6
    mask[1, 0, 2] = False
    shapes = (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6)
    put("keep", qkv(*shapes), None, lambda q, k, v: attend(q, k, v, attn_mask=mask), mask=mask)
    bias = torch.randn(3, 5)
    bias[1] = -torch.inf
    put("bias", qkv(*shapes), None, lambda q, k, v: attend(q, k, v, attn_mask=bias), mask=bias)
    put("causal", qkv(*shapes), None, lambda q, k, v: attend(q, k, v, is_causal=True))
    put("scale", qkv((3, 4), (2, 5, 4), (1, 5, 2)), None, lambda q, k, v: attend(q, k, v, scale=0.3))


def layers():
    options = {"dim_feedforward": 12, "dropout": 0.0, "batch_first": True}
    hidden = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    for name, more in [("decoder", {}), ("decoder_pre", {"norm_first": True, "activation": "gelu"})]:
        layer = nn.TransformerDecoderLayer(8, 2, **options, **more)
        inputs = {"tgt": torch.randn(2, 4, 8), "memory": torch.randn(2, 6, 8)}
        put(name, inputs, layer,
            lambda tgt, memory: layer(tgt, memory, hidden, memory_key_padding_mask=padding),
            tgt_mask=hidden, padding=padding)
    layer = nn.TransformerEncoderLayer(8, 2, **options, layer_norm_eps=1e-3)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
    put("encoder", {"src": torch.randn(2, 4, 8)}, encoder, lambda src: encoder(src, hidden))
    model = nn.Transformer(8, 2, 1, 1, **options)
    inputs = {"src": torch.randn(2, 6, 8), "tgt": torch.randn(2, 4, 8)}
    put("transformer", inputs, model,
        lambda src, tgt: model(src, tgt, tgt_mask=hidden, src_key_padding_mask=padding,
                               memory_key_padding_mask=padding), padding=padding)


sdpa()
layers()
path = Path(__file__).parent.parent / "crates/flodl/tests/data/attention.safetensors"
path.parent.mkdir(exist_ok=True)
save(path, tensors, [])
