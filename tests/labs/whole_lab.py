"""Runs a lab as the command does."""

import time
from types import ModuleType

import torch

from gpgan.labs.lab import Findings
from gpgan.util.threads import cpu_threads

# A lab takes less than a minute on an ordinary machine; a shared one may be half as fast.
LIMIT = 120


def found_by(lab: ModuleType) -> Findings:
    """The lab's findings. Checks its time, that it reports progress and that it leaves the global random state alone."""
    before, told = torch.get_rng_state(), []
    begun = time.process_time()  # processor time, which a busy machine does not lengthen
    with cpu_threads(1):
        found: Findings = lab.run(lambda share, what: told.append(share))
    assert time.process_time() - begun < LIMIT
    assert torch.equal(torch.get_rng_state(), before)
    assert told == sorted(told)
    assert told[0] >= 0
    assert told[-1] <= 1 + 1e-9
    return found
