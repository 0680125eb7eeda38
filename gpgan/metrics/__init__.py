"""Metrics of samples and critics, for evaluation; none is trained on."""

from gpgan.metrics.modes import ModeCoverage, mode_coverage
from gpgan.metrics.norms import GradientNorms, gradient_norms
from gpgan.metrics.transport import w1_floor, wasserstein1

__all__ = ["GradientNorms", "ModeCoverage", "gradient_norms", "mode_coverage", "w1_floor", "wasserstein1"]
