"""The points at which the critic's gradient is penalised."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.ops._checks import accumulate_dtype, check_alpha, check_same, check_samples
from gpgan.ops.backend import Backend

# The samples that each kind of points is made of.
NEEDS = {
    "between": ("real", "fake"),
    "real": ("real",),
    "fake": ("fake",),
    "both": ("real", "fake"),
    "noisy": ("real",),
}
# Half the standard deviation of the data, after Kodali et al., arXiv 1705.07215, and its authors' code.
NOISE_SCALE = 0.5


def check_points(points: str | Tensor, real: Tensor | None, fake: Tensor | None) -> Tensor:
    """Raises unless the samples that ``points`` needs are given and match. Returns the first of them, ``[B, ...]``."""
    samples = {"real": real, "fake": fake}
    if isinstance(points, Tensor):
        samples = {"points": points}
    elif isinstance(points, str) and points in NEEDS:
        missing = [name for name in NEEDS[points] if samples[name] is None]
        if missing:
            raise TypeError(f"{missing[0]} is None; points={points!r} needs it, a Tensor [B, ...]")
    else:
        raise ValueError(f"points is {points!r}; expected a Tensor [B, ...] or one of {', '.join(map(repr, NEEDS))}")
    (first_name, first), *others = ((name, value) for name, value in samples.items() if value is not None)
    check_batch(first_name, first)
    for name, value in others:
        check_same(name, value, first_name, first)
    return first


def check_batch(name: str, samples: Tensor) -> None:
    """Raises unless samples are a batch ``[B, ...]`` with at least one sample in it."""
    check_samples(name, samples)
    if samples.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(samples.shape)}: an empty batch has no gradients; skip the step")
    if samples.is_meta:
        raise ValueError(f"{name} is on the meta device, which holds no numbers; expected samples on a CPU or GPU")


def draw_points(
    backend: Backend,
    points: str | Tensor,
    real: Tensor | None,
    fake: Tensor | None,
    alpha: Tensor | None,
    rng: torch.Generator | None,
) -> Tensor:
    """The points x ``[B, ...]`` (``[2B, ...]`` for "both"): a new leaf that requires grad.

    Checks ``alpha`` and ``rng``, the public argument ``generator``. The samples are already checked.
    """
    first = points if isinstance(points, Tensor) else real if real is not None else fake
    assert first is not None
    if rng is not None:
        _check_rng(rng, first)
    if alpha is not None:
        check_alpha(alpha, first)
        _check_range(alpha)
    where = "" if isinstance(points, Tensor) else points
    with torch.no_grad():
        if where in ("between", "noisy"):
            if alpha is None:
                alpha = torch.rand(
                    first.shape[0], dtype=accumulate_dtype(first.dtype), device=first.device, generator=rng
                )
            other = _noisy(first, rng) if where == "noisy" else fake
            assert other is not None
            x = backend.interpolate(first, other, alpha)
        elif where == "both":
            assert fake is not None
            x = torch.cat([first, fake])
        else:
            samples = fake if where == "fake" else first
            assert samples is not None
            # clone, not detach: the leaf must be a tensor of its own, and not an inference tensor.
            x = samples.clone()
    return x.requires_grad_()


def _noisy(real: Tensor, rng: torch.Generator | None) -> Tensor:
    noise = torch.rand(real.shape, dtype=real.dtype, device=real.device, generator=rng)
    return real + NOISE_SCALE * real.std(correction=0) * noise


def _check_rng(rng: torch.Generator, samples: Tensor) -> None:
    if not isinstance(rng, torch.Generator):
        raise TypeError(
            f"generator is a {type(rng).__name__}; expected a torch.Generator, e.g. torch.Generator().manual_seed(0)"
        )
    if rng.device.type != samples.device.type:
        raise ValueError(
            f"generator is on {rng.device} and the samples are on {samples.device}; expected the same device"
        )


def _check_range(alpha: Tensor) -> None:
    if alpha.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    # A NaN does not equal itself.
    if not torch.equal(alpha, alpha.clamp(0, 1)):
        low, high = alpha.min().item(), alpha.max().item()
        raise ValueError(f"alpha runs from {low} to {high}; expected numbers in [0, 1], e.g. torch.rand({len(alpha)})")
