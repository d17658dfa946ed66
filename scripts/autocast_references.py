"""Writes which dtype each operation gives under PyTorch's autocast on the CPU, as
crates/flodl/tests/data/autocast.json: {operation: [dtype from float32 inputs, dtype from bfloat16
inputs]}, for autocast to bfloat16; null where PyTorch refuses the inputs. Weights are float32.

    python scripts/autocast_references.py
"""

import json
import pathlib
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F

OUT = pathlib.Path(__file__).parent.parent / "crates/flodl/tests/data/autocast.json"
torch.set_num_threads(1)
torch.manual_seed(0)


def module(m, *more):
    """A module's first output."""

    def call(x):
        y = m(x, *[f(x) for f in more])
        return y[0] if isinstance(y, tuple) else y

    return call


def same(x):
    return x


def like(*shape):
    return lambda x: torch.rand(shape, dtype=x.dtype)


rows = like(3, 4)
index = torch.tensor([0, 1, 2])

# Poolings of every rank, and what their size is called.
POOLS = {
    "max": "kernel_size",
    "avg": "kernel_size",
    "adaptive_avg": "output_size",
    "adaptive_max": "output_size",
}

# Name: (shape of the input, operation). The input is in (0, 1).
TABLE = {
    "matmul": ((3, 4), lambda x: x @ x.t()),
    "bmm": ((2, 3, 4), lambda x: torch.bmm(x, x.transpose(1, 2))),
    "linear": ((3, 4), module(nn.Linear(4, 5))),
    "bilinear": ((3, 4), module(nn.Bilinear(4, 4, 2), same)),
    "conv1d": ((1, 2, 6), module(nn.Conv1d(2, 3, 3))),
    "conv2d": ((1, 2, 6, 6), module(nn.Conv2d(2, 3, 3))),
    "conv3d": ((1, 2, 4, 4, 4), module(nn.Conv3d(2, 3, 3))),
    "conv_transpose1d": ((1, 2, 6), module(nn.ConvTranspose1d(2, 3, 3))),
    "conv_transpose2d": ((1, 2, 6, 6), module(nn.ConvTranspose2d(2, 3, 3))),
    "conv_transpose3d": ((1, 2, 4, 4, 4), module(nn.ConvTranspose3d(2, 3, 3))),
    "scaled_dot_product_attention": (
        (1, 2, 3, 4),
        lambda x: F.scaled_dot_product_attention(x, x, x),
    ),
    "prelu": ((3, 4), module(nn.PReLU())),
    "rnn": ((5, 2, 4), module(nn.RNN(4, 3))),
    "gru": ((5, 2, 4), module(nn.GRU(4, 3))),
    "lstm": ((5, 2, 4), module(nn.LSTM(4, 3))),
    "rnn_cell": ((2, 4), module(nn.RNNCell(4, 3))),
    "gru_cell": ((2, 4), module(nn.GRUCell(4, 3))),
    "lstm_cell": ((2, 4), module(nn.LSTMCell(4, 3))),
    "multihead_attention": ((2, 3, 4), lambda x: MHA(x, x, x)[0]),
    "transformer_encoder_layer": ((2, 3, 4), module(nn.TransformerEncoderLayer(4, 2, 8))),
    "transformer_decoder_layer": ((2, 3, 4), module(nn.TransformerDecoderLayer(4, 2, 8), same)),
    "layer_norm": ((3, 4), module(nn.LayerNorm(4))),
    "rms_norm": ((3, 4), module(nn.RMSNorm(4))),
    "group_norm": ((2, 4, 3), module(nn.GroupNorm(2, 4))),
    "batch_norm": ((3, 4), module(nn.BatchNorm1d(4))),
    "batch_norm_eval": ((3, 4), module(nn.BatchNorm1d(4).eval())),
    "instance_norm": ((2, 4, 5), module(nn.InstanceNorm1d(4, affine=True))),
    "local_response_norm": ((2, 4, 5), lambda x: F.local_response_norm(x, 2)),
    "normalize": ((3, 4), lambda x: F.normalize(x)),
    "softmax": ((3, 4), lambda x: x.softmax(-1)),
    "log_softmax": ((3, 4), lambda x: x.log_softmax(-1)),
    "logsumexp": ((3, 4), lambda x: x.logsumexp(-1)),
    "relu": ((3, 4), F.relu),
    "gelu": ((3, 4), F.gelu),
    "silu": ((3, 4), F.silu),
    "mish": ((3, 4), F.mish),
    "elu": ((3, 4), F.elu),
    "selu": ((3, 4), F.selu),
    "softplus": ((3, 4), F.softplus),
    "logsigmoid": ((3, 4), F.logsigmoid),
    "sigmoid": ((3, 4), torch.sigmoid),
    "tanh": ((3, 4), torch.tanh),
    "leaky_relu": ((3, 4), F.leaky_relu),
    "hardswish": ((3, 4), F.hardswish),
    "glu": ((3, 4), F.glu),
    "dropout": ((3, 4), F.dropout),
    **{
        f"{kind}_pool{d}d": ((1, 2, *[4] * d), partial(getattr(F, f"{kind}_pool{d}d"), **{size: 2}))
        for kind, size in POOLS.items()
        for d in (1, 2, 3)
    },
    "lp_pool2d": ((1, 2, 4, 4), lambda x: F.lp_pool2d(x, 2, 2)),
    "interpolate_nearest": ((1, 2, 4, 4), lambda x: F.interpolate(x, scale_factor=2)),
    "interpolate_bilinear": (
        (1, 2, 4, 4),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    ),
    "interpolate_bicubic": (
        (1, 2, 4, 4),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    ),
    "grid_sample": (
        (1, 2, 4, 4),
        lambda x: F.grid_sample(x, torch.rand(1, 3, 3, 2, dtype=x.dtype), align_corners=False),
    ),
    "pad_constant": ((1, 2, 4, 4), lambda x: F.pad(x, (1, 1))),
    "pad_reflect": ((1, 2, 4, 4), lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")),
    "pad_replicate": ((1, 2, 4, 4), lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate")),
    "pad_circular": ((1, 2, 4, 4), lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")),
    "pixel_shuffle": ((1, 4, 3, 3), lambda x: F.pixel_shuffle(x, 2)),
    "unfold": ((1, 2, 4, 4), lambda x: F.unfold(x, 2)),
    "fold": ((1, 8, 4), lambda x: F.fold(x, (3, 3), 2)),
    "cosine_similarity": ((3, 4), lambda x: F.cosine_similarity(x, x)),
    "cdist": ((3, 4), lambda x: torch.cdist(x, x)),
    "pairwise_distance": ((3, 4), lambda x: F.pairwise_distance(x, x)),
    "exp": ((3, 4), torch.exp),
    "log": ((3, 4), torch.log),
    "sqrt": ((3, 4), torch.sqrt),
    "pow": ((3, 4), lambda x: x.pow(2.0)),
    "reciprocal": ((3, 4), torch.reciprocal),
    "sum": ((3, 4), torch.sum),
    "mean": ((3, 4), torch.mean),
    "prod": ((3, 4), torch.prod),
    "var": ((3, 4), torch.var),
    "norm": ((3, 4), torch.norm),
    "cumsum": ((3, 4), lambda x: x.cumsum(0)),
    "cumprod": ((3, 4), lambda x: x.cumprod(0)),
    "add_float32": ((3, 4), lambda x: x + torch.rand(3, 4)),
    "sub_float32": ((3, 4), lambda x: x - torch.rand(3, 4)),
    "mul_float32": ((3, 4), lambda x: x * torch.rand(3, 4)),
    "div_float32": ((3, 4), lambda x: x / torch.rand(3, 4)),
    "cat_float32": ((3, 4), lambda x: torch.cat([x, torch.rand(3, 4)])),
    "stack_float32": ((3, 4), lambda x: torch.stack([x, torch.rand(3, 4)])),
    "mse_loss": ((3, 4), lambda x: F.mse_loss(x, rows(x))),
    "l1_loss": ((3, 4), lambda x: F.l1_loss(x, rows(x))),
    "smooth_l1_loss": ((3, 4), lambda x: F.smooth_l1_loss(x, rows(x))),
    "huber_loss": ((3, 4), lambda x: F.huber_loss(x, rows(x))),
    "cross_entropy": ((3, 4), lambda x: F.cross_entropy(x, index)),
    "nll_loss": ((3, 4), lambda x: F.nll_loss(x, index)),
    "binary_cross_entropy": ((3, 4), lambda x: F.binary_cross_entropy(x, rows(x))),
    "binary_cross_entropy_with_logits": (
        (3, 4),
        lambda x: F.binary_cross_entropy_with_logits(x, rows(x)),
    ),
    "kl_div": ((3, 4), lambda x: F.kl_div(x, rows(x), reduction="batchmean")),
    "poisson_nll_loss": ((3, 4), lambda x: F.poisson_nll_loss(x, rows(x))),
    "gaussian_nll_loss": ((3, 4), lambda x: F.gaussian_nll_loss(x, rows(x), rows(x))),
    "hinge_embedding_loss": ((3, 4), lambda x: F.hinge_embedding_loss(x, torch.ones_like(x))),
    "soft_margin_loss": ((3, 4), lambda x: F.soft_margin_loss(x, torch.ones_like(x))),
    "margin_ranking_loss": ((3,), lambda x: F.margin_ranking_loss(x, x, torch.ones_like(x))),
    "cosine_embedding_loss": ((3, 4), lambda x: F.cosine_embedding_loss(x, x, torch.ones(3))),
    "triplet_margin_loss": ((3, 4), lambda x: F.triplet_margin_loss(x, x, x)),
    "multi_margin_loss": ((3, 4), lambda x: F.multi_margin_loss(x, index)),
    "multilabel_margin_loss": (
        (3, 4),
        lambda x: F.multilabel_margin_loss(x, torch.tensor([[0, 1, -1, -1]] * 3)),
    ),
    "multilabel_soft_margin_loss": (
        (3, 4),
        lambda x: F.multilabel_soft_margin_loss(x, torch.ones_like(x)),
    ),
    "ctc_loss": (
        (5, 1, 4),
        lambda x: F.ctc_loss(x.log_softmax(-1), torch.tensor([[1, 2]]), (5,), (2,)),
    ),
}

MHA = nn.MultiheadAttention(4, 2)


def dtype(name, op, shape, given):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            y = op(torch.rand(shape, dtype=given).requires_grad_())
        except (RuntimeError, ValueError, TypeError) as e:
            print(f"{name}: {str(e).splitlines()[0]}")
            return None
    return str(y.dtype).removeprefix("torch.")


found = {
    name: [dtype(name, op, shape, torch.float32), dtype(name, op, shape, torch.bfloat16)]
    for name, (shape, op) in TABLE.items()
}
lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(d)}" for name, d in found.items())
OUT.write_text("{\n" + lines + "\n}\n")
