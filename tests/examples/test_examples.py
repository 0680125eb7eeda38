"""The examples learn, agree with each other where they say so, and cause no warning from gpgan."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
STEPS = 80

# The step's number, then estimate and penalty.
Rows = dict[int, tuple[float, float]]

gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed (pip install 'gpgan[test]')")


def rows_of(text: str) -> Rows:
    found = re.findall(r"^step +(\d+)  wasserstein (\S+)  penalty (\S+)$", text, re.MULTILINE)
    return {int(step): (float(estimate), float(penalty)) for step, estimate, penalty in found}


@functools.cache
def output_of(*command: str) -> str:
    """What a Python process printed. gpgan's warnings are errors in it and in the processes that it starts."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLES)]),
        "PYTHONWARNINGS": "error:gradient_penalty:UserWarning,error:gpgan:UserWarning",
    }
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def script(name: str, *options: str, steps: int = STEPS) -> tuple[str, ...]:
    return str(EXAMPLES / f"{name}.py"), f"--steps={steps}", *options


def assert_learned(rows: Rows) -> None:
    """The gradient norm goes to 1, and the estimate falls once the critic has learnt the distance."""
    assert list(rows) == [1, *range(STEPS // 10, STEPS + 1, STEPS // 10)]
    estimates, penalties = zip(*rows.values(), strict=True)
    assert penalties[0] > 5  # 10 * (norm - 1)^2 with norms below 0.3: a fresh critic is nearly flat
    assert max(penalties[1:]) < 0.6  # norms within 0.25 of 1, on average
    assert abs(estimates[0]) < 0.5
    assert max(estimates) > 3
    assert estimates[-1] < 0.8 * max(estimates)


def assert_same_training(rows: Rows, others: Rows, until: int) -> None:
    """Equal up to rounding, which training amplifies: after some hundred updates a float32 critic's kinks lie elsewhere."""
    steps = [step for step in rows if step <= until]
    assert len(steps) > 2
    for step in steps:
        estimate, penalty = others[step]
        assert rows[step] == (pytest.approx(estimate, rel=1e-3), pytest.approx(penalty, rel=1e-2)), step


def test_the_pytorch_script_learns() -> None:
    assert_learned(rows_of(output_of("-W", "error::UserWarning", *script("pytorch_script"))))


def test_the_drop_in_trains_as_the_scripts_own_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import pytorch_script

    pytorch_script.train("own", 20)
    own = rows_of(capsys.readouterr().out)
    pytorch_script.train("gpgan", 20)
    assert_same_training(rows_of(capsys.readouterr().out), own, until=20)


@needs("lightning")
def test_the_lightning_module_learns_in_both_precisions() -> None:
    float32 = rows_of(output_of(*script("lightning_module")))
    bfloat16 = rows_of(output_of(*script("lightning_module", "--precision=bf16-mixed")))
    assert_learned(float32)
    assert_learned(bfloat16)
    first, half = float32[1][1], bfloat16[1][1]
    assert half != first  # it did round
    assert half == pytest.approx(first, rel=1e-2)


@needs("accelerate")
def test_the_accelerate_script_learns() -> None:
    text = output_of(*script("accelerate_script"))
    assert "processes: 1\n" in text
    assert_learned(rows_of(text))


@gloo
@needs("accelerate")
def test_the_accelerate_script_averages_over_processes(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("accelerate_weights.py")
    text = output_of(*TORCHRUN, str(worker), str(STEPS), str(tmp_path))
    assert "processes: 2\n" in text
    assert_learned(rows_of(text))
    # Each process has drawn its own samples, latents and alphas.
    first, second = (torch.load(tmp_path / str(rank), weights_only=True) for rank in range(2))
    for networks in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(*(states.values() for states in networks), strict=True))


@gloo
def test_two_processes_train_as_one_with_the_whole_batch() -> None:
    text = output_of(*TORCHRUN, *script("ddp_script"))
    rows = rows_of(text)
    assert_learned(rows)
    assert "scheduled path" in text
    # The script of one process draws the same numbers in the same order.
    assert_same_training(rows, rows_of(output_of("-W", "error::UserWarning", *script("pytorch_script"))), until=16)
