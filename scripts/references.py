#!/usr/bin/env python3
"""Writes reference cases that PyTorch computes, in the form of crates/flodl/tests/goldens.

    python scripts/references.py [folder]

Needs torch only. The tests read the committed files and need neither torch nor Python.
"""

import copy
import json
import math
import struct
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

DTYPES = {"float32": torch.float32, "float64": torch.float64}
NAMES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}


def save(path, tensors, cases):
    """A .safetensors file, larger alignments first."""
    order = sorted(tensors, key=lambda n: (-tensors[n].element_size(), n))
    compact = {"separators": (",", ":")}
    header, blobs, offset = {"__metadata__": {"cases": json.dumps(cases, **compact)}}, [], 0
    for name in order:
        t = tensors[name].detach().contiguous()
        blob = bytes(t.reshape(-1).view(torch.uint8).tolist()) if t.numel() else b""
        end = offset + len(blob)
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [offset, end]}
        blobs.append(blob)
        offset = end
    text = json.dumps(header, **compact).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


class Sample:
    """Random arguments by shape, the same values in every dtype."""

    def __init__(self, seed):
        self.rng = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, scale=1.0, low=None):
        x = torch.randn(shape, generator=self.rng, dtype=torch.float64) * scale
        # Values that f32 holds exactly, so that both dtypes see one input.
        x = (x if low is None else x.abs() + low).float().double()
        return x


def encode(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"$f": str(value)}
    return list(value) if isinstance(value, tuple) else value


def flat(out):
    """Tensors of a nested result in order; a None is none of them."""
    if torch.is_tensor(out):
        return [out]
    return [] if out is None else [t for part in out for t in flat(part)]


class Writer:
    """Collects cases. Their tensors are named after them, or by a number, which is shorter."""

    def __init__(self, numbered=False):
        self.tensors, self.cases, self.numbered = {}, [], numbered

    def compute(self, dtype, call, args, kwargs, module, training, constant):
        """Arguments and outputs in one dtype, and the module that made them."""
        to = lambda v, learned=True: (
            v.to(dtype).requires_grad_(learned) if torch.is_tensor(v) and v.is_floating_point() else v
        )
        args = [[to(v) for v in a] if isinstance(a, list) else to(a, i not in constant) for i, a in enumerate(args)]
        kwargs = {k: to(v, k not in constant) for k, v in kwargs.items()}
        params, buffers = {}, {}
        if module is not None:
            module = copy.deepcopy(module).to(dtype).train(training)
            params = {n: p.detach().clone() for n, p in module.named_parameters()}
            buffers = {n: b.clone() for n, b in module.named_buffers()}
        out = (call if module is None else module)(*args, **kwargs)
        outs = flat(out)
        return args, kwargs, outs, module, params, buffers

    def add(self, name, label, call, args, kwargs=None, *, module=None, ctor=None, view=(), training=True, constant=()):
        """One case in both dtypes; `view` names arguments that come as views, `constant` those without a gradient."""
        kwargs = kwargs or {}
        errors, exact, label_key = {}, None, f"{len(self.cases)}g"
        for dtype_name in ("float64", "float32"):
            dtype = DTYPES[dtype_name]
            key = str(len(self.cases)) if self.numbered else f"{label}.{dtype_name[5:]}"
            a, k, outs, own, params, buffers = self.compute(dtype, call, args, kwargs, module, training, constant)

            def put(suffix, t, given=False):
                if given and self.numbered and t.is_floating_point():
                    # Both dtypes start from the same numbers, which float32 holds exactly.
                    name, t = f"{label_key}.{suffix}", t.float()
                else:
                    name = f"{key}.{suffix}"
                self.tensors[name] = t.detach().clone()
                return name

            case = {
                "id": f"{name}/{label}/{dtype_name}", "source": "own", "desc": label,
                "dtype": dtype_name, "training": training,
                ("module" if module is not None else "op"): name,
                "view": [], "buffers_after": {}, "widen": self.numbered and dtype_name == "float64" or None,
            }
            sources = {}

            def encode_tensor(suffix, t, place):
                full = put(suffix, t, given=True)
                if t.requires_grad:
                    sources[full] = t
                if place in view:
                    case["view"].append(full)
                return {"$t": full}

            enc_args = []
            for i, v in enumerate(a):
                if torch.is_tensor(v):
                    enc_args.append(encode_tensor(f"in.{i}", v, i))
                elif isinstance(v, list) and v and torch.is_tensor(v[0]):
                    enc_args.append([encode_tensor(f"in.{i}.{j}", t, i) for j, t in enumerate(v)])
                else:
                    enc_args.append(encode(v))
            enc_kwargs = {
                n: encode_tensor(f"in.{n}", v, n) if torch.is_tensor(v) else encode(v) for n, v in k.items()
            }
            case["fwd"] = {"args": enc_args, "kwargs": enc_kwargs}
            if module is not None:
                case["ctor"] = {n: encode(v) for n, v in ctor.items()}
                case["params"] = {n: put(f"p.{n}", p, given=True) for n, p in params.items()}
                case["buffers"] = {n: put(f"b.{n}", b, given=True) for n, b in buffers.items()}
                if training:
                    after = own.named_buffers()
                    case["buffers_after"] = {n: put(f"b.{n}.after", b) for n, b in after}
            enc_outs = [{"$t": put(f"out.{i}", o)} for i, o in enumerate(outs)]
            case["out"] = enc_outs[0] if len(enc_outs) == 1 else enc_outs
            rng = torch.Generator().manual_seed(7)
            case["cot"], loss = [], 0
            for i, o in enumerate(outs):
                if not o.is_floating_point() or not o.requires_grad:
                    case["cot"].append(None)
                    continue
                cot = torch.randn(o.shape, generator=rng, dtype=torch.float64).float().to(dtype)
                case["cot"].append(put(f"cot.{i}", cot, given=True))
                loss = loss + (o * cot).sum()
            targets = dict(sources)
            if module is not None:
                targets |= {f"p:{n}": p for n, p in own.named_parameters()}
            grads = {}
            if torch.is_tensor(loss):
                values = torch.autograd.grad(loss, list(targets.values()), allow_unused=True)
                grads = {n: g for n, g in zip(targets, values) if g is not None}
            case["grad_in"] = {n: put(n[len(label_key if self.numbered else key) + 1:] + ".g", g) for n, g in grads.items() if n in sources}
            case["grad_param"] = {
                n[2:]: put(f"p.{n[2:]}.g", g) for n, g in grads.items() if n.startswith("p:")
            }
            result = {f"out{i}": o for i, o in enumerate(outs)}
            result |= {case["grad_in"].get(n) or case["grad_param"][n[2:]]: g for n, g in grads.items()}
            if exact is None:
                exact = list(result.values())
            else:
                for (n, ours), true in zip(result.items(), exact):
                    if ours.is_floating_point() and ours.numel():
                        error = (ours.double() - true.double()).abs()
                        error = error[error.isfinite()]
                        errors[n] = float(f"{error.max().item():.3g}") if error.numel() else 0.0
                case["f32_err"] = errors
            if self.numbered:
                # What the readers take for granted, and errors below what is tolerated anyway.
                case["f32_err"] = {n: e for n, e in errors.items() if e > 5e-7}
                case = {n: v for n, v in case.items() if n not in ("source", "desc") and v not in ([], {}, None)}
            elif case["widen"] is None:
                del case["widen"]
            self.cases.append(case)


def layers(w, x):
    def add(kind, label, module, ctor, *args, **options):
        w.add(kind, label, None, list(args), module=module, ctor=ctor, **options)

    lin = lambda i, o, bias=True: (nn.Linear(i, o, bias), dict(in_features=i, out_features=o, bias=bias))
    for label, (i, o), shape in [
        ("empty batch", (5, 3), (0, 5)), ("batch 1", (7, 5), (1, 7)), ("odd", (33, 17), (19, 33)),
        ("one of each", (1, 1), (1, 1)), ("vector", (9, 4), (9,)), ("four dims", (6, 5), (2, 3, 4, 6)),
    ]:
        add("Linear", f"linear {label}", *lin(i, o), x(*shape))
    add("Linear", "linear view", *lin(13, 11), x(29, 13), view=(0,))
    add("Linear", "linear no bias", *lin(3, 130, False), x(2, 3))

    norm = lambda n: (nn.LayerNorm(n), dict(normalized_shape=n, eps=1e-5, elementwise_affine=True, bias=True))
    for label, n, shape in [
        ("empty batch", 8, (0, 8)), ("one column", 1, (4, 1)), ("odd", 33, (5, 33)), ("long", 1027, (2, 1027)),
    ]:
        add("LayerNorm", f"layer norm {label}", *norm(n), x(*shape))
    add("LayerNorm", "layer norm view", *norm(12), x(7, 12), view=(0,))
    # A constant row has no variance, a large mean eats digits.
    add("LayerNorm", "layer norm constant", *norm(6), torch.full((2, 6), 3.0, dtype=torch.float64))
    add("LayerNorm", "layer norm far from 0", *norm(16), (x(3, 16) + 64).float().double())

    def batch_norm(c):
        m = nn.BatchNorm2d(c)
        m.running_mean.copy_(x(c).float())
        m.running_var.copy_(x(c, low=0.5).float())
        m.num_batches_tracked.fill_(3)
        return m, dict(num_features=c, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True)

    for label, c, shape in [("batch 1", 3, (1, 3, 5, 7)), ("one channel", 1, (2, 1, 3, 3)), ("odd", 17, (3, 17, 9, 5))]:
        add("BatchNorm2d", f"batch norm {label}", *batch_norm(c), x(*shape))
    add("BatchNorm2d", "batch norm view", *batch_norm(4), x(2, 4, 6, 3), view=(0,))
    add("BatchNorm2d", "batch norm eval", *batch_norm(5), x(2, 5, 4, 4), training=False)
    add("BatchNorm2d", "batch norm eval of nothing", *batch_norm(5), x(0, 5, 4, 4), training=False)

    def conv(i, o, k, stride=1, padding=0, dilation=1, groups=1, bias=True):
        ctor = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
        ctor = dict(in_channels=i, out_channels=o, kernel_size=k, **ctor, padding_mode="zeros")
        return nn.Conv2d(**ctor), ctor

    for label, c, shape in [
        ("empty batch", (2, 3, 3), (0, 2, 5, 5)), ("batch 1", (3, 4, 3, 1, 1), (1, 3, 7, 9)),
        ("padding above stride", (2, 3, 3, 1, 2), (2, 2, 5, 4)), ("kernel of the input", (3, 5, (4, 6)), (2, 3, 4, 6)),
        ("1x1", (19, 37, 1), (2, 19, 5, 3)), ("odd channels", (17, 23, 3, 1, 1), (1, 17, 11, 13)),
        ("depthwise", (6, 6, 3, 1, 1, 1, 6), (2, 6, 9, 7)), ("depthwise stride 2", (5, 10, 5, 2, 2, 1, 5), (1, 5, 11, 8)),
        ("stride above kernel", (2, 3, 2, 3), (2, 2, 11, 10)), ("one pixel", (3, 4, 1), (2, 3, 1, 1)),
        ("dilated", (2, 3, 3, 1, 3, 3, 1, False), (1, 2, 9, 10)), ("wide row", (1, 2, (1, 7), 1, (0, 3)), (1, 1, 1, 67)),
        ("3x3 image-like", (16, 16, 3, 1, 1), (1, 16, 14, 14)),
    ]:
        add("Conv2d", f"conv {label}", *conv(*c), x(*shape))
    add("Conv2d", "conv view", *conv(3, 5, 3, 1, 1), x(2, 3, 6, 4), view=(0,))

    def pool(k, stride=None, padding=0, dilation=1, ceil_mode=False):
        ctor = dict(kernel_size=k, stride=stride, padding=padding, dilation=dilation)
        ctor |= dict(return_indices=False, ceil_mode=ceil_mode)
        return nn.MaxPool2d(**ctor), ctor

    for label, c, shape in [
        ("empty batch", (2,), (0, 3, 4, 4)), ("odd", (3, 2, 1), (2, 5, 9, 7)), ("stride 1", (3, 1, 1), (1, 2, 5, 5)),
        ("ceil", (3, 2, 0, 1, True), (1, 2, 6, 8)), ("dilated", (2, 1, 0, 3), (1, 1, 7, 8)), ("all", ((5, 3),), (2, 2, 5, 3)),
    ]:
        add("MaxPool2d", f"max pool {label}", *pool(*c), x(*shape))
    ties = torch.tensor([1.0, 2.0, 2.0, 2.0] * 6, dtype=torch.float64).reshape(1, 1, 4, 6)
    add("MaxPool2d", "max pool ties", *pool(2), ties)
    add("MaxPool2d", "max pool view", *pool(2), x(2, 3, 6, 4), view=(0,))
    nan = x(1, 1, 4, 4)
    nan[0, 0, 1, 1] = math.nan
    nan[0, 0, 2:, 2:] = -math.inf
    add("MaxPool2d", "max pool nan and -inf", *pool(2), nan)

    edges = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 5.0, -5.0, 40.0, -40.0, 300.0, -300.0, math.inf], dtype=torch.float64)
    for kind, module, ctor in [
        ("GELU", nn.GELU(), dict(approximate="none")), ("GELU", nn.GELU("tanh"), dict(approximate="tanh")),
        ("SiLU", nn.SiLU(), {}), ("Mish", nn.Mish(), {}), ("Sigmoid", nn.Sigmoid(), {}), ("Tanh", nn.Tanh(), {}),
        ("ELU", nn.ELU(), dict(alpha=1.0)), ("Softplus", nn.Softplus(), dict(beta=1.0, threshold=20.0)),
        ("LogSigmoid", nn.LogSigmoid(), {}), ("ReLU", nn.ReLU(), {}), ("Hardswish", nn.Hardswish(), {}),
    ]:
        form = f"{kind} {ctor.get('approximate', '')}".strip()
        add(kind, f"{form} empty", module, ctor, x(0, 3))
        add(kind, f"{form} edges", module, ctor, edges[:-1])
        add(kind, f"{form} odd view", module, ctor, x(5, 37, scale=3.0), view=(0,))


def operations(w, x):
    inf, nan = math.inf, math.nan
    t = lambda *v: torch.tensor(v, dtype=torch.float64)
    special = t(0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 1e-40, 3.5)
    for m, k, n in [(1, 1, 1), (7, 13, 5), (65, 33, 17), (1, 300, 1), (3, 0, 4), (0, 3, 2)]:
        w.add("matmul", f"matmul {m} {k} {n}", torch.matmul, [x(m, k), x(k, n)])
    w.add("matmul", "matmul views", torch.matmul, [x(9, 14), x(14, 6)], view=(0, 1))
    w.add("matmul", "matmul broadcast", torch.matmul, [x(2, 1, 3, 4), x(5, 4, 2)])
    w.add("matmul", "matmul matrix left", torch.matmul, [x(3, 4), x(2, 4, 5)])
    w.add("matmul", "matmul vector left", torch.matmul, [x(4), x(2, 4, 5)])
    w.add("matmul", "matmul vector right", torch.matmul, [x(2, 5, 4), x(4)])
    for op, call in [
        ("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div),
        ("maximum", torch.maximum), ("minimum", torch.minimum), ("atan2", torch.atan2), ("pow", torch.pow),
    ]:
        positive = {"low": 0.1} if op == "pow" else {}
        w.add(op, f"{op} broadcast", call, [x(3, 1, 5, **positive), x(4, 1)])
        w.add(op, f"{op} views", call, [x(6, 7, **positive), x(6, 7)], view=(0, 1))
        w.add(op, f"{op} nothing", call, [x(0, 3, **positive), x(1, 3)])
        with torch.no_grad():
            a, b = special.repeat(9), special.repeat_interleave(9)
        w.add(op, f"{op} specials", lambda p, q, call=call: call(p, q).detach(), [a, b])
    for op in ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"]:
        w.add(op, f"{op} specials", getattr(torch, op), [special.repeat(9), special.repeat_interleave(9)])
    for op in ["exp", "log", "sqrt", "abs", "sign", "floor", "ceil", "trunc", "round", "sin", "tanh", "sigmoid",
               "log1p", "expm1", "erf", "reciprocal", "rsqrt", "relu", "isnan", "isinf", "isfinite"]:
        w.add(op, f"{op} specials", lambda v, op=op: getattr(torch, op)(v).detach(), [special])
    w.add("sqrt", "sqrt gradient at 0", torch.sqrt, [t(0.0, 4.0)])
    w.add("abs", "abs gradient at 0", torch.abs, [t(0.0, -0.0, -2.0)])
    w.add("relu", "relu gradient at 0", torch.relu, [t(0.0, -0.0, 2.0)])
    w.add("maximum", "maximum ties", torch.maximum, [t(1.0, 2.0), t(1.0, 3.0)])
    ties = t(1.0, 3.0, 3.0, 2.0, 3.0, 0.0).reshape(2, 3)
    w.add("max", "max ties", torch.max, [ties])
    w.add("max", "max dim ties", torch.max, [ties], dict(dim=1))
    w.add("min", "min dim of a view", torch.min, [x(5, 6)], dict(dim=0, keepdim=True), view=(0,))
    w.add("max", "max dim nan", torch.max, [t(1.0, nan, 3.0, nan).reshape(1, 4)], dict(dim=1))
    w.add("argmax", "argmax ties", torch.argmax, [ties], dict(dim=1))
    for op in ["sum", "mean", "var", "std", "logsumexp", "amax"]:
        call = getattr(torch, op)
        w.add(op, f"{op} of a view", call, [x(9, 4, 7)], dict(dim=[1]), view=(0,))
        w.add(op, f"{op} long", call, [x(3, 1031)], dict(dim=[1], keepdim=True))
    w.add("sum", "sum of nothing", torch.sum, [x(0, 3)], dict(dim=[0]))
    w.add("mean", "mean of dims", torch.mean, [x(3, 4, 5)], dict(dim=[0, -1]))
    w.add("prod", "prod of nothing", torch.prod, [x(2, 0)], dict(dim=1))
    zeros = t(2.0, 0.0, 3.0, 0.0, 0.0, 4.0).reshape(2, 3)
    w.add("prod", "prod with zeros", torch.prod, [zeros], dict(dim=1))
    w.add("prod", "prod of all with a zero", torch.prod, [t(2.0, 0.0, 3.0)])
    w.add("cumprod", "cumprod with zeros", torch.cumprod, [zeros], dict(dim=1))
    w.add("cumsum", "cumsum of a view", torch.cumsum, [x(5, 8)], dict(dim=1), view=(0,))
    w.add("norm", "norm of 0", torch.norm, [torch.zeros(3, dtype=torch.float64)])
    # Forward only: PyTorch's gradient is NaN there.
    lowest = torch.full((2, 3), -inf, dtype=torch.float64)
    w.add("logsumexp", "logsumexp of -inf", lambda v, dim: torch.logsumexp(v, dim).detach(), [lowest], dict(dim=[1]))
    w.add("logsumexp", "logsumexp far", torch.logsumexp, [x(2, 5) * 1024], dict(dim=[1]))
    for name, call in [("softmax", F.softmax), ("log_softmax", F.log_softmax)]:
        op = f"nn.functional.{name}"
        for label, v, dim in [("one", x(4, 1), 1), ("odd", x(5, 67), 1), ("inner", x(3, 5, 7), 1), ("first", x(9, 4), 0),
                              ("far", x(2, 6) * 1024, 1), ("nothing", x(0, 4), 1)]:
            w.add(op, f"{name} {label}", call, [v], dict(dim=dim))
        w.add(op, f"{name} view", call, [x(8, 11)], dict(dim=-1), view=(0,))
        masked = x(3, 4)
        masked[:, 1:3] = -inf
        w.add(op, f"{name} with -inf", call, [masked], dict(dim=1))
    target = torch.tensor([2, 0, 4, 1])
    ce = "nn.functional.cross_entropy"
    w.add(ce, "cross entropy far", F.cross_entropy, [x(4, 5) * 256, target])
    w.add(ce, "cross entropy odd view", F.cross_entropy, [x(4, 67), target], view=(0,))
    w.add(ce, "cross entropy smoothed", F.cross_entropy, [x(4, 5), target], dict(label_smoothing=0.2))
    w.add(ce, "cross entropy all ignored", F.cross_entropy, [x(2, 5), torch.tensor([1, 1])], dict(ignore_index=1, reduction="sum"))
    w.add("nn.functional.mse_loss", "mse view", F.mse_loss, [x(5, 9), x(5, 9)], view=(0,))
    index = torch.tensor([2, 0, 2, 2, 1])
    w.add("index_select", "index_select repeated", torch.index_select, [x(3, 4), 0, index])
    w.add("index_select", "index_select nothing", torch.index_select, [x(3, 4), 1, torch.tensor([], dtype=torch.int64)])
    w.add("gather", "gather repeated", torch.gather, [x(3, 4), 0, torch.tensor([[0, 0, 2, 1], [0, 1, 2, 1]])])
    w.add("scatter_add", "scatter_add repeated", torch.scatter_add, [x(3, 4), 0, torch.tensor([[0, 0, 2, 1], [0, 0, 2, 1]]), x(2, 4)])
    w.add("index_add", "index_add repeated", torch.index_add, [x(3, 4), 0, index, x(5, 4)])
    w.add("cat", "cat with an empty part", torch.cat, [[x(2, 3), x(0, 3), x(1, 3)]], dict(dim=0))
    w.add("cat", "cat of views", torch.cat, [[x(4, 3), x(4, 2)]], dict(dim=1), view=(0,))
    w.add("reshape", "reshape of a view", torch.reshape, [x(4, 6), (3, 8)], view=(0,))
    w.add("transpose", "transpose of a view", torch.transpose, [x(2, 3, 4), 0, 1], view=(0,))
    w.add("narrow", "narrow to nothing", torch.narrow, [x(3, 4), 1, 2, 0])
    w.add("where", "where broadcast", lambda a, c, b: torch.where(c, a, b), [x(3, 1), torch.tensor([[True, False]]), x(2)])
    w.add("masked_fill", "masked_fill -inf", torch.masked_fill, [x(2, 3), torch.tensor([True, False, True]), -inf])
    w.add("repeat", "repeat of a view", lambda v, n: v.repeat(n), [x(2, 3), (2, 1, 2)], view=(0,))
    w.add("expand", "expand of a view", lambda v, n: v.expand(n), [x(3, 1), (2, 3, 4)], view=(0,))


def start():
    """The folder to write to, with PyTorch made repeatable."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "crates/flodl/tests/goldens/own"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return folder


def main():
    folder = start()
    for name, fill, seed in [("layers", layers, 1), ("operations", operations, 2)]:
        writer = Writer()
        fill(writer, Sample(seed))
        save(folder / f"{name}.safetensors", writer.tensors, writer.cases)
        print(f"{name}: {len(writer.cases)} cases")


if __name__ == "__main__":
    main()
