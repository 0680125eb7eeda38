"""Packs of samples that a critic scores together, against mode collapse."""

from __future__ import annotations

from torch import Tensor

from gpgan.util.words import counted


def pack(samples: Tensor, m: int) -> Tensor:
    """Joins every m consecutive samples into one, for a critic that sees m at once and so notices that they are alike.

    Args:
        samples: ``[B, C, ...]`` or ``[B, D]``; real and fake samples are packed separately.
        m: Samples per pack; a divisor of B.

    Returns:
        ``[B/m, m*C, ...]`` or ``[B/m, m*D]``: the samples' channels, concatenated.

    Raises:
        TypeError, ValueError: samples is not a Tensor of two or more dimensions, or m is not a positive whole number that
            divides B.

    Source:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, arXiv 1712.04086, section 3.
    """
    if not isinstance(samples, Tensor):
        raise TypeError(f"samples is a {type(samples).__name__}; expected a torch.Tensor [B, C, ...] or [B, D]")
    if samples.dim() < 2:
        raise ValueError(f"samples has shape {tuple(samples.shape)}; expected [B, C, ...] or [B, D]")
    if isinstance(m, bool) or not isinstance(m, int) or m < 1:
        raise ValueError(f"m is {m!r}; expected a whole number, 1 or more: how many samples make a pack")
    batch, channels, *rest = samples.shape
    if batch % m:
        raise ValueError(
            f"m is {m} and does not divide a batch of {counted(batch, 'sample')}; expected a batch size that is a multiple of {m}"
        )
    return samples.reshape(batch // m, m * channels, *rest)
