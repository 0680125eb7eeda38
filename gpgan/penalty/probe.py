"""What is looked at once per critic, at its first penalty: coupled samples, gradients that vanish, scores to choose from.

The coupling of samples is measured as a share. Let S be a fixed half of the batch and G = d sum_{i in S} f(x)_i / dx. In a
critic that treats its samples one by one, G is zero outside of S. The share is the size of what crosses between the
two halves, beside the size of what stays within them.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.ops._checks import accumulate_dtype
from gpgan.penalty.modules import reachable
from gpgan.util.warn import warn_once

# A share above this is refused. Measured by benchmarks/coupling.py: BatchNorm and its like have 0.076 and more, the
# minibatch standard deviation of ProGAN and StyleGAN 0.053 and less.
MOST_COUPLED = 0.07
# Shares up to this, or to the machine epsilon of the critic's computation, are rounding.
UNCOUPLED = 1e-5
# Norms up to this are no more than the rounding of a critic that does not depend on its input.
VANISHING = 1e-6

# Whether a critic couples its samples a little, by the modules and functions that it consists of and their mode.
_probed: weakref.WeakKeyDictionary[Any, dict[Any, bool]] = weakref.WeakKeyDictionary()


class Identity:
    """What a critic consists of. A lambda written anew at every step is the same critic.

    Args:
        allowed: Whether it may couple its samples, and so was not asked whether it does.
    """

    def __init__(self, critic: Any, allowed: bool) -> None:
        self.anchor: Any = critic
        self.rest: tuple[Any, ...]
        if isinstance(critic, nn.Module):  # the usual case, and this runs on every call
            self.rest = (allowed, critic.training)
            return
        parts = list(reachable(critic))
        modules = [part for part in parts if isinstance(part, nn.Module)]
        codes = tuple(part.__code__ for part in parts if not isinstance(part, nn.Module))
        if modules or codes:
            self.anchor = modules[0] if modules else codes[0]
        self.rest = (allowed, type(critic), codes, *((weakref.ref(module), module.training) for module in modules))

    def known(self) -> bool | None:
        """Whether the critic couples its samples a little; None if it has not been probed."""
        try:
            return _probed.get(self.anchor, {}).get(self.rest)
        except TypeError:  # an object without hash or weak references
            return None

    def remember(self, couples: bool) -> None:
        with contextlib.suppress(TypeError):
            _probed.setdefault(self.anchor, {})[self.rest] = couples


def half(rows: int, device: torch.device) -> Tensor:
    """S ``[B]``, bool: always the same. The seed is one whose S divides some of the groups that a critic may form, of
    neighbours or of every n-th sample, for all group sizes and batches that were tried, 6 to 256. Only pairs of
    neighbours in a batch of 4 stay unseen, as any half of 4 samples is a pair."""
    chosen = torch.zeros(rows, dtype=torch.bool)
    chosen[torch.randperm(rows, generator=torch.Generator().manual_seed(424))[: rows // 2]] = True
    return chosen.to(device)


def share(grads: Tensor, of_half: Tensor, chosen: Tensor) -> float:
    """The share of coupling; NaN if the gradient is zero.

    Args:
        grads: d sum of all scores / dx ``[B, ...]``.
        of_half: G ``[B, ...]``.
        chosen: S ``[B]``.
    """
    dtype = accumulate_dtype(grads.dtype)
    grads, of_half = grads.to(dtype), of_half.to(dtype)
    rest = grads - of_half
    crossing = torch.stack([of_half[~chosen].norm(), rest[chosen].norm()]).norm()
    staying = torch.stack([of_half[chosen].norm(), rest[~chosen].norm()]).norm()
    return float(crossing / staying)


def judge_coupling(grads: Tensor, of_half: Tensor, chosen: Tensor, eps: float) -> bool | None:
    """Raises, or warns once, if samples are coupled.

    Args:
        grads, of_half, chosen: As for ``share``.
        eps: The machine epsilon of the critic's computation.

    Returns:
        Whether they are, a little; None if there is nothing to judge by.
    """
    coupled = share(grads, of_half, chosen)
    if coupled > MOST_COUPLED:
        raise ValueError(
            f"critic couples the samples of a batch: a share of {coupled:.2g} of its gradient reaches other samples than its "
            f"own; expected at most {MOST_COUPLED:g}. Causes are BatchNorm, softmax or attention over the batch, scores minus "
            "their mean, and a batch that is not the first dimension of samples and scores. Use layers that treat each "
            "sample by itself, put the batch first, or pass allow_batch_coupling=True"
        )
    little = coupled > max(UNCOUPLED, eps)
    if little:
        warn_once(
            "critic couples the samples of a batch a little, as a minibatch standard deviation does: a share of "
            f"{coupled:.2g} of its gradient reaches other samples than its own. The penalty proceeds; pass "
            "allow_batch_coupling=True if that is intended"
        )
    return little if math.isfinite(coupled) else None


def warn_of_scores(critic: Any, scores: Tensor, largest: float) -> bool:
    """Warns once of what makes a penalty useless.

    Args:
        critic: Searched for parameters.
        scores: ``[B, ...]``.
        largest: The largest norm of their input gradient.

    Returns:
        Whether the gradient is finite and not zero, so that the critic need not be looked at again.
    """
    if largest <= VANISHING:
        warn_once(
            f"critic's gradient is zero up to rounding at all points (no norm above {VANISHING:g}), so the penalty cannot "
            "teach it anything. Either its last weights are all zero, as some initialisations have them, and this will "
            "pass; or its scores cannot depend on its input (InstanceNorm followed by a mean, scores minus their own mean, "
            "saturated activations); or float16 underflows (pass grad_scale)"
        )
    if scores.dim() == 2 and scores.shape[1] > 1:
        warn_once(
            f"critic returned {scores.shape[1]} scores per sample, shape {tuple(scores.shape)}, which are summed before the "
            "gradient is taken. If one of them is meant, wrap the critic in a function that returns scores[:, 0]"
        )
    parameters = [p for part in _modules(critic) for p in part.parameters()]
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        warn_once(
            f"critic has {len(parameters)} parameters, none of which requires grad, so the penalty trains nothing. Call "
            "critic.requires_grad_() before the critic's step"
        )
    return math.isfinite(largest) and largest > 0


def _modules(critic: Any) -> list[nn.Module]:
    return [part for part in reachable(critic) if isinstance(part, nn.Module)]
