"""Kernels in PyTorch: a name on stdin, its figures on stdout."""

import torch
from torch import nn
from torch.nn import functional as F

import common

BIG, IMAGES = (4096, 512), (32, 64, 32, 32)
PRODUCTS = [
    (256, 2048, 1024),
    (256, 2048, 2048),
    (4096, 512, 512),
    (4096, 8192, 512),
    (128, 768, 256),
    (128, 2048, 512),
    (4096, 2048, 512),
    (256, 1024, 1024),
    (128, 512, 512),
    (64, 128, 784),
    (64, 10, 128),
    (1, 2048, 2048),
    (2048, 1, 2048),
    (4096, 16, 512),
    (16, 4096, 512),
    (16, 16, 1),
    (16, 16, 8192),
    (64, 64, 8192),
    (10, 784, 4096),
]
CONVS = [
    (128, 3, 64, 3, 1, 1, 64),
    (128, 64, 128, 3, 1, 1, 32),
    (128, 128, 256, 3, 1, 1, 16),
    (128, 256, 512, 3, 1, 1, 8),
    (128, 512, 512, 3, 1, 1, 4),
    (8, 64, 64, 3, 1, 1, 56),
    (32, 64, 64, 1, 1, 0, 32),
    (64, 64, 128, 4, 2, 1, 32),
    (32, 3, 64, 7, 2, 3, 64),
]
OPS = {
    "add 4096x512": (torch.add, BIG, BIG),
    "mul 4096x512": (torch.mul, BIG, BIG),
    "add row 4096x512": (torch.add, BIG, (512,)),
    "exp 4096x512": (torch.exp, BIG),
    "tanh 4096x512": (torch.tanh, BIG),
    "sigmoid 4096x512": (torch.sigmoid, BIG),
    "gelu 4096x512": (F.gelu, BIG),
    "relu 4096x512": (torch.relu, BIG),
    "gelu 256x1024": (F.gelu, (256, 1024)),
    "softmax 4096x512": (lambda x: x.softmax(-1), BIG),
    "softmax 1024x1024": (lambda x: x.softmax(-1), (1024, 1024)),
    "sum all 4096x512": (torch.sum, BIG),
    "sum dim0 4096x512": (lambda x: x.sum(0), BIG),
    "sum dim1 4096x512": (lambda x: x.sum(1), BIG),
    "transpose+contig 4096x512": (lambda x: x.t().contiguous(), BIG),
    "layer_norm 4096x512": (lambda x, w, b: F.layer_norm(x, (512,), w, b), BIG, (512,), (512,)),
    "layer_norm 256x1024": (
        lambda x, w, b: F.layer_norm(x, (1024,), w, b),
        (256, 1024),
        (1024,),
        (1024,),
    ),
    "max_pool2d k2 32x64x32x32": (lambda x: F.max_pool2d(x, 2), IMAGES),
    "max_pool2d k3 s2 p1 32x64x32x32": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGES),
    "avg_pool2d k2 32x64x32x32": (lambda x: F.avg_pool2d(x, 2), IMAGES),
}


def product(layout, m, n, k):
    a = torch.randn(k, m).t() if layout == "TN" else torch.randn(m, k)
    b = torch.randn(n, k).t() if layout == "NT" else torch.randn(k, n)
    return [lambda: a @ b]


def op(call, *shapes):
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    return common.passes(lambda: call(*leaves), leaves)


def batch_norm(*shape):
    norm, x = nn.BatchNorm2d(shape[1]), torch.randn(shape, requires_grad=True)
    return common.passes(lambda: norm(x), [x, *norm.parameters()])


def convolution(gradient, n, c, o, k, stride, pad, size):
    x = torch.randn(n, c, size, size, requires_grad=gradient == "input")
    w = torch.randn(o, c, k, k, requires_grad=gradient == "weight")
    return common.passes(lambda: F.conv2d(x, w, None, stride, pad), [x, w])


def adam(numel):
    params = [torch.randn(numel // 4, requires_grad=True) for _ in range(4)]
    for p in params:
        p.grad = torch.randn(numel // 4)
    return [common.optimizer("Adam", params, lr=1e-3).step]


def rows():
    """A name and what makes its calls."""
    for m, n, k in PRODUCTS:
        for layout in ("NN", "NT", "TN"):
            yield f"matmul {layout} {m}x{k}x{n}", (product, layout, m, n, k)
    for name, (call, *shapes) in OPS.items():
        yield name, (op, call, *shapes)
    for shape in (IMAGES, (128, 64, 64, 64)):
        yield "batch_norm " + "x".join(map(str, shape)), (batch_norm, *shape)
    for conv in CONVS:
        n, c, o, k, s, p, size = conv
        for gradient in ("input", "weight"):
            name = f"conv {c}->{o} k{k} s{s} p{p} {size}x{size} b{n} d{gradient}"
            yield name, (convolution, gradient, *conv)
    yield "adam 16777216", (adam, 1 << 24)


common.serve({name: lambda f=f, args=args: f(*args) for name, (f, *args) in rows()})
