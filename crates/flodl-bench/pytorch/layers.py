"""Single layers in PyTorch: a name on stdin, its figures on stdout."""

import torch
from torch import nn
from torch.nn import functional as F

import common


def leaf(*shape):
    return torch.randn(shape, requires_grad=True)


def layer(module, *shape):
    x = leaf(*shape)
    return common.passes(lambda: module(x), [x, *module.parameters()])


def op(call, *shapes):
    leaves = [leaf(*shape) for shape in shapes]
    return common.passes(lambda: call(*leaves), leaves)


def embedding(count, width, *shape):
    module, x = nn.Embedding(count, width), torch.randint(0, count, shape)
    return common.passes(lambda: module(x), list(module.parameters()))


def bags(mode, count, width, indices, number):
    module, x = nn.EmbeddingBag(count, width, mode=mode), torch.randint(0, count, (indices,))
    offsets = torch.arange(0, indices, indices // number)
    return common.passes(lambda: module(x, offsets), list(module.parameters()))


def cell(kind, inputs, hidden, batch):
    module, x, h = kind(inputs, hidden), leaf(batch, inputs), leaf(batch, hidden)
    return common.passes(lambda: module(x, h), [x, h, *module.parameters()])


def lstm_cell(inputs, hidden, batch):
    module, x = nn.LSTMCell(inputs, hidden), leaf(batch, inputs)
    h, c = leaf(batch, hidden), leaf(batch, hidden)
    return common.passes(lambda: torch.cat(module(x, (h, c)), 1), [x, h, c, *module.parameters()])


def sequence(kind, inputs, hidden, steps, batch):
    module, x = kind(inputs, hidden, 2, batch_first=True), leaf(batch, steps, inputs)
    return common.passes(lambda: module(x)[0], [x, *module.parameters()])


def attention(width, heads, steps, batch, weights):
    module, x = nn.MultiheadAttention(width, heads, batch_first=True), leaf(batch, steps, width)
    leaves = [x, *module.parameters()]
    return common.passes(lambda: module(x, x, x, need_weights=weights)[0], leaves)


def bilinear(left, right, out, batch):
    module, a, b = nn.Bilinear(left, right, out), leaf(batch, left), leaf(batch, right)
    return common.passes(lambda: module(a, b), [a, b, *module.parameters()])


def cross_entropy(rows, classes):
    x, target = leaf(rows, classes), torch.randint(0, classes, (rows,))
    return common.passes(lambda: F.cross_entropy(x, target), [x])


def mse(*shape):
    x, target = leaf(*shape), torch.randn(shape)
    return common.passes(lambda: F.mse_loss(x, target), [x])


def optimizer(tensors, numel, kind, **options):
    params = [leaf(numel) for _ in range(tensors)]
    for p in params:
        p.grad = torch.randn(numel)
    return [common.optimizer(kind, params, **options).step]


def train_step():
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = torch.randn(1, 16), torch.randn(1, 4)
    adam = common.optimizer("Adam", model.parameters(), lr=1e-3)

    def step():
        loss = F.mse_loss(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return [step]


def add_no_grad():
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    return [lambda: a + b]


def linear_no_grad():
    module, x = nn.Linear(16, 16).requires_grad_(False), torch.randn(1, 16)
    return [lambda: module(x)]


def empty_chain():
    module, x = nn.Sequential(*[nn.Identity() for _ in range(100)]), torch.randn(4)
    return [lambda: module(x)]


def using():
    first, x = nn.Identity(), torch.randn(4)

    def run():
        h = kept = first(x)
        for _ in range(50):
            h = h + kept
        return h

    return [run]


def split_merge():
    pairs = nn.ModuleList(nn.ModuleList([nn.Identity(), nn.Identity()]) for _ in range(50))
    x = torch.randn(4)

    def run():
        h = x
        for a, b in pairs:
            h = a(h) + b(h)
        return h

    return [run]


def nested():
    module, x = nn.Sequential(nn.Identity()), torch.randn(4)
    for _ in range(99):
        module = nn.Sequential(module, nn.Identity())
    return [lambda: module(x)]


# fmt: off
ROWS = {
    "typ Linear 1024->1024 b256": lambda: layer(nn.Linear(1024, 1024), 256, 1024),
    "typ Linear 784->128 b64": lambda: layer(nn.Linear(784, 128), 64, 784),
    "typ Linear 128->10 b64": lambda: layer(nn.Linear(128, 10), 64, 128),
    "typ Conv1d 64->128 k5 p2 L512 b32": lambda: layer(nn.Conv1d(64, 128, 5, padding=2), 32, 64, 512),
    "typ Conv2d 64->64 k3 p1 32x32 b32": lambda: layer(nn.Conv2d(64, 64, 3, padding=1), 32, 64, 32, 32),
    "typ Conv2d 64->128 k3 s2 p1 32x32 b32": lambda: layer(nn.Conv2d(64, 128, 3, 2, 1), 32, 64, 32, 32),
    "typ Conv2d 64->64 k1 32x32 b32": lambda: layer(nn.Conv2d(64, 64, 1), 32, 64, 32, 32),
    "typ Conv2d depthwise 64 g64 k3 p1 32x32 b32": lambda: layer(nn.Conv2d(64, 64, 3, padding=1, groups=64), 32, 64, 32, 32),
    "typ Conv2d dilated 64->64 k3 d2 p2 32x32 b32": lambda: layer(nn.Conv2d(64, 64, 3, padding=2, dilation=2), 32, 64, 32, 32),
    "typ Conv3d 16->32 k3 p1 16^3 b8": lambda: layer(nn.Conv3d(16, 32, 3, padding=1), 8, 16, 16, 16, 16),
    "typ ConvTranspose1d 64->32 k4 s2 p1 L256 b32": lambda: layer(nn.ConvTranspose1d(64, 32, 4, 2, 1), 32, 64, 256),
    "typ ConvTranspose2d 128->64 k4 s2 p1 16x16 b32": lambda: layer(nn.ConvTranspose2d(128, 64, 4, 2, 1), 32, 128, 16, 16),
    "typ ConvTranspose3d 32->16 k4 s2 p1 8^3 b8": lambda: layer(nn.ConvTranspose3d(32, 16, 4, 2, 1), 8, 32, 8, 8, 8),
    "typ MaxPool1d k2 32x64x512": lambda: layer(nn.MaxPool1d(2), 32, 64, 512),
    "typ AvgPool1d k2 32x64x512": lambda: layer(nn.AvgPool1d(2), 32, 64, 512),
    "typ MaxPool2d k2 32x64x32x32": lambda: layer(nn.MaxPool2d(2), 32, 64, 32, 32),
    "typ MaxPool2d k3 s2 p1 32x64x32x32": lambda: layer(nn.MaxPool2d(3, 2, 1), 32, 64, 32, 32),
    "typ AvgPool2d k2 32x64x32x32": lambda: layer(nn.AvgPool2d(2), 32, 64, 32, 32),
    "typ AdaptiveAvgPool2d 1x1 32x64x32x32": lambda: layer(nn.AdaptiveAvgPool2d(1), 32, 64, 32, 32),
    "typ AdaptiveAvgPool2d 7x7 32x64x32x32": lambda: layer(nn.AdaptiveAvgPool2d(7), 32, 64, 32, 32),
    "typ AdaptiveMaxPool2d 7x7 32x64x32x32": lambda: layer(nn.AdaptiveMaxPool2d(7), 32, 64, 32, 32),
    "typ PixelShuffle 2 32x64x32x32": lambda: layer(nn.PixelShuffle(2), 32, 64, 32, 32),
    "typ PixelUnshuffle 2 32x64x32x32": lambda: layer(nn.PixelUnshuffle(2), 32, 64, 32, 32),
    "typ Upsample nearest x2 32x64x32x32": lambda: layer(nn.Upsample(scale_factor=2, mode="nearest"), 32, 64, 32, 32),
    "typ Upsample bilinear x2 32x64x32x32": lambda: layer(nn.Upsample(scale_factor=2, mode="bilinear"), 32, 64, 32, 32),
    "typ Upsample bicubic x2 32x64x32x32": lambda: layer(nn.Upsample(scale_factor=2, mode="bicubic"), 32, 64, 32, 32),
    "typ Unfold k3 p1 32x64x32x32": lambda: layer(nn.Unfold(3, padding=1), 32, 64, 32, 32),
    "typ Fold k3 p1 of 32x64x32x32": lambda: layer(nn.Fold(32, 3, padding=1), 32, 576, 1024),
    "typ LayerNorm 4096x512": lambda: layer(nn.LayerNorm(512), 4096, 512),
    "typ RMSNorm 4096x512": lambda: layer(nn.RMSNorm(512), 4096, 512),
    "typ BatchNorm1d 256x1024": lambda: layer(nn.BatchNorm1d(1024), 256, 1024),
    "typ BatchNorm2d 32x64x32x32": lambda: layer(nn.BatchNorm2d(64), 32, 64, 32, 32),
    "typ GroupNorm g4 32x64x32x32": lambda: layer(nn.GroupNorm(4, 64), 32, 64, 32, 32),
    "typ InstanceNorm2d 32x64x32x32": lambda: layer(nn.InstanceNorm2d(64), 32, 64, 32, 32),
    "typ Dropout 4096x512": lambda: layer(nn.Dropout(0.5), 4096, 512),
    "typ Dropout2d 32x64x32x32": lambda: layer(nn.Dropout2d(0.5), 32, 64, 32, 32),
    "typ AlphaDropout 4096x512": lambda: layer(nn.AlphaDropout(0.5), 4096, 512),
    "typ ZeroPad2d 1 32x64x32x32": lambda: layer(nn.ZeroPad2d(1), 32, 64, 32, 32),
    "typ ReflectionPad2d 1 32x64x32x32": lambda: layer(nn.ReflectionPad2d(1), 32, 64, 32, 32),
    "typ Embedding 10000x64 idx (64, 128)": lambda: embedding(10_000, 64, 64, 128),
    "typ EmbeddingBag sum 10000x64 8192 idx 256 bags": lambda: bags("sum", 10_000, 64, 8192, 256),
    "typ EmbeddingBag mean 10000x64 8192 idx 256 bags": lambda: bags("mean", 10_000, 64, 8192, 256),
    "typ EmbeddingBag max 10000x64 8192 idx 256 bags": lambda: bags("max", 10_000, 64, 8192, 256),
    "typ GRUCell 256->512 b128": lambda: cell(nn.GRUCell, 256, 512, 128),
    "typ LSTMCell 256->512 b128": lambda: lstm_cell(256, 512, 128),
    "typ GRU 2L 128->256 S50 b32": lambda: sequence(nn.GRU, 128, 256, 50, 32),
    "typ LSTM 2L 128->256 S50 b32": lambda: sequence(nn.LSTM, 128, 256, 50, 32),
    "typ MHA self weights=T E512 h8 S128 b8": lambda: attention(512, 8, 128, 8, True),
    "typ MHA self weights=F E512 h8 S128 b8": lambda: attention(512, 8, 128, 8, False),
    "typ Bilinear 128,64->32 b256": lambda: bilinear(128, 64, 32, 256),
    "typ ReLU 4096x512": lambda: layer(nn.ReLU(), 4096, 512),
    "typ Sigmoid 4096x512": lambda: layer(nn.Sigmoid(), 4096, 512),
    "typ Tanh 4096x512": lambda: layer(nn.Tanh(), 4096, 512),
    "typ GELU 4096x512": lambda: layer(nn.GELU(), 4096, 512),
    "typ GELU tanh 4096x512": lambda: layer(nn.GELU(approximate="tanh"), 4096, 512),
    "typ SiLU 4096x512": lambda: layer(nn.SiLU(), 4096, 512),
    "typ SELU 4096x512": lambda: layer(nn.SELU(), 4096, 512),
    "typ Mish 4096x512": lambda: layer(nn.Mish(), 4096, 512),
    "typ Hardswish 4096x512": lambda: layer(nn.Hardswish(), 4096, 512),
    "typ Hardsigmoid 4096x512": lambda: layer(nn.Hardsigmoid(), 4096, 512),
    "typ LeakyReLU 4096x512": lambda: layer(nn.LeakyReLU(), 4096, 512),
    "typ ELU 4096x512": lambda: layer(nn.ELU(), 4096, 512),
    "typ Softplus 4096x512": lambda: layer(nn.Softplus(), 4096, 512),
    "typ PReLU 4096x512": lambda: layer(nn.PReLU(), 4096, 512),
    "typ Softmax 4096x512": lambda: layer(nn.Softmax(-1), 4096, 512),
    "typ LogSoftmax 4096x512": lambda: layer(nn.LogSoftmax(-1), 4096, 512),
    "typ Softmax dim0 4096x512": lambda: layer(nn.Softmax(0), 4096, 512),
    "typ cross_entropy 4096x8192": lambda: cross_entropy(4096, 8192),
    "typ mse_loss 4096x512": lambda: mse(4096, 512),
    "typ add 4096x512": lambda: op(lambda a, b: a + b, (4096, 512), (4096, 512)),
    "typ mul 4096x512": lambda: op(lambda a, b: a * b, (4096, 512), (4096, 512)),
    "typ sum all 4096x512": lambda: op(lambda a: a.sum(), (4096, 512)),
    "typ sum dim0 4096x512": lambda: op(lambda a: a.sum(0), (4096, 512)),
    "typ transpose+contig 4096x512": lambda: op(lambda a: a.t().contiguous(), (4096, 512)),
    "typ exp 4096x512": lambda: op(lambda a: a.exp(), (4096, 512)),
    "typ matmul b 64x128x64x128": lambda: op(lambda a, b: a @ b, (64, 128, 64), (64, 64, 128)),
    "typ Adam.step 16777216 params in 4 tensors": lambda: optimizer(4, 1 << 22, "Adam", lr=1e-3),
    "typ AdamW.step 16777216 params in 4 tensors": lambda: optimizer(4, 1 << 22, "AdamW", lr=1e-3),
    "typ SGD mom.step 16777216 params in 4 tensors": lambda: optimizer(4, 1 << 22, "SGD", lr=1e-3, momentum=0.9),
    "typ SGD.step 16777216 params in 4 tensors": lambda: optimizer(4, 1 << 22, "SGD", lr=1e-3),
    "tiny Linear 16->16 b1": lambda: layer(nn.Linear(16, 16), 1, 16),
    "tiny Conv1d 1->16 k3 L32 b1": lambda: layer(nn.Conv1d(1, 16, 3), 1, 1, 32),
    "tiny Conv2d 3->8 k3 8x8 b1": lambda: layer(nn.Conv2d(3, 8, 3), 1, 3, 8, 8),
    "tiny Conv3d 1->4 k3 6^3 b1": lambda: layer(nn.Conv3d(1, 4, 3), 1, 1, 6, 6, 6),
    "tiny ConvTranspose1d 8->4 k3 L16 b1": lambda: layer(nn.ConvTranspose1d(8, 4, 3), 1, 8, 16),
    "tiny ConvTranspose2d 8->4 k3 4x4 b1": lambda: layer(nn.ConvTranspose2d(8, 4, 3), 1, 8, 4, 4),
    "tiny ConvTranspose3d 4->2 k3 3^3 b1": lambda: layer(nn.ConvTranspose3d(4, 2, 3), 1, 4, 3, 3, 3),
    "tiny MaxPool1d k2 1x4x16": lambda: layer(nn.MaxPool1d(2), 1, 4, 16),
    "tiny AvgPool1d k2 1x4x16": lambda: layer(nn.AvgPool1d(2), 1, 4, 16),
    "tiny MaxPool2d k2 1x4x8x8": lambda: layer(nn.MaxPool2d(2), 1, 4, 8, 8),
    "tiny MaxPool2d k3 s2 p1 1x4x8x8": lambda: layer(nn.MaxPool2d(3, 2, 1), 1, 4, 8, 8),
    "tiny AvgPool2d k2 1x4x8x8": lambda: layer(nn.AvgPool2d(2), 1, 4, 8, 8),
    "tiny AdaptiveAvgPool2d 1x1 1x4x8x8": lambda: layer(nn.AdaptiveAvgPool2d(1), 1, 4, 8, 8),
    "tiny AdaptiveAvgPool2d 7x7 1x4x8x8": lambda: layer(nn.AdaptiveAvgPool2d(7), 1, 4, 8, 8),
    "tiny AdaptiveMaxPool2d 7x7 1x4x8x8": lambda: layer(nn.AdaptiveMaxPool2d(7), 1, 4, 8, 8),
    "tiny PixelShuffle 2 1x4x8x8": lambda: layer(nn.PixelShuffle(2), 1, 4, 8, 8),
    "tiny PixelUnshuffle 2 1x4x8x8": lambda: layer(nn.PixelUnshuffle(2), 1, 4, 8, 8),
    "tiny Upsample nearest x2 1x4x8x8": lambda: layer(nn.Upsample(scale_factor=2, mode="nearest"), 1, 4, 8, 8),
    "tiny Upsample bilinear x2 1x4x8x8": lambda: layer(nn.Upsample(scale_factor=2, mode="bilinear"), 1, 4, 8, 8),
    "tiny Upsample bicubic x2 1x4x8x8": lambda: layer(nn.Upsample(scale_factor=2, mode="bicubic"), 1, 4, 8, 8),
    "tiny Unfold k3 p1 1x4x8x8": lambda: layer(nn.Unfold(3, padding=1), 1, 4, 8, 8),
    "tiny Fold k3 p1 of 1x4x8x8": lambda: layer(nn.Fold(8, 3, padding=1), 1, 36, 64),
    "tiny LayerNorm 1x16": lambda: layer(nn.LayerNorm(16), 1, 16),
    "tiny RMSNorm 1x16": lambda: layer(nn.RMSNorm(16), 1, 16),
    "tiny BatchNorm1d 2x16": lambda: layer(nn.BatchNorm1d(16), 2, 16),
    "tiny BatchNorm2d 1x4x8x8": lambda: layer(nn.BatchNorm2d(4), 1, 4, 8, 8),
    "tiny GroupNorm g4 1x4x8x8": lambda: layer(nn.GroupNorm(4, 4), 1, 4, 8, 8),
    "tiny InstanceNorm2d 1x4x8x8": lambda: layer(nn.InstanceNorm2d(4), 1, 4, 8, 8),
    "tiny Dropout 1x16": lambda: layer(nn.Dropout(0.5), 1, 16),
    "tiny Dropout2d 1x4x8x8": lambda: layer(nn.Dropout2d(0.5), 1, 4, 8, 8),
    "tiny AlphaDropout 1x16": lambda: layer(nn.AlphaDropout(0.5), 1, 16),
    "tiny ZeroPad2d 1 1x4x8x8": lambda: layer(nn.ZeroPad2d(1), 1, 4, 8, 8),
    "tiny ReflectionPad2d 1 1x4x8x8": lambda: layer(nn.ReflectionPad2d(1), 1, 4, 8, 8),
    "tiny Embedding 10x16 idx (1, 4)": lambda: embedding(10, 16, 1, 4),
    "tiny EmbeddingBag sum 10x16 4 idx 2 bags": lambda: bags("sum", 10, 16, 4, 2),
    "tiny EmbeddingBag mean 10x16 4 idx 2 bags": lambda: bags("mean", 10, 16, 4, 2),
    "tiny EmbeddingBag max 10x16 4 idx 2 bags": lambda: bags("max", 10, 16, 4, 2),
    "tiny GRUCell 16->16 b1": lambda: cell(nn.GRUCell, 16, 16, 1),
    "tiny LSTMCell 16->16 b1": lambda: lstm_cell(16, 16, 1),
    "tiny GRU 2L 16->16 S4 b1": lambda: sequence(nn.GRU, 16, 16, 4, 1),
    "tiny LSTM 2L 16->16 S4 b1": lambda: sequence(nn.LSTM, 16, 16, 4, 1),
    "tiny MHA self weights=T E16 h2 S4 b1": lambda: attention(16, 2, 4, 1, True),
    "tiny MHA self weights=F E16 h2 S4 b1": lambda: attention(16, 2, 4, 1, False),
    "tiny Bilinear 8,8->4 b1": lambda: bilinear(8, 8, 4, 1),
    "tiny ReLU 1x16": lambda: layer(nn.ReLU(), 1, 16),
    "tiny Sigmoid 1x16": lambda: layer(nn.Sigmoid(), 1, 16),
    "tiny Tanh 1x16": lambda: layer(nn.Tanh(), 1, 16),
    "tiny GELU 1x16": lambda: layer(nn.GELU(), 1, 16),
    "tiny GELU tanh 1x16": lambda: layer(nn.GELU(approximate="tanh"), 1, 16),
    "tiny SiLU 1x16": lambda: layer(nn.SiLU(), 1, 16),
    "tiny SELU 1x16": lambda: layer(nn.SELU(), 1, 16),
    "tiny Mish 1x16": lambda: layer(nn.Mish(), 1, 16),
    "tiny Hardswish 1x16": lambda: layer(nn.Hardswish(), 1, 16),
    "tiny Hardsigmoid 1x16": lambda: layer(nn.Hardsigmoid(), 1, 16),
    "tiny LeakyReLU 1x16": lambda: layer(nn.LeakyReLU(), 1, 16),
    "tiny ELU 1x16": lambda: layer(nn.ELU(), 1, 16),
    "tiny Softplus 1x16": lambda: layer(nn.Softplus(), 1, 16),
    "tiny PReLU 1x16": lambda: layer(nn.PReLU(), 1, 16),
    "tiny Softmax 1x16": lambda: layer(nn.Softmax(-1), 1, 16),
    "tiny LogSoftmax 1x16": lambda: layer(nn.LogSoftmax(-1), 1, 16),
    "tiny Softmax dim0 1x16": lambda: layer(nn.Softmax(0), 1, 16),
    "tiny cross_entropy 1x4": lambda: cross_entropy(1, 4),
    "tiny mse_loss 1x16": lambda: mse(1, 16),
    "tiny add 1x16": lambda: op(lambda a, b: a + b, (1, 16), (1, 16)),
    "tiny mul 1x16": lambda: op(lambda a, b: a * b, (1, 16), (1, 16)),
    "tiny sum all 1x16": lambda: op(lambda a: a.sum(), (1, 16)),
    "tiny sum dim0 1x16": lambda: op(lambda a: a.sum(0), (1, 16)),
    "tiny transpose+contig 1x16": lambda: op(lambda a: a.t().contiguous(), (1, 16)),
    "tiny exp 1x16": lambda: op(lambda a: a.exp(), (1, 16)),
    "tiny matmul b 1x4x4x4": lambda: op(lambda a, b: a @ b, (1, 4, 4), (1, 4, 4)),
    "tiny Adam.step 256 params in 1 tensors": lambda: optimizer(1, 256, "Adam", lr=1e-3),
    "tiny AdamW.step 256 params in 1 tensors": lambda: optimizer(1, 256, "AdamW", lr=1e-3),
    "tiny SGD mom.step 256 params in 1 tensors": lambda: optimizer(1, 256, "SGD", lr=1e-3, momentum=0.9),
    "tiny SGD.step 256 params in 1 tensors": lambda: optimizer(1, 256, "SGD", lr=1e-3),
    "tiny full MLP train step 16-16-4 b1 Adam": lambda: train_step(),
    "tiny add no-grad 4x4": lambda: add_no_grad(),
    "tiny Linear no-grad 16x16 b1": lambda: linear_no_grad(),
    "tiny graph no-grad 100 Identity": lambda: empty_chain(),
    "tiny graph no-grad 50 using": lambda: using(),
    "tiny graph no-grad 50 split+merge": lambda: split_merge(),
    "tiny graph no-grad 100 nested": lambda: nested(),
}
# fmt: on

common.serve(ROWS)
