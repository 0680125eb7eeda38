"""The task ``cryogen-1`` on shared volumes: turned, filtered and noisy volumes against a critic of observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.nn.conv import ConvCritic
from gpgan.nn.initialise import initialise
from gpgan.settings.config import OptimizerConfig, PenaltyConfig
from gpgan.tasks.adversarial import NUMBERS as CRITICS
from gpgan.tasks.adversarial import Adversarial, adversarial_panels, describe_critic
from gpgan.tasks.known_problems import known_problems, without_effect
from gpgan.tasks.task import Number
from gpgan.tasks.wedge.config import CriticConfig, CriticRunConfig
from gpgan.tasks.wedge.restoration import NUMBERS, PANELS, Restoration, model_of
from gpgan.tasks.wedge.shared import BEGIN
from gpgan.util.processes import Processes
from gpgan.wedge.averaging import ball
from gpgan.wedge.frequencies import radius
from gpgan.wedge.operators import interpolate, inverse, transform
from gpgan.wedge.restored import Restored
from gpgan.wedge.rotations import random_rotations
from gpgan.wedge.shared import Model, SharedVolumes

# The frequencies that the critic sees, in cycles per voxel: from the first to the last, over this share of the steps.
FIRST, LAST, RAMP = 0.2, 0.5, 0.5


class Simulator(nn.Module):
    """Shared volumes as they would be observed: rotations ``[B, 3, 3]``, classes ``[B]`` and noise ``[B, D, H, W]`` to
    observations ``[B, 1, D, H, W]``.

    Args:
        count: The number of volumes K.
        shape: Of a volume.
        share: Of the largest ball; nothing outside of it is seen.
    """

    transfer: Tensor
    variance: Tensor
    scale: Tensor
    limit: Tensor
    seen: Tensor
    support: Tensor
    radius: Tensor

    def __init__(self, count: int, shape: tuple[int, ...], share: float) -> None:
        super().__init__()
        half = (*shape[:-1], shape[-1] // 2 + 1)
        self.volumes = nn.Parameter(torch.zeros(count, *shape))
        self.register_buffer("transfer", torch.ones(half))
        self.register_buffer("variance", torch.ones(half, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("limit", torch.tensor(LAST))
        self.register_buffer("seen", ball(shape, share), persistent=False)
        self.register_buffer("support", ball(shape, 1.0), persistent=False)
        self.register_buffer("radius", radius(shape).float(), persistent=False)

    def forward(self, rotations: Tensor, classes: Tensor, noise: Tensor) -> Tensor:
        turned = interpolate((self.volumes * self.support)[classes][:, None], rotations)
        return self.view(turned + noise[:, None], self.transfer)

    def view(self, volumes: Tensor, transfer: Tensor) -> Tensor:
        """What the critic sees of volumes ``[B, 1, D, H, W]``: filtered, up to the present limit, within the ball."""
        passed = transfer * (self.radius <= self.limit)
        return inverse(transform(volumes) * passed, volumes.shape[2:]) * self.seen


class SharedCritic(Restoration, Adversarial):
    """See ``gpgan.tasks.task.Task``."""

    config_class = CriticRunConfig
    config: CriticRunConfig
    numbers: Mapping[str, Number] = {
        **NUMBERS,
        **{name: replace(each, column="") for name, each in CRITICS.items() if name != "held_out"},
    }

    def __init__(self, config: CriticRunConfig, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(config, facts)
        self.simulator = Simulator(config.task.volumes, self.shape, config.task.ball).to(config.device)
        self.generator: nn.Module = self.simulator
        critic = modules.get("critic")
        if critic is None:
            critic = ConvCritic((1, *self.shape), config.network.critic_width)
            initialise(critic, torch.Generator().manual_seed(config.seed))
        self.critic = critic.to(config.device)
        self.modules = {"critic": self.critic, "generator": self.simulator}
        self.sampler = self.simulator
        self.objective = objectives.get(config.objective)
        self.panels = (*PANELS[:2], *adversarial_panels(config))

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> CriticRunConfig:
        return CriticRunConfig(
            data,
            steps=4000,
            batch=max(2, min(16, len(dataset))),
            n_critic=1,
            tick=100,
            snapshot=500,
            checkpoint=500,
            penalty=PenaltyConfig(weight=1.0),
            optimizer=OptimizerConfig(lr=3e-3, beta2=0.99),
            task=CriticConfig(name="cryogen-1"),
        )

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        self.observe(dataset)
        simulator, model = self.simulator, self.observed.model
        simulator.transfer.copy_(model.transfer)
        simulator.variance.copy_(model.variance)
        simulator.scale.fill_(self.observed.scale)
        self.particles = self.observed.train.whole
        self.warnings = [*self.warnings, *known_problems(self.config, self.critic), *without_effect(self.config)]
        begun = self._pose_fit(min(len(self.particles), BEGIN))
        begun.begin(torch.arange(len(begun.rotations)), self.particles[: len(begun.rotations)])
        with torch.no_grad():
            simulator.volumes.copy_(begun.volumes)
        self.prepare_round(dataset, None, processes)

    def _pose_fit(self, count: int) -> SharedVolumes:
        """Shared volumes of which only poses are asked."""
        rng = torch.Generator().manual_seed(self.config.seed)
        return SharedVolumes(self.model, self.config.task.volumes, count, rng=rng)

    @property
    def scale(self) -> float:
        return float(self.simulator.scale)

    @property
    def model(self) -> Model:
        return model_of(self.config, self.shape, self.simulator.variance)

    @property
    def samples_per_step(self) -> int:
        return self.config.n_critic * self.config.batch

    def step(self, n: int) -> dict[str, Tensor]:
        done = min(1.0, (n - 1) / max(1, RAMP * self.config.steps))
        self.simulator.limit.fill_(FIRST + (LAST - FIRST) * done)
        return Adversarial.step(self, n)

    def _draw_real(self, n: int) -> tuple[Tensor, Tensor | None]:
        turns, batch = self.config.n_critic, self.config.batch
        rows = self.order.indices((n - 1) * turns * batch, turns * batch)
        seen = self.simulator.view(
            self.particles[rows.to(self.particles.device)][:, None], self.simulator.transfer != 0
        )
        return seen.view(turns, batch, *seen.shape[1:]), None

    def given(self, real: Tensor, labels: Tensor | None) -> list[tuple[Tensor, ...]]:
        return [self._drawn(self.config.batch, self.rng) for _ in range(self.config.n_critic + 1)]

    def _drawn(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The simulator's inputs: uniform poses, classes in turn, noise as in the observations."""
        measured = self.simulator.transfer != 0
        numbers = self.simulator.volumes[0].numel()
        deviation = (self.simulator.variance[measured].mean() / numbers).sqrt().float()
        device = self.simulator.volumes.device
        rotations = random_rotations(count, 3, rng).float().to(device)
        classes = (torch.arange(count) % self.config.task.volumes).to(device)
        noise = torch.randn(count, *self.shape, generator=rng).to(device)
        return rotations, classes, deviation * noise

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        return self._drawn(count, rng)

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        return Adversarial.summarise(self, values)

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        return f"{describe_critic(numbers, self.objective.symbol)}  {Restoration.describe(self, numbers)}"

    def cure(self) -> str:
        return Adversarial.cure(self)

    @property
    def penalised(self) -> bool:  # type: ignore[override]
        return self.config.penalty.weight > 0

    def restore(self, halves: Tensor, samples: int, seed: int) -> Restored:
        fit = self._pose_fit(0)
        fit.volumes = (self.simulator.volumes * self.simulator.support).detach()
        fit.classes = torch.ones(1, self.config.task.volumes) / self.config.task.volumes
        fit.average.denominator.fill_(torch.inf)  # a critic says nothing about the volumes' own error
        found = fit.posterior(halves.mean(1), samples=max(samples, 4), seed=seed)
        return found if samples else replace(found, samples=None)

    @torch.no_grad()
    def make(self, count: int, rng: torch.Generator) -> Tensor:
        rotations, classes, _ = self._drawn(count, rng)
        return interpolate((self.simulator.volumes * self.simulator.support)[classes][:, None], rotations)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        return Adversarial.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        Adversarial.load_state_dict(self, state)

    def load_networks(self, state: Mapping[str, Any]) -> None:
        Adversarial.load_networks(self, state)
