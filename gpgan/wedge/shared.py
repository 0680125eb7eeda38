"""K volumes that are shared by all observations, and the poses and classes in which they explain each.

Each step couples a batch of observations with candidates, by a transport plan, and moves the volumes towards the average
that the plan implies. With the entropic plan it is CryoWGEN; with gamma = 1, free masses and all data in each step it is
expectation maximisation as RELION has it (Scheres, doi 10.1016/j.jsb.2012.09.006). With the plan of least cost it is
CryoGEN-II.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gpgan.wedge.averaging import Average, ball
from gpgan.wedge.coupling import effective, entropic, exact, minibatch
from gpgan.wedge.mask import Wedge
from gpgan.wedge.matching import Matcher, Summit, climb, generators, own_scores, turns
from gpgan.wedge.operators import inverse, rotate, transform
from gpgan.wedge.restored import Restored
from gpgan.wedge.rotations import random_rotations

Plan = Literal["entropic", "exact", "minibatch"]
# Candidates that together have less weight than this are left out of an average.
NEGLIGIBLE = 1e-4
# The prior of the volumes, as of that many observations.
TAU = 1.0
# Of a posterior: steps uphill from the best random pose, and volumes turned at once.
CLIMBS, CHUNK = 5, 256


@dataclass(frozen=True)
class Model:
    """What is known about the observations.

    Attributes:
        wedge: The tilt range.
        transfer: T, of the shape of ``rfftn``.
        ctf: The CTF in it, of the same shape, or None.
        variance: Of the noise in each component.
        shape: Of a volume.
    """

    wedge: Wedge
    transfer: Tensor
    ctf: Tensor | None
    variance: Tensor
    shape: tuple[int, ...]

    def matcher(self, limit: float) -> Matcher:
        return Matcher(self.transfer, self.variance, self.shape, limit)


class SharedVolumes:
    """Fits K volumes to N observations.

    Args:
        model: Of the observations.
        volumes: K.
        count: N.
        plan: "entropic" (CryoWGEN), "exact" (CryoGEN-II), or "minibatch" (CryoGEN-II with uniform poses).
        gamma: The temperature of the entropic plan.
        masses: The share of each class, ``[K]``; None: learnt.
        poses: Random poses that all observations of a step are compared in, besides their own best ones.
        rng: On the CPU.

    Attributes:
        volumes: ``[K, *shape]``.
        rotations: The best pose of each observation in each class, float64 ``[N, K, d, d]``.
        classes: The probability of each, ``[N, K]``.
    """

    def __init__(
        self,
        model: Model,
        volumes: int,
        count: int,
        *,
        plan: Plan = "entropic",
        gamma: float = 1.0,
        masses: Tensor | None = None,
        poses: int = 128,
        rng: torch.Generator,
    ) -> None:
        self.model, self.plan, self.gamma, self.masses, self.poses, self.rng = model, plan, gamma, masses, poses, rng
        self.average = Average(model.wedge, model.ctf, model.variance, model.shape, volumes)
        self.support = ball(model.shape, 1.0, model.variance.device)
        self.volumes = torch.zeros(volumes, *model.shape, device=model.variance.device)
        dims = len(model.shape)
        self.rotations = random_rotations(count * volumes, dims, rng).view(count, volumes, dims, dims)
        self.classes = torch.full((count, volumes), 1 / volumes)

    def begin(self, rows: Tensor, observations: Tensor) -> None:
        """The first volumes: averages of observations in random poses, which are spherical but for chance."""
        count = len(self.volumes)
        classes = torch.arange(len(rows)) % count
        self.average.add(
            1.0, observations, torch.ones(len(rows), device=observations.device), self.rotations[rows, classes],
            classes.to(observations.device),
        )  # fmt: skip
        self._renew()

    def step(self, rows: Tensor, observations: Tensor, share: float, limit: float) -> dict[str, Tensor]:
        """Couples a batch with candidates and moves the volumes.

        Args:
            rows: Which observations, int64 ``[B]``.
            observations: ``[B, *shape]``.
            share: How far the averages move, 0 to 1: the batch's share of the data, for averages of about one epoch.
            limit: The largest frequency that is compared, in cycles per voxel.

        Returns:
            The mean cost ``|y - T x|^2 / 2 s^2`` of the plan per component, the mean effective number of candidates, and
            the share of observations whose best candidate is their own.
        """
        matcher = self.model.matcher(limit)
        observed = matcher.observed(observations)
        candidates, drawn = self._drawn(matcher, observed, self.poses)
        own = self._own(matcher, observed, self.rotations[rows])
        scores = torch.cat([drawn, own.scores[:, :, None]], 2)
        weights = self._plan(scores)
        self._move(share, observations, weights, candidates, own.rotations)
        best, pose = scores.max(2)
        stays = (pose == self.poses).cpu()
        self.rotations[rows] = torch.where(
            stays[:, :, None, None], own.rotations, candidates[pose.cpu().clamp_max(self.poses - 1)]
        )
        self.classes[rows] = weights.sum(2).cpu()
        energy = observed.square().sum(1) / 2
        cost = (energy[:, None, None] - scores).mul(weights).flatten(1).sum(1) / observed.shape[1]
        return {
            "cost": cost.mean(),
            "candidates": effective(weights).mean(),
            "own": stays.gather(1, best.argmax(1, keepdim=True).cpu()).float().mean(),
        }

    def _drawn(self, matcher: Matcher, observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Random poses ``[P, d, d]``, and the scores of all observations in them, ``[B, K, P]``."""
        candidates = random_rotations(count, len(self.model.shape), self.rng)
        turned = rotate(self.volumes[None], candidates)
        scores = matcher.scores(observed, matcher.explained(turned.flatten(0, 1)))
        return candidates, scores.view(len(observed), count, -1).transpose(1, 2)

    def _own(self, matcher: Matcher, observed: Tensor, rotations: Tensor) -> Summit:
        """A step uphill of the observations' own poses ``[B, K, d, d]`` in each class: a Summit with ``[B, K, ...]``."""
        batch, count = rotations.shape[:2]
        sloped = generators(self.volumes)
        found = [
            climb(matcher, sloped[k].expand(batch, *sloped.shape[1:]), observed, rotations[:, k]) for k in range(count)
        ]
        return Summit(
            *(torch.stack([getattr(each, name) for each in found], 1) for name in ("rotations", "scores", "precision"))
        )

    def _plan(self, scores: Tensor) -> Tensor:
        if self.plan == "entropic":
            return entropic(scores, self.gamma, self.masses)
        return exact(scores, self.masses) if self.plan == "exact" else minibatch(scores)

    def _move(self, share: float, observations: Tensor, weights: Tensor, candidates: Tensor, own: Tensor) -> None:
        """Moves the averages by the plan ``[B, K, P + 1]``."""
        drawn = weights[:, :, :-1]
        total = drawn.sum(0)  # [K, P]
        classes, poses = (total > NEGLIGIBLE).nonzero(as_tuple=True)
        sums = torch.einsum("bq,b...->q...", drawn[:, classes, poses], observations)
        rows, own_classes = (weights[:, :, -1] > NEGLIGIBLE).nonzero(as_tuple=True)
        own_weights = weights[rows, own_classes, -1]
        self.average.add(
            share,
            torch.cat([sums, _spread(own_weights, len(self.model.shape)) * observations[rows]]),
            torch.cat([total[classes, poses], own_weights]),
            torch.cat([candidates[poses.cpu()], own[rows.cpu(), own_classes.cpu()]]),
            torch.cat([classes, own_classes]),
        )
        self._renew()

    def _renew(self) -> None:
        self.volumes = self.average.volumes(TAU) * self.support

    @torch.no_grad()
    def posterior(
        self, observations: Tensor, *, samples: int = 16, poses: int = 1024, limit: float = 0.45, seed: int = 0
    ) -> Restored:
        """The volumes behind observations, which need not be those that were fitted.

        For each class the best of many poses is climbed from; around the maximum, poses are drawn from its Gaussian and
        weighted by their likelihood (importance sampling). Samples also vary as the shared volumes do.

        Args:
            observations: ``[B, *shape]``.
            samples: S.
            poses: Random poses to begin with.
            limit: The largest frequency that is compared, in cycles per voxel.
            seed: Same seed, same answer.
        """
        rng = torch.Generator().manual_seed(seed)
        matcher, count, dims = self.model.matcher(limit), len(self.volumes), len(self.model.shape)
        observed = matcher.observed(observations)
        candidates = random_rotations(poses, dims, rng)
        turned = [rotate(self.volumes[None], some) for some in torch.split(candidates, CHUNK)]
        explained = torch.cat([matcher.explained(each.flatten(0, 1)) for each in turned])
        scores = matcher.scores(observed, explained).view(len(observed), poses, count)
        rotations = candidates[scores.argmax(1).cpu()]  # [B, K, d, d]
        for _ in range(CLIMBS):
            own = self._own(matcher, observed, rotations)
            rotations = own.rotations
        drawn, logits = self._around(matcher, observed, own, samples, rng)  # [S, B, K, d, d], [S, B, K]
        weights = logits.transpose(0, 1).flatten(1).softmax(1)  # [B, S K]
        every = drawn.transpose(0, 1).flatten(1, 2)  # [B, S K, d, d]
        mean = torch.zeros_like(observations)
        for place in range(samples * count):
            volumes = self.volumes[place % count].expand(len(observations), 1, *self.model.shape)
            mean += _spread(weights[:, place], dims) * rotate(volumes, every[:, place])[:, 0]
        chosen = torch.multinomial(weights.cpu(), samples, replacement=True, generator=rng)  # [B, S]
        found = torch.stack([self._sample(every, chosen[:, number], rng) for number in range(samples)])
        likely = weights.view(-1, samples, count).sum(1).argmax(1).cpu()
        return Restored(mean, found, likely, every[torch.arange(len(every)), weights.argmax(1).cpu()])

    def _around(
        self, matcher: Matcher, observed: Tensor, summit: Summit, samples: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Poses drawn around maxima, ``[S, B, K, d, d]``, and the logarithms of their importance weights, ``[S, B, K]``."""
        precision = summit.precision.double().cpu() / self.gamma
        precision = precision + 1e-3 * torch.eye(precision.shape[-1])  # no turn is wider than a circle
        upper = torch.linalg.cholesky(precision).mT
        noise = torch.randn(samples, *precision.shape[:-1], generator=rng, dtype=torch.float64)
        turn = torch.linalg.solve_triangular(upper.expand(samples, *upper.shape), noise[..., None], upper=True)[..., 0]
        rotations = summit.rotations @ turns(turn)
        density = upper.diagonal(dim1=-2, dim2=-1).log().sum(-1) - noise.square().sum(-1) / 2
        batch, count = rotations.shape[1:3]
        scores = torch.empty(samples, batch, count, dtype=torch.float64)
        for number in range(samples):
            for k in range(count):
                volumes = self.volumes[k].expand(batch, 1, *self.model.shape)
                explained = matcher.explained(rotate(volumes, rotations[number, :, k])[:, 0])
                scores[number, :, k] = own_scores(observed, explained).double().cpu()
        prior = self.classes.mean(0) if self.masses is None else self.masses
        logits = scores / self.gamma - density + prior.double().clamp_min(1e-9).log()
        return rotations, logits.to(observed)

    def _sample(self, rotations: Tensor, chosen: Tensor, rng: torch.Generator) -> Tensor:
        """A volume for each observation: ``[B, *shape]``; the shared volumes vary by their own deviation."""
        count, noise = len(self.volumes), torch.randn(self.volumes.shape, generator=rng).to(self.volumes)
        scale = self.average.deviation(TAU) / noise[0].numel() ** 0.5
        varied = self.volumes + inverse(transform(noise, noise.dim() - 1) * scale, self.model.shape) * self.support
        return rotate(varied[chosen % count][:, None], rotations[torch.arange(len(chosen)), chosen])[:, 0]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "numerator": self.average.numerator,
            "denominator": self.average.denominator,
            "rotations": self.rotations,
            "classes": self.classes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.average.numerator.copy_(state["numerator"])
        self.average.denominator.copy_(state["denominator"])
        self.rotations.copy_(state["rotations"])
        self.classes.copy_(state["classes"])
        self._renew()


def _spread(values: Tensor, dims: int) -> Tensor:
    """``[B]`` shaped to multiply volumes."""
    return values.reshape(-1, *([1] * dims))
