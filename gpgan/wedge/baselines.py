"""Restorations that learn nothing: what a method must be better than."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gpgan.wedge.averaging import ball
from gpgan.wedge.frequencies import vectors
from gpgan.wedge.observe import shell_mean
from gpgan.wedge.operators import inverse, transform

# Of Gerchberg-Papoulis.
ITERATIONS = 60


def zero_filling(observations: Tensor, measured: Tensor, variance: Tensor, share: float) -> Tensor:
    """The observations as they are.

    Args:
        observations: ``[N, *shape]``.
        measured: Which components are, bool, of the shape of ``rfftn``.
        variance: Of the noise in each component.
        share: Of the largest ball, which the object fills.

    Returns:
        ``[N, *shape]``, as every function here does.
    """
    return observations


def wiener(observations: Tensor, measured: Tensor, variance: Tensor, share: float) -> Tensor:
    """Each measured component times signal / (signal + noise), by shell."""
    shape = observations.shape[1:]
    spectrum = transform(observations, len(shape))
    return inverse(spectrum * signal_share(spectrum, measured, variance, shape), shape)


def spherical_mean(observations: Tensor, measured: Tensor, variance: Tensor, share: float) -> Tensor:
    """Components that were not measured become the mean of the measured ones in their shell: those of the spherical mean.

    The mean is about the volume's centre, and over all observations of a shell, as the noise of one is larger.
    """
    shape = observations.shape[1:]
    spectrum = transform(observations, len(shape)) * _centring(shape, observations)
    mean = shell_mean(spectrum.real.mean(0), measured, shape).to(observations)
    filled = torch.where(measured, spectrum, mean.to(spectrum.dtype))
    return inverse(filled * _centring(shape, observations).conj(), shape)


def gerchberg_papoulis(observations: Tensor, measured: Tensor, variance: Tensor, share: float) -> Tensor:
    """What is in the ball and not negative, with the measured components, in turns.

    Gerchberg, Opt. Acta 21 (1974) 709; Papoulis, IEEE Trans. Circuits Syst. 22 (1975) 735. Measured components are pulled
    towards the observation by signal / (signal + noise), which is 1 without noise.
    """
    shape = observations.shape[1:]
    gain = signal_share(transform(observations, len(shape)), measured, variance, shape)
    return alternate(observations, gain, ball(shape, share, observations.device), ITERATIONS)


def alternate(observations: Tensor, gain: Tensor, inside: Tensor, iterations: int) -> Tensor:
    """The iterations of ``gerchberg_papoulis``.

    Args:
        observations: ``[..., *shape]``.
        gain: How far components are pulled towards the observation, 0 to 1, of the shape of ``rfftn``.
        inside: The ball, ``[*shape]``.
        iterations: Their number.
    """
    shape = inside.shape
    spectrum = transform(observations, len(shape))
    restored = inverse(spectrum * gain, shape)
    for _ in range(iterations):
        made = transform(restored.clamp_min(0) * inside, len(shape))
        restored = inverse(made + gain * (spectrum - made), shape)
    return restored


def signal_share(spectrum: Tensor, measured: Tensor, variance: Tensor, shape: torch.Size) -> Tensor:
    """signal / (signal + noise) in each measured component, by shell; 0 in the others."""
    power = shell_mean(spectrum.abs().double().square().mean(0), measured, shape)
    return torch.where(measured & (power > 0), (1 - variance / power.clamp_min(1e-300)).clamp(0, 1), 0.0).to(
        spectrum.real
    )


def _centring(shape: torch.Size, like: Tensor) -> Tensor:
    """The phases that move the origin to the volume's centre."""
    middle = torch.tensor([(size - 1) / 2 for size in shape][::-1], dtype=torch.float64, device=like.device)
    phase = 2 * torch.pi * (vectors(shape, like.device) @ middle)
    return torch.polar(torch.ones_like(phase), phase).to(torch.complex64)


BASELINES: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "zero": zero_filling,
    "wiener": wiener,
    "spherical-mean": spherical_mean,
    "gerchberg-papoulis": gerchberg_papoulis,
}
