"""Packs of samples, which a critic sees at once: against lost modes."""

from __future__ import annotations

from torch import Tensor


def pack(samples: Tensor, m: int) -> Tensor:
    """Each m samples that follow one another as one, for a critic that sees m at once and so notices that they are alike.

    Args:
        samples: ``[B, C, ...]`` or ``[B, D]``; real and fake ones are packed apart.
        m: How many make one; it divides B.

    Returns:
        ``[B/m, m*C, ...]`` or ``[B/m, m*D]``: the samples' channels one behind the other.

    Raises:
        TypeError, ValueError: samples is no Tensor of two dimensions or more; m is no whole number above 0, or does not
            divide B.

    Source:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, arXiv 1712.04086, section 3.
    """
    if not isinstance(samples, Tensor):
        raise TypeError(f"samples is a {type(samples).__name__}; expected a torch.Tensor [B, C, ...] or [B, D]")
    if samples.dim() < 2:
        raise ValueError(f"samples has shape {tuple(samples.shape)}; expected [B, C, ...] or [B, D]")
    if isinstance(m, bool) or not isinstance(m, int) or m < 1:
        raise ValueError(f"m is {m!r}; expected a whole number, 1 or above: how many samples make one")
    batch, channels, *rest = samples.shape
    if batch % m:
        raise ValueError(
            f"m is {m} and does not divide a batch of {batch} samples; expected a batch size that is a multiple of {m}"
        )
    return samples.reshape(batch // m, m * channels, *rest)
