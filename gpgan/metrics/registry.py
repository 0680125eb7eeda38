"""The metrics by name, and which of them a command measures by default. To add one, add a file with its METRIC and a
line here."""

from __future__ import annotations

from gpgan.metrics.metric import Metric
from gpgan.metrics.scores import (
    class_kl,
    classifier_score,
    copied_share,
    coverage,
    critic_estimate,
    density,
    detail,
    fd,
    fd_infinity,
    gradient_norm,
    kd,
    max_sliced_w,
    mmd,
    modes,
    precision,
    psnr,
    recall,
    sinkhorn,
    sliced_w,
    ssim,
    vendi,
    w1,
    w2,
)

METRICS: dict[str, Metric] = {
    module.METRIC.name: module.METRIC
    for module in (
        *(kd, fd, fd_infinity, precision, recall, density, coverage, vendi),
        *(classifier_score, class_kl, modes, copied_share),
        *(w1, w2, sliced_w, max_sliced_w, sinkhorn, mmd),
        *(critic_estimate, gradient_norm),
        *(psnr, ssim, detail),
    )
}
RESTORATION = ("psnr", "ssim", "detail")
TRANSPORT = ("w1", "w2", "sliced_w", "max_sliced_w", "sinkhorn", "mmd")
FRECHET = ("kd", "fd", "fd_infinity", "vendi", "classifier_score")
# By these no corruption is better than real samples; precision is perfect for a single good image, repeated.
HEADLINE = ("kd", "recall", "coverage")
# Measured during training.
CHEAP = {"images": ("kd", "precision", "recall", "coverage", "class_kl"), "": ("w1", "precision", "recall", "modes")}


def default_names(kind: str, restored: bool) -> list[str]:
    """The metrics of ``gpgan eval`` for a kind of data; those that do not apply are left out.

    Distances of features in the sense of optimal transport say little about images that KD does not say; kernels and
    Fréchet distances little about points.
    """
    if restored:
        return list(RESTORATION)
    without = TRANSPORT if kind == "images" else FRECHET
    return [name for name in METRICS if name not in (*without, *RESTORATION)]


def cheap_names(kind: str) -> tuple[str, ...]:
    """The metrics during training; the first decides which checkpoint is the best, lower being better."""
    return CHEAP.get(kind, CHEAP[""])
