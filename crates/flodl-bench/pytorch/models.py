"""The models in PyTorch: models.py NAME STEPS. Prints one line of JSON."""

import json
import sys

import torch
from torch import nn
from torch.nn import functional as F

import common


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


class GRUModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(256, 512), nn.Linear(512, 256)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 512)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


class LSTMModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(256, 512, 2, batch_first=True), nn.Linear(512, 256)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(512, 8, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512))
        self.norm1, self.norm2 = nn.LayerNorm(512), nn.LayerNorm(512)

    def forward(self, x):
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.feed(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8192, 512)
        self.positions = nn.Parameter(torch.randn(1, 128, 512) * 0.02)
        self.layers = nn.Sequential(*[EncoderLayer() for _ in range(4)])
        self.head = nn.Linear(512, 8192)

    def forward(self, x):
        return self.head(self.layers(self.embedding(x) + self.positions)).flatten(0, 1)


def training(model, x, y, loss=F.mse_loss, lr=1e-3):
    optimizer = common.optimizer("Adam", model.parameters(), lr=lr)

    def step():
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
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


def gru_seq():
    return training(GRUModel(), torch.randn(128, 50, 256), torch.randn(128, 256))


def lstm_seq():
    return training(LSTMModel(), torch.randn(128, 50, 256), torch.randn(128, 256))


def transformer():
    x, y = torch.randint(0, 8192, (32, 128)), torch.randint(0, 8192, (32 * 128,))
    return training(Transformer(), x, y, F.cross_entropy, 1e-4)


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


def iterative_refine():
    return repeated(1024, 256, 8)


def feedback_fixed():
    return repeated(512, 128, 10)


def gated_routing():
    layers = [nn.Linear(512, 512), nn.GELU(), Gate(512, 8), nn.Linear(512, 512)]
    return training(nn.Sequential(*layers), torch.randn(256, 512), torch.randn(256, 512))


def sized_mlp(batch, width):
    layers = []
    for _ in range(3):
        layers += [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)]
    return training(nn.Sequential(*layers), torch.randn(batch, width), torch.randn(batch, width))


def sized_convnet(image):
    layers = []
    for i, o in [(3, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return training(nn.Sequential(*layers), torch.randn(32, 3, image, image), torch.randn(32, 10))


class First(nn.Module):
    """A recurrent layer's output without its state."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def sized_lstm(steps):
    model = First(nn.LSTM(128, 256, 1, batch_first=True))
    return training(model, torch.randn(32, steps, 128), torch.randn(32, steps, 256))


def sized_encoder(tokens):
    model = nn.TransformerEncoderLayer(256, 4, 1024, 0.0, batch_first=True)
    return training(model, torch.randn(2, tokens, 256), torch.randn(2, tokens, 256))


def tiny():
    return nn.Sequential(
        nn.Linear(2, 16), nn.GELU(), nn.LayerNorm(16), Residual(nn.Linear(16, 16)), nn.Linear(16, 2)
    )


def tiny_step():
    return training(tiny(), torch.randn(16, 2), torch.randn(16, 2))


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


MODELS = [
    mlp,
    convnet,
    gru_seq,
    lstm_seq,
    transformer,
    conv_autoenc,
    residual_tower,
    gated_routing,
    iterative_refine,
    feedback_fixed,
]
SMALL = [tiny_step, tiny_forward, op_chain]
SWEEPS = {
    "mlp batch": lambda n: sized_mlp(n, 512),
    "mlp width": lambda n: sized_mlp(64, n),
    "convnet image": lambda n: sized_convnet(n),
    "lstm steps": lambda n: sized_lstm(n),
    "encoder tokens": lambda n: sized_encoder(n),
}


def main():
    name, count = sys.argv[1], int(sys.argv[2])
    builders = {m.__name__: m for m in MODELS + SMALL}
    sweep, _, value = name.partition("=")
    if sweep in SWEEPS and value:
        builders[name] = lambda: SWEEPS[sweep](int(value))
    if name not in builders:
        sys.exit(f"no model is called {name}")
    step = builders[name]()
    small = builders[name] in SMALL
    samples = common.calls(step, 1.0) if small else common.steps(step, count)
    print(json.dumps(common.result(samples)))


main()
