#!/usr/bin/env python3
"""Writes crates/flodl/tests/goldens/own/shapes.safetensors: every layer at the sizes where mistakes
hide (batch 0, batch 1, odd sizes, views, groups, dilation, padding above the stride), as PyTorch
computes it, in the form of `references.py`.

    python scripts/shape_references.py [folder]

Needs torch only; the tests read the committed file.
"""

import inspect

import torch
from references import Sample, Writer, save, start
from torch import nn

SPACE = {1: (7,), 2: (3, 5), 3: (2, 3, 3)}
WIDE = {1: (9,), 2: (7, 6), 3: (3, 5, 4)}
KERNEL = {1: 3, 2: 3, 3: 2}


def built(cls, *args, **kwargs):
    """A layer, and every argument of its constructor by name."""
    bound = inspect.signature(cls).bind(*args, **kwargs)
    bound.apply_defaults()
    ctor = {k: v for k, v in bound.arguments.items() if k not in ("device", "dtype", "args", "kwargs")}
    for key, value in ctor.items():
        if callable(value):
            ctor[key] = {"$fn": value.__name__}
    return cls(*args, **kwargs), ctor


class Layers:
    def __init__(self, writer, x):
        self.w, self.x = writer, x

    def add(self, label, made, *args, kwargs=None, **options):
        """One case; tensors' parameters get values that no initialisation has."""
        module, ctor = made
        with torch.no_grad():
            for p in module.parameters():
                p.copy_((torch.randn(p.shape, generator=self.x.rng) * 0.5).float())
        name = type(module).__name__
        self.w.add(name, f"{name} {label}", None, list(args), kwargs, module=module, ctor=ctor, **options)

    def rows(self, make, rows):
        """Cases of one layer: label, constructor arguments, shape; the last one as a view too."""
        for label, options, shape in rows:
            self.add(label, make(**options), self.x(*shape))
        self.add("view", make(**options), self.x(*shape), view=(0,))


def convolutions(l):
    for d in (1, 2, 3):
        s, w, size = SPACE[d], WIDE[d], KERNEL[d]
        cls, back = getattr(nn, f"Conv{d}d"), getattr(nn, f"ConvTranspose{d}d")
        both = [
            ("batch 0", {}, (0, 2, *s)),
            ("batch 1", dict(padding=1), (1, 2, *s)),
            ("unbatched", {}, (2, *s)),
            ("odd channels", dict(i=3, o=5, k=1), (2, 3, *s)),
            ("groups", dict(i=4, o=6, groups=2, padding=1), (2, 4, *s)),
        ]
        make = lambda i=2, o=3, k=size, **o2: built(cls, i, o, k, **o2)
        l.rows(make, both + [
            ("depthwise", dict(i=3, o=6, groups=3, padding=1, bias=False), (1, 3, *s)),
            ("dilation", dict(dilation=2, padding=2), (1, 2, *w)),
            ("padding above stride", dict(padding=2), (1, 2, *s)),
            ("stride above kernel", dict(k=2, stride=3), (1, 2, *w)),
            ("even kernel", dict(k=4 if d < 3 else 2, stride=2, padding=2), (1, 2, *w)),
            ("kernel by dim", dict(k=s[::-1][:d], padding=tuple(n // 2 for n in s[::-1][:d])), (1, 2, *s)),
            ("strided", dict(stride=2, padding=1), (1, 2, *w)),
        ])
        for mode in ("reflect", "replicate", "circular"):
            l.add(f"{mode} view", make(padding=1, padding_mode=mode), l.x(1, 2, *s), view=(0,))
        make = lambda i=2, o=3, k=size, **o2: built(back, i, o, k, **o2)
        l.rows(make, both + [
            ("depthwise", dict(i=3, o=3, groups=3, stride=2, bias=False), (1, 3, *s)),
            ("dilation", dict(dilation=2, padding=1), (1, 2, *s)),
            ("padding above stride", dict(padding=2, k=4), (1, 2, *s)),
            ("stride above kernel", dict(k=2, stride=3), (1, 2, *s)),
            ("output padding", dict(stride=3, padding=1, output_padding=2), (1, 2, *s)),
            ("output padding by dilation", dict(dilation=3, output_padding=2), (1, 2, *s)),
            ("strided", dict(k=4 if d < 3 else 2, stride=2, padding=1), (1, 2, *s)),
        ])


def pools(l):
    for d in (1, 2, 3):
        s, w = SPACE[d], WIDE[d]
        make = lambda k=2, **o: built(getattr(nn, f"MaxPool{d}d"), k, **o)
        l.rows(make, [
            ("batch 0", {}, (0, 3, *s)), ("batch 1", {}, (1, 2, *s)), ("unbatched", {}, (2, *s)),
            ("dilation", dict(dilation=2), (2, 2, *w)), ("padding", dict(k=3, padding=1), (1, 2, *s)),
            ("padding is stride", dict(k=3, stride=1, padding=1), (1, 2, *s)),
            ("ceil", dict(k=2, stride=2, ceil_mode=True), (1, 3, *s)),
            ("stride above kernel", dict(stride=3), (1, 2, *w)),
            ("kernel by dim", dict(k=s), (2, 3, *s)), ("odd", dict(k=3, stride=2), (1, 2, *w)),
        ])
        l.add("indices view", make(return_indices=True), l.x(2, 3, *s), view=(0,))
        make = lambda k=2, **o: built(getattr(nn, f"AvgPool{d}d"), k, **o)
        rows = [
            ("batch 0", {}, (0, 3, *s)), ("batch 1", {}, (1, 2, *s)), ("unbatched", {}, (2, *s)),
            ("padding", dict(k=3, padding=1), (1, 2, *w)),
            ("padding is stride", dict(k=3, stride=1, padding=1), (1, 1, *w)),
            ("own divisor of the edges", dict(k=3, padding=1, count_include_pad=False), (1, 2, *w)),
            ("ceil", dict(ceil_mode=True, padding=1, count_include_pad=False), (1, 3, *s)),
            ("stride above kernel", dict(stride=3), (1, 2, *w)), ("odd", dict(k=3, stride=2), (1, 2, *w)),
        ]
        if d > 1:
            rows.insert(0, ("divisor", dict(divisor_override=5), (1, 2, *s)))
        l.rows(make, rows)
        make = lambda k=2, **o: built(getattr(nn, f"LPPool{d}d"), 2, k, **o)
        l.rows(make, [
            ("batch 0", {}, (0, 2, *s)), ("batch 1", {}, (1, 2, *s)), ("odd", dict(k=3, stride=2), (1, 2, *w)),
        ])
        for kind in ("Avg", "Max"):
            make = lambda size: built(getattr(nn, f"Adaptive{kind}Pool{d}d"), size)
            own = (None,) * d if d > 1 else s[0]
            rows = [
                ("batch 0", dict(size=2), (0, 2, *s)), ("batch 1", dict(size=1), (1, 2, *s)),
                ("unbatched", dict(size=2), (2, *s)), ("of the input", dict(size=own), (1, 2, *s)),
                ("larger", dict(size=tuple(n + 2 for n in s)), (1, 2, *s)),
                ("odd", dict(size=3), (1, 2, *w)),
            ]
            if d > 1:
                rows.insert(4, ("one of the input", dict(size=(None, *s[1:])), (1, 2, *w)))
            l.rows(make, rows)


def norms(l):
    x = l.x
    layer = lambda n=6, **o: built(nn.LayerNorm, n, **o)
    l.rows(layer, [
        ("batch 1", {}, (1, 6)), ("vector", {}, (6,)), ("of two dims", dict(n=(3, 5)), (2, 2, 3, 5)),
        ("without bias", dict(bias=False), (3, 6)), ("plain", dict(elementwise_affine=False), (3, 6)),
        ("two dims of nothing", dict(n=(3, 5)), (0, 3, 5)), ("odd", dict(n=7), (3, 5, 7)),
    ])
    rms = lambda n=6, **o: built(nn.RMSNorm, n, **o)
    l.rows(rms, [
        ("batch 0", {}, (0, 6)), ("batch 1", {}, (1, 6)), ("vector", {}, (6,)), ("one column", dict(n=1), (4, 1)),
        ("of two dims", dict(n=(3, 5)), (2, 2, 3, 5)), ("eps", dict(eps=1e-3), (3, 6)),
        ("plain", dict(elementwise_affine=False), (3, 6)), ("long", dict(n=67), (2, 67)), ("odd", dict(n=7), (3, 5, 7)),
    ])
    group = lambda g=2, c=6, **o: built(nn.GroupNorm, g, c, **o)
    l.rows(group, [
        ("batch 0", {}, (0, 6, 3)), ("batch 1", {}, (1, 6, 4, 3)), ("no space", {}, (3, 6)),
        ("one group", dict(g=1), (2, 6, 3)), ("a group each", dict(g=6), (2, 6, 5)), ("three dims", {}, (1, 6, 2, 3, 2)),
        ("plain", dict(affine=False), (2, 6, 3)), ("odd", dict(g=3, c=9, eps=1e-2), (2, 9, 5, 3)),
    ])
    for d in (1, 2, 3):
        s = SPACE[d]
        norm = lambda c=3, **o: built(getattr(nn, f"InstanceNorm{d}d"), c, **o)
        l.rows(norm, [
            # Not tracking: an empty batch makes PyTorch's running statistics NaN, which nobody wants.
            ("batch 0", {}, (0, 3, *s)),
            ("batch 1", dict(affine=True), (1, 3, *s)), ("unbatched", dict(affine=True), (3, *s)),
            ("tracking", dict(affine=True, track_running_stats=True), (2, 3, *s)),
            ("momentum", dict(track_running_stats=True, momentum=0.4), (2, 3, *s)),
            ("odd", dict(affine=True, eps=1e-3), (2, 3, *s)),
        ])

        def running(cls, c=3, **o):
            module, ctor = built(getattr(nn, f"{cls}{d}d"), c, **o)
            module.running_mean.copy_(x(c).float())
            module.running_var.copy_(x(c, low=0.5).float())
            module.num_batches_tracked.fill_(3)
            return module, ctor

        tracking = running("InstanceNorm", affine=True, track_running_stats=True)
        l.add("eval", tracking, x(2, 3, *s), view=(0,), training=False)
        make = lambda c=3, **o: running("BatchNorm", c, **o)
        rows = [
            ("batch 0", {}, (0, 3, *s)), ("batch 1", {}, (1, 3, *s)), ("one channel", dict(c=1), (2, 1, *s)),
            ("plain", dict(affine=False), (2, 3, *s)), ("average", dict(momentum=None), (2, 3, *s)),
            ("odd", dict(eps=1e-3, momentum=0.3), (2, 3, *s)),
        ]
        if d == 1:
            rows.insert(0, ("no space", {}, (4, 3)))
        l.rows(make, rows)
        untracked = built(getattr(nn, f"BatchNorm{d}d"), 3, track_running_stats=False)
        l.add("untracked eval", untracked, x(2, 3, *s), training=False)
        l.add("eval", running("BatchNorm"), x(2, 3, *s), view=(0,), training=False)
        l.add("eval of nothing", running("BatchNorm"), x(0, 3, *s), training=False)
    response = lambda n=3, **o: built(nn.LocalResponseNorm, n, **o)
    l.rows(response, [
        ("batch 0", {}, (0, 4, 3)), ("batch 1", {}, (1, 4, 3)), ("no channels", {}, (2, 0, 3)),
        ("even", dict(n=4, alpha=0.5), (2, 6, 3, 2)), ("above the channels", dict(n=9, alpha=0.5), (2, 3, 4)),
        ("three dims", dict(alpha=0.5), (1, 4, 2, 3, 2)), ("odd", dict(n=5, alpha=0.5, beta=0.6, k=2.0), (3, 7, 5, 3)),
    ])


def tables(l):
    index = lambda *v: torch.tensor(v, dtype=torch.int64)
    many = index(4, 0, 4, 2, 1, 4).reshape(2, 3)
    emb = lambda **o: built(nn.Embedding, 5, 3, **o)
    for label, i, o in [
        ("batch 0", many[:0], {}), ("batch 1", many[:1], {}), ("one index", index(2)[0], {}),
        ("odd", index(*[n % 5 for n in range(21)]).reshape(3, 7), {}), ("padding", many, dict(padding_idx=4)),
        ("by frequency", many, dict(scale_grad_by_freq=True)), ("max norm", many, dict(max_norm=0.5)),
    ]:
        l.add(label, emb(**o), i)
    l.add("view", emb(), many, view=(0,))
    for mode in ("sum", "mean", "max"):
        bag = lambda **o: built(nn.EmbeddingBag, 5, 3, mode=mode, **o)
        flat = many.reshape(-1)
        for label, i, offsets, o in [
            ("no bags", flat[:0], index(), {}), ("one bag", flat, index(0), {}),
            ("empty bags", flat, index(0, 0, 2, 2, 6), {}), ("last offset", flat, index(0, 1, 6), dict(include_last_offset=True)),
            ("padding", flat, index(0, 3), dict(padding_idx=4)),
        ]:
            l.add(f"{mode} {label}", bag(**o), i, offsets)
        l.add(f"{mode} rows", bag(), many)
        l.add(f"{mode} view", bag(), many, view=(0,))
        if mode != "max":
            l.add(f"{mode} by frequency", bag(scale_grad_by_freq=True), flat, index(0, 4))


def recurrent(l):
    x = l.x
    for cls, more in [(nn.RNNCell, {}), (nn.RNNCell, dict(nonlinearity="relu")), (nn.GRUCell, {}), (nn.LSTMCell, {})]:
        which = f" {more['nonlinearity']}" if more else ""
        for label, n, (i, h), o in [
            ("batch 0", (0,), (3, 4), {}), ("batch 1", (1,), (3, 4), {}), ("unbatched", (), (3, 4), {}),
            ("one of each", (1,), (1, 1), {}), ("no bias", (2,), (3, 4), dict(bias=False)), ("odd", (5,), (7, 9), {}),
        ]:
            state = [x(*n, h), x(*n, h)] if cls is nn.LSTMCell else x(*n, h)
            l.add(f"{label}{which}", built(cls, i, h, **o, **more), x(*n, i), state)
        l.add(f"no state view{which}", built(cls, 3, 4, **more), x(4, 3), view=(0,))
        state = [x(4, 4), x(4, 4)] if cls is nn.LSTMCell else x(4, 4)
        l.add(f"view{which}", built(cls, 3, 4, **more), x(4, 3), state, view=(0, 1))

    for cls, more in [(nn.RNN, {}), (nn.RNN, dict(nonlinearity="relu")), (nn.GRU, {}), (nn.LSTM, {})]:
        which = f" {more['nonlinearity']}" if more else ""

        def make(i=3, h=4, layers=1, **o):
            ctor = dict(input_size=i, hidden_size=h, num_layers=layers, bias=True, batch_first=False, dropout=0.0,
                        bidirectional=False) | more | o
            return cls(**ctor), ctor | (dict(proj_size=0) if cls is nn.LSTM else {})

        for label, o, shape, view in [
            ("batch 1", {}, (3, 1, 3), ()), ("one step", {}, (1, 2, 3), ()), ("unbatched", {}, (4, 3), ()),
            ("layers", dict(layers=3), (4, 2, 3), ()), ("both ways", dict(bidirectional=True, layers=2), (3, 2, 3), ()),
            ("no bias", dict(bias=False), (3, 2, 3), ()), ("batch first view", dict(batch_first=True), (2, 5, 3), (0,)),
            ("odd", dict(i=5, h=9), (7, 3, 5), ()), ("view", dict(layers=2), (4, 3, 3), (0, 1)),
        ]:
            made = make(**o)
            ctor = made[1]
            rows = ctor["num_layers"] * (2 if ctor["bidirectional"] else 1)
            batch = () if len(shape) == 2 else (shape[0 if ctor["batch_first"] else 1],)
            states = [x(rows, *batch, ctor["hidden_size"]) for _ in range(2)]
            l.add(f"{label}{which}", made, x(*shape), states if cls is nn.LSTM else states[0], view=view)
        l.add(f"no state{which}", make(), x(3, 2, 3))


def attention(l):
    x = l.x
    n, t, s, e = 2, 3, 4, 6
    later = torch.triu(torch.ones(t, t, dtype=torch.bool), 1)
    some = torch.tensor([[False, True, False, False], [False, False, False, True], [True, False, False, False]])
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    mha = lambda heads=2, dims=e, **o: built(nn.MultiheadAttention, dims, heads, **({"batch_first": True} | o))

    def add(label, made, shapes=((n, t, e), (n, s, e), (n, s, e)), kwargs=None, **o):
        l.add(label, made, *[x(*shape) for shape in shapes], kwargs=kwargs, **o)

    own = ((n, t, e),) * 3
    add("self", mha(), own)
    add("cross", mha())
    add("batch 0", mha(), ((0, t, e), (0, s, e), (0, s, e)), dict(need_weights=False))
    add("batch 1", mha(), ((1, t, e), (1, s, e), (1, s, e)))
    add("unbatched", mha(), ((t, e), (s, e), (s, e)))
    add("sequence first", mha(batch_first=False), ((t, n, e), (s, n, e), (s, n, e)))
    add("view", mha(), view=(0, 1, 2))
    add("odd", mha(heads=3, dims=9), ((3, 5, 9), (3, 7, 9), (3, 7, 9)), dict(need_weights=False))
    add("one head", mha(heads=1))
    add("one key", mha(), ((n, t, e), (n, 1, e), (n, 1, e)))
    add("other dims", mha(kdim=5, vdim=7), ((n, t, e), (n, s, 5), (n, s, 7)))
    add("no bias", mha(bias=False))
    add("bias of keys", mha(add_bias_kv=True))
    add("zero attention", mha(add_zero_attn=True))
    add("both more", mha(add_bias_kv=True, add_zero_attn=True), kwargs=dict(key_padding_mask=padding, attn_mask=some))
    add("mask", mha(), kwargs=dict(attn_mask=some))
    add("mask without weights", mha(), kwargs=dict(attn_mask=some, need_weights=False))
    add("mask by head", mha(), kwargs=dict(attn_mask=some.expand(n * 2, t, s).contiguous()))
    add("added mask", mha(), kwargs=dict(attn_mask=x(t, s)), constant=("attn_mask",))
    add("padding", mha(), kwargs=dict(key_padding_mask=padding))
    add("padding and mask", mha(), kwargs=dict(key_padding_mask=padding, attn_mask=some, need_weights=False))
    add("causal", mha(), own, dict(attn_mask=later, is_causal=True, need_weights=False))
    add("weights by head", mha(), kwargs=dict(average_attn_weights=False))

    layer = lambda **o: built(nn.TransformerEncoderLayer, e, 2, **(dict(dim_feedforward=5, dropout=0.0, batch_first=True) | o))
    short = torch.tensor([[False] * 3, [False, False, True]])
    for label, o, shape, kwargs, view in [
        ("batch 0", {}, (0, t, e), {}, ()), ("batch 1", {}, (1, t, e), {}, ()), ("unbatched", {}, (t, e), {}, ()),
        ("one step", {}, (n, 1, e), {}, ()), ("sequence first", dict(batch_first=False), (t, n, e), {}, ()),
        ("mask", {}, (n, t, e), dict(src_mask=later), ()), ("padding", {}, (n, t, e), dict(src_key_padding_mask=short), ()),
        ("norm first gelu", dict(norm_first=True, activation="gelu"), (n, t, e), dict(src_mask=later), ()),
        ("no bias", dict(bias=False), (n, t, e), {}, ()), ("view", {}, (n, t, e), {}, (0,)),
    ]:
        l.add(label, layer(**o), x(*shape), kwargs=kwargs, view=view)
    layer = lambda **o: built(nn.TransformerDecoderLayer, e, 2, **(dict(dim_feedforward=5, dropout=0.0, batch_first=True) | o))
    for label, o, a, b, kwargs, view in [
        ("batch 0", {}, (0, t, e), (0, s, e), {}, ()), ("batch 1", {}, (1, t, e), (1, s, e), {}, ()),
        ("unbatched", {}, (t, e), (s, e), {}, ()), ("one step", {}, (n, 1, e), (n, 1, e), {}, ()),
        ("sequence first", dict(batch_first=False), (t, n, e), (s, n, e), {}, ()),
        ("masks", {}, (n, t, e), (n, s, e), dict(tgt_mask=later, memory_mask=some), ()),
        ("padding", {}, (n, t, e), (n, s, e), dict(tgt_key_padding_mask=short, memory_key_padding_mask=padding), ()),
        ("norm first gelu", dict(norm_first=True, activation="gelu"), (n, t, e), (n, s, e), dict(tgt_mask=later), ()),
        ("no bias", dict(bias=False), (n, t, e), (n, s, e), {}, ()), ("view", {}, (n, t, e), (n, s, e), {}, (0, 1)),
    ]:
        l.add(label, layer(**o), x(*a), x(*b), kwargs=kwargs, view=view)


def resizing(l):
    for d, modes in [(1, ("nearest", "linear")), (2, ("nearest", "bilinear", "bicubic")), (3, ("nearest", "trilinear"))]:
        s = SPACE[d]
        for mode in modes:
            make = lambda **o: built(nn.Upsample, mode=mode, **o)
            up = tuple(n + 2 for n in s)
            rows = [
                ("batch 0", dict(size=up), (0, 2, *s)), ("batch 1", dict(size=up), (1, 2, *s)),
                ("double", dict(scale_factor=2.0), (1, 1, *s)), ("odd factor", dict(scale_factor=1.7), (1, 2, *s)),
                ("of one", dict(size=up), (1, 2) + (1,) * d), ("smaller", dict(size=(2,) * d), (2, 2, *s)),
            ]
            if mode != "nearest":
                rows += [("aligned", dict(size=up, align_corners=True), (1, 2, *s)),
                         ("aligned to one", dict(size=(1,) * d, align_corners=True), (1, 2, *s))]
            rows.append(("odd", dict(size=tuple(2 * n + 1 for n in s)), (1, 1, *s)))
            l.rows(lambda **o: make(**o), [(f"{mode} {d}d {label}", o, shape) for label, o, shape in rows[:-1]])
            label, o, shape = rows[-1]
            l.add(f"{mode} {d}d view", make(**o), l.x(*shape), view=(0,))


def patches(l):
    make = lambda k=2, **o: built(nn.Unfold, k, **o)
    l.rows(make, [
        ("batch 0", {}, (0, 2, 4, 5)), ("batch 1", {}, (1, 2, 4, 5)), ("unbatched", {}, (2, 4, 5)),
        ("dilation", dict(dilation=2), (1, 2, 5, 6)), ("padding above stride", dict(k=3, padding=2), (1, 2, 3, 4)),
        ("by dim", dict(k=(2, 3), stride=(2, 1), padding=(1, 0)), (1, 1, 5, 7)), ("odd", dict(k=3, stride=2), (2, 3, 5, 7)),
    ])
    make = lambda out=(4, 5), k=2, **o: built(nn.Fold, out, k, **o)
    l.rows(make, [
        ("batch 0", {}, (0, 8, 12)), ("batch 1", {}, (1, 8, 12)), ("unbatched", {}, (8, 12)),
        ("dilation", dict(out=(5, 6), dilation=2), (1, 8, 12)), ("padding above stride", dict(out=(3, 4), k=3, padding=2), (1, 18, 30)),
        ("by dim", dict(out=(5, 7), k=(2, 3), stride=(2, 1), padding=(1, 0)), (1, 6, 15)), ("odd", dict(out=(5, 7), k=3, stride=2), (2, 9, 6)),
    ])
    # Forward only: PyTorch's own gradient of an empty one fails. Of PixelUnshuffle not even that:
    # PyTorch gives an empty input back in its own shape.
    l.add("batch 0", built(nn.PixelShuffle, 2), l.x(0, 8, 3, 2), constant=(0,))
    l.rows(lambda r=2: built(nn.PixelShuffle, r), [
        ("batch 1", {}, (1, 8, 3, 2)), ("unbatched", {}, (4, 3, 2)), ("by one", dict(r=1), (1, 3, 2, 2)),
        ("more dims", {}, (2, 1, 4, 3, 2)), ("odd", dict(r=3), (2, 9, 3, 5)),
    ])
    l.rows(lambda r=2: built(nn.PixelUnshuffle, r), [
        ("batch 1", {}, (1, 2, 4, 6)), ("unbatched", {}, (2, 4, 6)), ("by one", dict(r=1), (1, 3, 2, 2)),
        ("more dims", {}, (2, 1, 1, 4, 6)), ("odd", dict(r=3), (2, 1, 9, 3)),
    ])
    l.rows(lambda g=2: built(nn.ChannelShuffle, g), [
        ("batch 0", {}, (0, 4, 3)), ("batch 1", {}, (1, 4, 3, 2)), ("odd", dict(g=3), (2, 9, 3, 2)),
    ])
    for d in (1, 2, 3):
        s = SPACE[d]
        sides = (1, 2, 0, 1, 1, 0)[: 2 * d]
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular"):
            more = dict(value=-1.5) if kind == "Constant" else {}
            cls = getattr(nn, f"{kind}Pad{d}d")
            rows = [("batch 0", dict(p=1), (0, 2, *s)), ("batch 1", dict(p=1), (1, 2, *s)), ("unbatched", dict(p=sides), (2, *s))]
            if kind in ("Zero", "Constant"):
                rows.append(("cropping", dict(p=tuple(1 - n for n in sides)), (1, 2, *s)))
            if kind in ("Constant", "Zero", "Replication"):
                rows.append(("above the input", dict(p=tuple(n + 4 for n in sides[:2]) + sides[2:]), (1, 1, *s)))
            rows.append(("odd", dict(p=sides), (1, 3, *s)))
            l.rows(lambda p: built(cls, p, **more), rows)


def others(l):
    x = l.x
    for label, a, b, o in [
        ("batch 0", (0, 3), (0, 4), {}), ("batch 1", (1, 3), (1, 4), {}), ("vectors", (3,), (4,), {}),
        ("more dims", (2, 3, 3), (2, 3, 4), {}), ("no bias", (2, 3), (2, 4), dict(bias=False)), ("odd", (5, 3), (5, 4), {}),
    ]:
        l.add(label, built(nn.Bilinear, 3, 4, 2, **o), x(*a), x(*b))
    l.add("view", built(nn.Bilinear, 3, 4, 2), x(5, 3), x(5, 4), view=(0, 1))
    prelu = lambda n=1: built(nn.PReLU, n)
    l.rows(prelu, [
        ("batch 0", dict(n=3), (0, 3, 2)), ("batch 1", dict(n=3), (1, 3, 2)), ("one slope", {}, (2, 3, 2)),
        ("vector", {}, (4,)), ("two dims", dict(n=3), (4, 3)), ("odd", dict(n=5), (3, 5, 7)),
    ])
    linear = lambda i=3, o=4, bias=True: built(nn.Linear, i, o, bias)
    l.rows(linear, [("no bias batch 0", dict(bias=False), (0, 3)), ("more dims", {}, (2, 1, 3, 3)), ("odd", dict(i=7, o=5), (3, 7))])
    for made in [
        built(nn.ReLU6), built(nn.Hardtanh, -0.5, 1.5), built(nn.CELU, 0.7), built(nn.SELU), built(nn.LeakyReLU, 0.2),
        built(nn.Softmin, 1), built(nn.Softmax, 1), built(nn.LogSoftmax, 1), built(nn.Softsign), built(nn.Tanhshrink),
        built(nn.Softshrink, 0.4), built(nn.Hardshrink, 0.4), built(nn.Threshold, 0.1, 20.0), built(nn.Hardsigmoid),
        built(nn.GLU, 1), built(nn.Identity), built(nn.ReLU), built(nn.Sigmoid), built(nn.Tanh), built(nn.GELU), built(nn.SiLU),
        built(nn.Mish), built(nn.Hardswish), built(nn.LogSigmoid), built(nn.Softplus, 1.5, 2.0), built(nn.ELU, 0.7),
        built(nn.Flatten), built(nn.Unflatten, 1, (2, 3)), built(nn.Dropout, 0.0), built(nn.CosineSimilarity), built(nn.PairwiseDistance),
    ]:
        two = isinstance(made[0], (nn.CosineSimilarity, nn.PairwiseDistance))
        more = (lambda *s: (x(*s), x(*s))) if two else (lambda *s: (x(*s),))
        l.add("batch 0", made, *more(0, 6, 3))
        l.add("batch 1", made, *more(1, 6, 3))
        l.add("odd view", made, *more(3, 6, 5), view=(0,))
    planes = built(nn.Softmax2d)
    l.add("batch 0", planes, x(0, 3, 2, 2))
    l.add("batch 1", planes, x(1, 3, 2, 2))
    l.add("view", planes, x(2, 3, 5, 3), view=(0,))
    for made, shape in [
        (built(nn.Dropout, 0.4), (2, 3)), (built(nn.Dropout1d, 0.4), (2, 3, 4)), (built(nn.Dropout2d, 0.4), (2, 3, 2, 3)),
        (built(nn.Dropout3d, 0.4), (2, 3, 2, 3, 2)), (built(nn.AlphaDropout, 0.4), (2, 3)), (built(nn.FeatureAlphaDropout, 0.4), (2, 3, 2, 3)),
    ]:
        l.add("eval view", made, x(*shape), view=(0,), training=False)
        l.add("batch 0", made, x(0, *shape[1:]))


def main():
    folder = start()
    writer = Writer(numbered=True)
    layers = Layers(writer, Sample(3))
    for family in (convolutions, pools, norms, tables, recurrent, attention, resizing, patches, others):
        family(layers)
    save(folder / "shapes.safetensors", writer.tensors, writer.cases)
    print(f"shapes: {len(writer.cases)} cases")


if __name__ == "__main__":
    main()
