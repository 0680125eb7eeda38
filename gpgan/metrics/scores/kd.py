"""KD, the kernel distance: the squared maximum mean discrepancy of features, with KID's polynomial kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from gpgan.metrics.metric import Evaluation, Metric, Score
from gpgan.metrics.sample_set import SampleSet
from gpgan.metrics.scores.checks import check_pair

# Scores are reported times this.
TIMES = 1000
# Rows of a block of the kernel's matrix.
ROWS = 1000


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """The unbiased squared MMD of two sets of features under the kernel (x.y / d + 1)^3, from all pairs.

    Its expectation is 0 for sets of one distribution, for any N and M, so that chance makes it negative half of the time.

    Args:
        x: ``[N, d]``, N at least 2.
        y: ``[M, d]``, M at least 2.

    Raises:
        ValueError: There are fewer samples, their features differ in number, or are not finite.

    Source:
        Binkowski et al., Demystifying MMD GANs, arXiv 1801.01401 (KID); Gretton et al., A Kernel Two-Sample Test (2012),
        equation 3. KID's code averages over random subsets, which only adds noise.
    """
    check_pair(x, y, 2)
    return _within(x) + _within(y) - 2 * _sum(x, y) / (len(x) * len(y))


def _within(x: Tensor) -> float:
    """The mean of the kernel over all pairs of different samples."""
    x, total = x.double(), 0.0
    for start in range(0, len(x), ROWS):
        # Blocks right of the diagonal count twice.
        rows = x[start : start + ROWS]
        kernel = _kernel(rows @ x[start:].T, x.shape[1])
        own = kernel[:, : len(rows)]
        total += float(2 * kernel.sum() - own.sum() - own.diagonal().sum())
    return total / (len(x) * (len(x) - 1))


def _sum(x: Tensor, y: Tensor) -> float:
    """The sum of the kernel over all pairs."""
    y = y.double()
    return sum(float(_kernel(rows.double() @ y.T, x.shape[1]).sum()) for rows in torch.split(x, ROWS))


def _kernel(products: Tensor, dimension: int) -> Tensor:
    values = products.div_(dimension).add_(1)
    return values.square().mul_(values)


def _kept(samples: SampleSet) -> float:
    return float(samples.derived("mean kernel", lambda: torch.tensor([_within(samples.features)], dtype=torch.float64)))


def _measure(evaluation: Evaluation) -> Score:
    fake, real = evaluation.fake, evaluation.real
    between = _sum(fake.features, real.features) / (len(fake) * len(real))
    value = TIMES * (_kept(fake) + _kept(real) - 2 * between)
    return Score(value, settings={"kernel": "(x.y / d + 1)^3", "times": TIMES})


def _refuses(evaluation: Evaluation) -> str:
    least = min(len(evaluation.fake), len(evaluation.real))
    return f"a set has {least} sample; expected 2 or more" if least < 2 else ""


METRIC = Metric("kd", "KD x 1000", _measure, refuses=_refuses, sees=("blur", "noise", "missing"), unbiased=True)
