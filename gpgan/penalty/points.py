"""The points at which the critic's gradient is penalised."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype, check_alpha, check_same, check_samples

# What each kind of points is made of.
NEEDS = {
    "between": ("real", "fake"),
    "real": ("real",),
    "fake": ("fake",),
    "both": ("real", "fake"),
    "noisy": ("real",),
}
# Half the standard deviation of the data, after Kodali et al., arXiv 1705.07215, and its authors' code.
NOISE_SCALE = 0.5


def draw_points(
    backend: ModuleType,
    real: Tensor | None,
    fake: Tensor | None,
    points: str | Tensor,
    alpha: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """The points x [B, ...], or [2B, ...] of both, at which the gradient is taken: a fresh leaf that requires grad."""
    kind = "points" if isinstance(points, Tensor) else points
    if isinstance(points, Tensor):
        samples = {kind: points}
    elif isinstance(kind, str) and kind in NEEDS:
        needs = NEEDS[kind]
        came = {"real": real, "fake": fake}
        missing = [name for name in needs if came[name] is None]
        if missing:
            raise TypeError(f"{missing[0]} is None; points={kind!r} needs it, a Tensor [B, ...]")
        samples = {name: value for name, value in came.items() if value is not None}
    else:
        raise ValueError(f"points is {points!r}; expected a Tensor [B, ...] or one of {', '.join(map(repr, NEEDS))}")

    (first_name, first), *others = samples.items()
    check_samples(first_name, first)
    for name, value in others:
        check_same(name, value, first_name, first)
    if first.shape[0] == 0:
        raise ValueError(f"{first_name} has shape {tuple(first.shape)}: an empty batch has no penalty; skip the step")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a {type(generator).__name__}; expected a torch.Generator, e.g. torch.Generator().manual_seed(0)"
        )
    if generator is not None and generator.device.type != first.device.type:
        raise ValueError(
            f"generator is on {generator.device} and the samples are on {first.device}; expected the same device"
        )
    if alpha is not None:
        _check_alpha_range(alpha, first)

    with torch.no_grad():
        if kind in ("between", "noisy"):
            if alpha is None:
                alpha = torch.rand(
                    first.shape[0], dtype=accumulate_dtype(first.dtype), device=first.device, generator=generator
                )
            other = samples["fake"] if kind == "between" else _noisy(first, generator)
            x: Tensor = backend.interpolate(first, other, alpha)
        elif kind == "both":
            x = torch.cat([first, samples["fake"]])
        else:
            # clone, not detach: the leaf must be its own tensor, and a normal one where an inference tensor came in.
            x = samples[kind].clone()
    return x.requires_grad_()


def _noisy(real: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.rand(real.shape, dtype=real.dtype, device=real.device, generator=generator)
    return real + NOISE_SCALE * real.std(correction=0) * noise


def _check_alpha_range(alpha: Tensor, samples: Tensor) -> None:
    check_alpha(alpha, samples)
    if alpha.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    # A NaN does not equal itself.
    if not torch.equal(alpha, alpha.clamp(0, 1)):
        low, high = alpha.min().item(), alpha.max().item()
        raise ValueError(f"alpha runs from {low} to {high}; expected numbers in [0, 1], e.g. torch.rand({len(alpha)})")
