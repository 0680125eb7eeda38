"""The share of coupling that a critic's first penalty measures: ``python -m benchmarks.coupling``, told in docs/penalty.md.

Two kinds of critic lie on either side of the border ``gpgan.penalty.probe.MOST_COUPLED``: those whose samples share statistics
as BatchNorm's do, and those with the minibatch standard deviation of ProGAN and StyleGAN, which papers use under gradient
penalties. Every critic is measured as initialised, for several seeds and batch sizes; one of each kind also while it is
trained with WGAN-GP on digits.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import machine
from benchmarks.documents import write_into
from gpgan import gradient_penalty
from gpgan.data import load
from gpgan.penalty import probe

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- coupling: written by python -m benchmarks.coupling -->", "<!-- coupling: end -->"
BATCHES = (4, 16, 64)
SEEDS = 3
TRAINED_STEPS, TRAINED_EVERY, TRAINED_BATCH = 1500, 50, 16
POINTS, IMAGES = (8,), (1, 32, 32)


class OverTheBatch(nn.Module):
    """BatchNorm written by hand."""

    def forward(self, h: Tensor) -> Tensor:
        dims = [0, *range(2, h.dim())]
        return (h - h.mean(dims, keepdim=True)) / (h.var(dims, unbiased=False, keepdim=True) + 1e-5).sqrt()


class Deviation(nn.Module):
    """One more channel: the mean standard deviation over groups of ``size`` samples (arXiv 1710.10196, section 3)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        groups = h.reshape(min(self.size, len(h)), -1, *h.shape[1:])
        deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().flatten(1).mean(1)
        channel = deviation.repeat(len(groups)).view(-1, *[1] * (h.dim() - 1)).expand(-1, 1, *h.shape[2:])
        return torch.cat([h, channel], 1)


class Attention(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h + torch.softmax(h @ h.t() / h.shape[1] ** 0.5, 1) @ h


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h)


class Sum(nn.Module):
    """A residual block."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.branch(h)


def mlp(between: Callable[[], nn.Module], depth: int, width: int = 64) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.LazyLinear(width), between(), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.LazyLinear(1))


def convolutional(norm: Callable[[], nn.Module], last: Callable[[], nn.Module], channels: int = 16) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(3):
        layers += [nn.LazyConv2d(channels << i, 4, 2, 1), norm(), nn.LeakyReLU(0.2)]
    return nn.Sequential(
        *layers, last(), nn.LazyConv2d(channels, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.LazyLinear(1)
    )


def residual(norm: Callable[[], nn.Module], channels: int = 32) -> nn.Sequential:
    blocks = [
        Sum(
            norm(),
            nn.ReLU(),
            nn.LazyConv2d(channels, 3, padding=1),
            norm(),
            nn.ReLU(),
            nn.LazyConv2d(channels, 3, padding=1),
        )
        for _ in range(4)
    ]
    return nn.Sequential(
        nn.LazyConv2d(channels, 3, padding=1), *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.LazyLinear(1)
    )


def centred(scores: Tensor) -> Tensor:
    return scores - scores.mean()


STATISTICS, DEVIATION = "statistics over the batch", "minibatch standard deviation"
CRITICS: dict[tuple[str, str], tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    (STATISTICS, "MLP, BatchNorm, 1 layer"): (lambda: mlp(OverTheBatch, 1), POINTS),
    (STATISTICS, "MLP, BatchNorm, 4 layers"): (lambda: mlp(OverTheBatch, 4), POINTS),
    (STATISTICS, "convolutions, BatchNorm"): (lambda: convolutional(OverTheBatch, nn.Identity), IMAGES),
    (STATISTICS, "convolutions, nn.BatchNorm2d"): (lambda: convolutional(nn.LazyBatchNorm2d, nn.Identity), IMAGES),
    (STATISTICS, "residual blocks, BatchNorm"): (lambda: residual(OverTheBatch), IMAGES),
    (STATISTICS, "softmax over the batch"): (lambda: mlp(lambda: nn.Softmax(0), 1), POINTS),
    (STATISTICS, "attention over the batch"): (lambda: mlp(Attention, 1), POINTS),
    (STATISTICS, "LayerNorm of the transpose"): (lambda: mlp(lambda: Function(lambda h: F.layer_norm(h.t(), h.shape[:1]).t()), 1), POINTS),
    (STATISTICS, "scores minus their mean"): (lambda: nn.Sequential(mlp(nn.Identity, 2), Function(centred)), POINTS),
    (DEVIATION, "MLP, whole batch"): (lambda: nn.Sequential(mlp(nn.Identity, 1)[:-1], Deviation(64), mlp(nn.Identity, 1)), POINTS),
    (DEVIATION, "MLP, groups of 4"): (lambda: nn.Sequential(mlp(nn.Identity, 1)[:-1], Deviation(4), mlp(nn.Identity, 1)), POINTS),
    (DEVIATION, "convolutions, whole batch"): (lambda: convolutional(nn.Identity, lambda: Deviation(64)), IMAGES),
    (DEVIATION, "convolutions, groups of 4"): (lambda: convolutional(nn.Identity, lambda: Deviation(4)), IMAGES),
}  # fmt: skip


def share(critic: nn.Module, x: Tensor) -> float:
    x = x.detach().requires_grad_()
    scores = critic(x)
    chosen = probe.half(len(x), x.device)
    seed = chosen.to(scores.dtype).view(-1, *[1] * (scores.dim() - 1)).expand_as(scores)
    (of_half,) = torch.autograd.grad(scores, x, seed, retain_graph=True)
    (grads,) = torch.autograd.grad(scores, x, torch.ones_like(scores))
    return probe.share(grads, of_half, chosen)


def initialised(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Iterator[float]:
    for batch in BATCHES:
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            critic, x = build(), torch.randn(batch, *shape)
            critic(x)  # the lazy layers
            yield share(critic, x)


def trained(norm: Callable[[], nn.Module], last: Callable[[], nn.Module]) -> Iterator[float]:
    """Shares while such a critic plays WGAN-GP on digits, 32x32."""
    torch.manual_seed(0)
    images = F.interpolate(load("digits").samples(), size=32, mode="bilinear")
    critic = convolutional(norm, last)
    critic(images[:4])
    generator = nn.Sequential(
        nn.Linear(32, 32 * 8 * 8), nn.ReLU(), nn.Unflatten(1, (32, 8, 8)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    both = [torch.optim.Adam(net.parameters(), 5e-4, betas=(0.0, 0.9)) for net in (critic, generator)]
    for step in range(TRAINED_STEPS):
        real = images[torch.randint(len(images), (TRAINED_BATCH,))]
        fake = generator(torch.randn(TRAINED_BATCH, 32))
        if step % TRAINED_EVERY == 0:
            yield share(critic, (real + fake) / 2)
        loss = critic(fake.detach()).mean() - critic(real).mean()
        loss = loss + gradient_penalty(critic, real, fake, allow_batch_coupling=True)
        for optimizer, value in zip(both, (loss, None), strict=True):
            if value is None and step % 5:
                continue
            value = -critic(fake).mean() if value is None else value
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


TRAINED: dict[tuple[str, str], tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    (STATISTICS, "convolutions, BatchNorm, while trained"): (OverTheBatch, nn.Identity),
    (DEVIATION, "convolutions, groups of 4, while trained"): (nn.Identity, lambda: Deviation(4)),
}


def table(rows: list[dict[str, object]]) -> str:
    lines = ["| kind | critic | share, smallest | largest |", "|---|---|---|---|"]
    lines += [f"| {row['kind']} | {row['critic']} | {row['smallest']:.2g} | {row['largest']:.2g} |" for row in rows]
    return "\n".join(lines) + "\n"


def block(record: dict[str, Any], numbers: str) -> str:
    """What the document shows; ``numbers`` is the name of the record's file."""
    about = record["machine"]
    where = f"[numbers](../benchmarks/results/{numbers})"
    return f"torch {about['torch']}, {record['date']}: `{about['command']}`; {where}\n\n{table(record['rows'])}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coupling", description=__doc__)
    parser.add_argument("--doc", type=Path, help="document to write the table into")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = {name: list(initialised(*how)) for name, how in CRITICS.items()}
    measured |= {name: list(trained(*how)) for name, how in TRAINED.items()}
    rows: list[dict[str, object]] = [
        {"kind": kind, "critic": critic, "smallest": min(shares), "largest": max(shares), "shares": shares}
        for (kind, critic), shares in measured.items()
    ]
    date = str(datetime.date.today())
    described = machine.describe("cpu", "python -m benchmarks.coupling")
    numbers = options.output / f"{machine.slug('cpu')}-coupling-{date}.json"
    record = {"machine": described, "date": date, "border": probe.MOST_COUPLED, "batches": BATCHES, "rows": rows}
    numbers.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    sys.stdout.write(table(rows))
    if options.doc is not None:
        write_into(options.doc, BEGIN, END, block(record, numbers.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
