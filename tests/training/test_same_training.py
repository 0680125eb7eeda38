"""200 steps from one seed train the same with the native operators and with their reference.

The two sum a sample's squares in another order, so a step's loss may differ in its last bits, and every later step starts
from weights that do. The loss is the difference of scores of about 2, so one rounding is 1e-7 to 2e-7, and the curves stay
within a few of those for all the steps (docs/images/same_training.png): it does not grow. TOLERANCE is some fifty.

One thing makes it grow: LeakyReLU has a kink. Where an activation is so near 0 that its last bits decide its sign, its
slope is 0.2 in one run and 1 in the other, the gradient norm of that sample moves by per cents, and the curves part at
about 1e-3. Which seeds that happens to, and when, depends on the last bits, so on the processor: every one of SEEDS must
agree for the first 10 steps, most for half of the steps, and one for all. A fault in an operator, even of one part in a thousand, parts the curves of all seeds at once, as the last test
shows.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest

from gpgan import ops
from gpgan.ops import backend

STEPS = 200
SEEDS = (0, 1, 2, 3, 4)
TOLERANCE = 1e-5
ROOT = Path(__file__).resolve().parents[2]
script = runpy.run_path(str(ROOT / "benchmarks" / "same_training.py"))


def curves(impl, steps, out):
    return np.stack([script["loss_curve"](impl, steps, out, seed) for seed in SEEDS])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return curves("reference", STEPS, tmp_path_factory.mktemp("reference"))


def test_same_loss_curve(tmp_path, reference):
    assert ops.native_available("cpu"), ops.why_not_native("cpu")
    native = curves("native", STEPS, tmp_path)
    assert native.shape == (len(SEEDS), STEPS)
    # Constant curves would also agree.
    assert native.std(axis=1).min() > 0.1
    difference = np.abs(native - reference)
    assert difference[:, :10].max() < TOLERANCE
    assert np.median(difference[:, : STEPS // 2].max(axis=1)) < TOLERANCE
    assert difference.max(axis=1).min() < TOLERANCE

    script["draw"](native, reference, tmp_path / "same.png")
    assert (tmp_path / "same.png").stat().st_size > 10_000


def test_a_small_fault_in_the_penalty_would_show(tmp_path, reference, monkeypatch):
    right = backend.NATIVE.gradient_norm_penalty_with_direction

    def wrong(*arguments):
        penalty, norms, direction = right(*arguments)
        return penalty * 1.001, norms, direction * 1.001

    monkeypatch.setattr(backend, "NATIVE", backend.NATIVE._replace(gradient_norm_penalty_with_direction=wrong))
    difference = np.abs(curves("native", 10, tmp_path) - reference[:, :10])
    assert difference.max(axis=1).min() > 10 * TOLERANCE
