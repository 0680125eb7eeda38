"""A step makes each check once."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from critics import CRITICS
from torch import Tensor

from gpgan import CriticStep, Penalty

# A check is a function of gpgan that examines an argument, the scores or the critic, to refuse it or to choose another
# path. Before the checks were gathered, a scheduled step made 14 such calls and a general step 23, of which 13 and 20
# had names that begin with check_. What a scheduled step makes now: grad mode, the batch, its samples, that both batches are
# alike, rows of arguments, backward hooks, finite scores. A general step: three times the scores, batch statistics, missing
# derivatives, and no look for hooks.
CHECK = re.compile(r"_?(check|refuse)_\w+|is_compiled|backward_hooks")


def checks(call: Callable[[], Any]) -> Counter[str]:
    """The number of calls of each check, counted by the interpreter's profiling hook."""
    seen: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        inside = frame.f_globals.get("__name__", "").partition(".")[0] == "gpgan"
        if event == "call" and inside and CHECK.fullmatch(frame.f_code.co_name):
            seen[frame.f_code.co_name] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def of_a_step(general: bool, penalty: Penalty | None = Penalty(), **options: Any) -> Counter[str]:  # noqa: B008
    case = CRITICS["MLP"]
    critic, (real, fake, _) = case.build(), case.samples()
    wrapped: Callable[[Tensor], Tensor] = (lambda x: critic(x)) if general else critic
    step = CriticStep(wrapped, torch.optim.SGD(critic.parameters(), lr=0.1), penalty=penalty)
    step(real, fake)
    seen = checks(lambda: step(real, fake, **options))
    assert step.plan.startswith("general" if general else "scheduled")
    return seen


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize(("general", "most"), [(False, 7), (True, 11)], ids=["scheduled", "general"])
def test_a_step_checks_once(general: bool, most: int, impl: str) -> None:
    seen = of_a_step(general, Penalty(impl=impl))
    assert seen["check_samples"] == 1
    assert seen["check_scores"] == (3 if general else 0)  # the critic's scores of real, fake and points
    assert sum(seen.values()) <= most, seen


@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_alpha_and_generator_are_checked_once_where_they_are_given(general: bool) -> None:
    seen = of_a_step(general)
    given = {"alpha": torch.rand(4, dtype=torch.float64), "generator": torch.Generator()}
    assert of_a_step(general, **given) - seen == Counter({"check_alpha": 1, "_check_range": 1, "_check_rng": 1})


@pytest.mark.parametrize("general", [False, True], ids=["scheduled", "general"])
def test_a_step_without_penalty_checks_no_more_than_one_with(general: bool) -> None:
    assert of_a_step(general, None) <= of_a_step(general)
