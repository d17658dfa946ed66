"""The same rows in PyTorch: model NAME STEPS THREADS | layers FILTER THREADS | kernels FILTER THREADS.

Prints one line of JSON at the end. Imports nothing but torch and the standard library.
"""

import json
import os
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def adam(params):
    fused = os.environ.get("FLODL_BENCH_FUSED_ADAM") == "1"
    return torch.optim.Adam(params, lr=1e-3, fused=fused)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(F.gelu(self.linear(x)))


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Gate(nn.Module):
    def __init__(self, width, experts):
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(Block(width) for _ in range(experts))

    def forward(self, x):
        weights = self.router(x).softmax(-1)
        return sum(e(x) * weights[:, i : i + 1] for i, e in enumerate(self.experts))


def training(model, x, y):
    optimizer = adam(model.parameters())

    def step():
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def mlp():
    layers = []
    for i, o in [(1024, 2048), (2048, 2048), (2048, 2048), (2048, 2048)]:
        layers += [nn.Linear(i, o), nn.GELU(), nn.LayerNorm(o)]
    layers.append(nn.Linear(2048, 1024))
    return training(nn.Sequential(*layers), torch.randn(256, 1024), torch.randn(256, 1024))


def convnet():
    layers = []
    for n, (i, o) in enumerate([(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)]):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()]
        if n < 4:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100)]
    return training(nn.Sequential(*layers), torch.randn(128, 3, 64, 64), torch.randn(128, 100))


def conv_autoenc():
    sizes, layers = [3, 64, 128, 256, 512], []
    for i, o in zip(sizes, sizes[1:]):
        layers += [nn.Conv2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.ReLU()]
    for o, i in reversed(list(zip(sizes, sizes[1:]))):
        layers.append(nn.ConvTranspose2d(i, o, 4, 2, 1))
        layers += [nn.Tanh()] if o == 3 else [nn.BatchNorm2d(o), nn.ReLU()]
    x = torch.randn(64, 3, 64, 64)
    return training(nn.Sequential(*layers), x, x)


def residual_tower():
    blocks = [Residual(Block(1024)) for _ in range(12)]
    model = nn.Sequential(nn.Linear(1024, 1024), *blocks, nn.Linear(1024, 1024))
    return training(model, torch.randn(256, 1024), torch.randn(256, 1024))


def repeated(width, batch, times):
    shared = Residual(Block(width))
    layers = [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)]
    model = nn.Sequential(*layers, *[shared] * times, nn.Linear(width, width))
    return training(model, torch.randn(batch, width), torch.randn(batch, width))


def gated_routing():
    layers = [nn.Linear(512, 512), nn.GELU(), Gate(512, 8), nn.Linear(512, 512)]
    return training(nn.Sequential(*layers), torch.randn(256, 512), torch.randn(256, 512))


def tiny():
    return nn.Sequential(
        nn.Linear(2, 16), nn.GELU(), nn.LayerNorm(16), Residual(nn.Linear(16, 16)), nn.Linear(16, 2)
    )


def tiny_forward():
    model, x = tiny().eval(), torch.randn(1, 2)

    def step():
        with torch.no_grad():
            model(x)

    return step


def op_chain():
    x, one = torch.ones(1, requires_grad=True), torch.ones(1)

    def step():
        y = x
        for _ in range(1000):
            y = y + one
        y.backward()
        x.grad = None

    return step


MODELS = {
    "mlp": mlp,
    "convnet": convnet,
    "conv_autoenc": conv_autoenc,
    "residual_tower": residual_tower,
    "gated_routing": gated_routing,
    "iterative_refine": lambda: repeated(1024, 256, 8),
    "feedback_fixed": lambda: repeated(512, 128, 10),
    "tiny_step": lambda: training(tiny(), torch.randn(16, 2), torch.randn(16, 2)),
    "tiny_forward": tiny_forward,
    "op_chain": op_chain,
}


def steps(step, count):
    step()
    step()
    samples, start = [], time.perf_counter()
    while len(samples) < count if count else len(samples) < 5 or time.perf_counter() - start < 2:
        t = time.perf_counter()
        step()
        samples.append(time.perf_counter() - t)
    return samples


def calls(call, budget):
    t = time.perf_counter()
    call()
    once = max(time.perf_counter() - t, 1e-9)
    batch = int(min(max(20e-6 / once, 1), 10_000) + 0.999)
    samples, start = [], time.perf_counter()
    while len(samples) < 5 or (time.perf_counter() - start < budget and len(samples) < 10_000):
        t = time.perf_counter()
        for _ in range(batch):
            call()
        samples.append((time.perf_counter() - t) / batch)
    return samples


def result(samples):
    ordered = sorted(samples)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return {
        "version": torch.__version__,
        "median_ms": middle * 1e3,
        "min_ms": ordered[0] * 1e3,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


BIG = (4096, 512)
IMAGES = (32, 64, 32, 32)


def cross_entropy():
    target = torch.randint(0, 8192, (4096,))
    return lambda x: F.cross_entropy(x, target)


def mse():
    target = torch.randn(BIG)
    return lambda x: F.mse_loss(x, target)


LAYERS = {
    "typ Linear 1024->1024 b256": (lambda: nn.Linear(1024, 1024), (256, 1024)),
    "typ Linear 784->128 b64": (lambda: nn.Linear(784, 128), (64, 784)),
    "typ Linear 128->10 b64": (lambda: nn.Linear(128, 10), (64, 128)),
    "typ Conv1d 64->128 k5 p2 L512 b32": (lambda: nn.Conv1d(64, 128, 5, padding=2), (32, 64, 512)),
    "typ Conv2d 64->64 k3 p1 32x32 b32": (lambda: nn.Conv2d(64, 64, 3, padding=1), IMAGES),
    "typ Conv2d 64->128 k3 s2 p1 32x32 b32": (lambda: nn.Conv2d(64, 128, 3, 2, 1), IMAGES),
    "typ Conv2d 64->64 k1 32x32 b32": (lambda: nn.Conv2d(64, 64, 1), IMAGES),
    "typ Conv2d depthwise 64 g64 k3 p1 32x32 b32": (
        lambda: nn.Conv2d(64, 64, 3, padding=1, groups=64),
        IMAGES,
    ),
    "typ Conv2d dilated 64->64 k3 d2 p2 32x32 b32": (
        lambda: nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        IMAGES,
    ),
    "typ Conv3d 16->32 k3 p1 16^3 b8": (
        lambda: nn.Conv3d(16, 32, 3, padding=1),
        (8, 16, 16, 16, 16),
    ),
    "typ ConvTranspose2d 128->64 k4 s2 p1 16x16 b32": (
        lambda: nn.ConvTranspose2d(128, 64, 4, 2, 1),
        (32, 128, 16, 16),
    ),
    "typ MaxPool2d k2 32x64x32x32": (lambda: nn.MaxPool2d(2), IMAGES),
    "typ MaxPool2d k3 s2 p1 32x64x32x32": (lambda: nn.MaxPool2d(3, 2, 1), IMAGES),
    "typ AvgPool2d k2 32x64x32x32": (lambda: nn.AvgPool2d(2), IMAGES),
    "typ AdaptiveAvgPool2d 1x1 32x64x32x32": (lambda: nn.AdaptiveAvgPool2d(1), IMAGES),
    "typ LayerNorm 4096x512": (lambda: nn.LayerNorm(512), BIG),
    "typ RMSNorm 4096x512": (lambda: nn.RMSNorm(512), BIG),
    "typ BatchNorm1d 256x1024": (lambda: nn.BatchNorm1d(1024), (256, 1024)),
    "typ BatchNorm2d 32x64x32x32": (lambda: nn.BatchNorm2d(64), IMAGES),
    "typ GroupNorm g4 32x64x32x32": (lambda: nn.GroupNorm(4, 64), IMAGES),
    "typ Dropout 4096x512": (lambda: nn.Dropout(0.5), BIG),
    "typ Dropout2d 32x64x32x32": (lambda: nn.Dropout2d(0.5), IMAGES),
    "typ ReLU 4096x512": (nn.ReLU, BIG),
    "typ Sigmoid 4096x512": (nn.Sigmoid, BIG),
    "typ Tanh 4096x512": (nn.Tanh, BIG),
    "typ GELU 4096x512": (nn.GELU, BIG),
    "typ GELU tanh 4096x512": (lambda: nn.GELU(approximate="tanh"), BIG),
    "typ SiLU 4096x512": (nn.SiLU, BIG),
    "typ SELU 4096x512": (nn.SELU, BIG),
    "typ Mish 4096x512": (nn.Mish, BIG),
    "typ Hardswish 4096x512": (nn.Hardswish, BIG),
    "typ Hardsigmoid 4096x512": (nn.Hardsigmoid, BIG),
    "typ LeakyReLU 4096x512": (nn.LeakyReLU, BIG),
    "typ ELU 4096x512": (nn.ELU, BIG),
    "typ Softplus 4096x512": (nn.Softplus, BIG),
    "typ PReLU 4096x512": (nn.PReLU, BIG),
    "typ Softmax 4096x512": (lambda: nn.Softmax(-1), BIG),
    "typ LogSoftmax 4096x512": (lambda: nn.LogSoftmax(-1), BIG),
    "typ Softmax dim0 4096x512": (lambda: nn.Softmax(0), BIG),
    "typ cross_entropy 4096x8192": (cross_entropy, (4096, 8192)),
    "typ mse_loss 4096x512": (mse, BIG),
    "tiny Linear 16->16 b1": (lambda: nn.Linear(16, 16), (1, 16)),
    "tiny Conv2d 3->8 k3 8x8 b1": (lambda: nn.Conv2d(3, 8, 3), (1, 3, 8, 8)),
    "tiny MaxPool2d k2 1x4x8x8": (lambda: nn.MaxPool2d(2), (1, 4, 8, 8)),
    "tiny LayerNorm 1x16": (lambda: nn.LayerNorm(16), (1, 16)),
    "tiny BatchNorm2d 1x4x8x8": (lambda: nn.BatchNorm2d(4), (1, 4, 8, 8)),
    "tiny Dropout 1x16": (lambda: nn.Dropout(0.5), (1, 16)),
    "tiny ReLU 1x16": (nn.ReLU, (1, 16)),
    "tiny GELU 1x16": (nn.GELU, (1, 16)),
    "tiny Softmax 1x16": (lambda: nn.Softmax(-1), (1, 16)),
}


def layers(wanted):
    out = {}
    for name, (build, shape) in LAYERS.items():
        if wanted not in name + " ":
            continue
        layer, x = build(), torch.randn(shape, requires_grad=True)
        params = list(layer.parameters()) if isinstance(layer, nn.Module) else []
        ones = torch.ones_like(layer(x))

        def both():
            layer(x).backward(ones)
            x.grad = None
            for p in params:
                p.grad = None

        out[name + " forward"] = result(calls(lambda: layer(x), 0.15))
        out[name + " forward+backward"] = result(calls(both, 0.15))
    return out


def kernels(wanted):
    out = {}

    def row(name, build):
        if wanted in name:
            out[name] = result(calls(build(), 0.2))

    shapes = [
        (256, 2048, 1024), (256, 2048, 2048), (4096, 512, 512), (4096, 8192, 512), (128, 768, 256),
        (128, 2048, 512), (4096, 2048, 512), (256, 1024, 1024), (128, 512, 512), (64, 128, 784),
        (64, 10, 128), (1, 2048, 2048), (16, 16, 1),
    ]  # fmt: skip

    def product(layout, m, n, k):
        a = torch.randn(k, m).t() if layout == "TN" else torch.randn(m, k)
        b = torch.randn(n, k).t() if layout == "NT" else torch.randn(k, n)
        return lambda: a @ b

    for m, n, k in shapes:
        for layout in ("NN", "NT", "TN"):
            row(f"matmul {layout} {m}x{k}x{n}", lambda: product(layout, m, n, k))
    a, b = torch.randn(BIG), torch.randn(BIG)
    ops = {
        "add": lambda: a + b,
        "mul": lambda: a * b,
        "exp": lambda: a.exp(),
        "tanh": lambda: a.tanh(),
        "sigmoid": lambda: a.sigmoid(),
        "gelu": lambda: F.gelu(a),
        "softmax": lambda: a.softmax(-1),
        "sum all": lambda: a.sum(),
        "sum dim0": lambda: a.sum(0),
        "transpose+contig": lambda: a.t().contiguous(),
    }
    for name, op in ops.items():
        row(f"{name} 4096x512", lambda: op)

    def optimizer():
        params = [torch.randn(1 << 22, requires_grad=True) for _ in range(4)]
        for p in params:
            p.grad = torch.randn(1 << 22)
        return adam(params).step

    row("adam 16777216", optimizer)
    return out


def main():
    kind, name = sys.argv[1], sys.argv[2]
    torch.set_num_threads(int(sys.argv[-1]))
    torch.manual_seed(0)
    if kind == "model":
        small = name in ("tiny_step", "tiny_forward", "op_chain")
        step = MODELS[name]()
        found = result(calls(step, 1.0) if small else steps(step, int(sys.argv[3])))
    else:
        found = (layers if kind == "layers" else kernels)(name)
    print(json.dumps(found))


main()
