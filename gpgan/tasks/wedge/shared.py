"""The tasks ``cryowgen`` and ``cryogen-2`` on shared volumes: transport plans between particles and turned volumes.

See ``gpgan.wedge.shared``. Neither has a network or a gradient: a step couples a batch of particles with candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.data.order import Order
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.tasks.wedge.config import SharedConfig, SharedRunConfig
from gpgan.tasks.wedge.restoration import NUMBERS, PANELS, Restoration, model_of
from gpgan.util.processes import Processes
from gpgan.wedge.operators import interpolate
from gpgan.wedge.restored import Restored
from gpgan.wedge.rotations import concentration, random_rotations
from gpgan.wedge.shared import Model, SharedVolumes

# The frequencies that are compared, in cycles per voxel: from the first to the last, over this share of the steps.
FIRST, LAST, RAMP = 0.16, 0.45, 0.6
# Particles in random poses whose average is the first volume.
BEGIN = 512
# Poses are far from uniform above this concentration: 0 is uniform, 1 is a single pose.
FAR = 0.2
OWN = {
    "transport_loss": Number("Cost of the plan, per component", "cost"),
    "candidates": Number("Candidates that explain a particle"),
    "own": Number("Particles that keep their pose, share"),
    "concentration": Number("Concentration of the poses, 0: uniform"),
}


class Turned(nn.Module):
    """Shared volumes, turned: rotations ``[B, 3, 3]`` and classes, int64 ``[B]``, to volumes ``[B, 1, D, H, W]``.

    Args:
        count: The number of volumes K.
        shape: Of a volume.
    """

    volumes: Tensor
    variance: Tensor
    scale: Tensor

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("volumes", torch.zeros(count, *shape))
        self.register_buffer("variance", torch.ones(*shape[:-1], shape[-1] // 2 + 1, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def forward(self, rotations: Tensor, classes: Tensor) -> Tensor:
        return interpolate(self.volumes[classes][:, None], rotations)


class SharedPlan(Restoration):
    """See ``gpgan.tasks.task.Task``."""

    config_class = SharedRunConfig
    config: SharedRunConfig
    numbers: Mapping[str, Number] = {**NUMBERS, **OWN}
    panels = (*PANELS, Panel("Transport plan", "|y - T x|^2 / 2 s^2 per component", (Curve("transport_loss", "cost"),)))

    def __init__(self, config: SharedRunConfig, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(config, facts)
        self.turned = Turned(config.task.volumes, self.shape).to(config.device)
        self.modules = {"volumes": self.turned}
        self.sampler = self.turned
        self.rng = torch.Generator().manual_seed(config.seed)
        self._shared: SharedVolumes | None = None

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> SharedRunConfig:
        count, name = len(dataset), str(values.get("task.name", "cryowgen"))
        batch = max(2, min(64, count))
        epoch = max(1, count // batch)
        return SharedRunConfig(
            data,
            steps=12 * epoch,
            batch=batch,
            tick=2 * epoch,
            snapshot=4 * epoch,
            checkpoint=2 * epoch,
            threads=1,
            task=SharedConfig(name=name),
        )

    @classmethod
    def resolve(cls, config: SharedRunConfig, dataset: Dataset, processes: Processes) -> SharedRunConfig:
        fewest = 8 * config.task.volumes
        if len(dataset) < fewest:
            raise ValueError(
                f"task.volumes is {config.task.volumes} and {config.data} has {len(dataset)} particles to train on; expected at "
                f"least {fewest}, 8 for each volume: fewer volumes, or --amortised for tomograms without repeated particles"
            )
        resolved: SharedRunConfig = super().resolve(config, dataset, processes)
        return resolved

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        self.observe(dataset)
        self.turned.variance.copy_(self.observed.model.variance)
        self.turned.scale.fill_(self.observed.scale)
        self.order = Order(len(dataset), self.config.seed)
        self.particles = self.observed.train.whole
        self._shared = self._fit_of(self.observed.model, len(dataset))
        rows = self.order.indices(0, min(len(dataset), BEGIN))
        self._shared.begin(rows, self.particles[rows.to(self.particles.device)])
        self._show()

    def _fit_of(self, model: Model, count: int) -> SharedVolumes:
        task = self.config.task
        free = task.masses == "free" or task.volumes == 1
        return SharedVolumes(
            model,
            task.volumes,
            count,
            plan="entropic" if task.name == "cryowgen" else task.plan,
            gamma=task.gamma,
            masses=None if free else torch.full((task.volumes,), 1 / task.volumes, device=model.variance.device),
            poses=task.poses,
            rng=self.rng,
        )

    @property
    def shared(self) -> SharedVolumes:
        assert self._shared is not None
        return self._shared

    def _show(self) -> None:
        self.turned.volumes.copy_(self.shared.volumes)

    @property
    def scale(self) -> float:
        return float(self.turned.scale)

    @property
    def model(self) -> Model:
        return self.shared.model

    @torch.no_grad()
    def step(self, n: int) -> dict[str, Tensor]:
        config, count = self.config, len(self.particles)
        rows = self.order.indices((n - 1) * config.batch, config.batch)
        done = min(1.0, (n - 1) / max(1, RAMP * config.steps))
        found = self.shared.step(
            rows, self.particles[rows.to(self.particles.device)], config.batch / count, FIRST + (LAST - FIRST) * done
        )
        self._show()
        return {
            "transport_loss": found["cost"][None],
            "candidates": found["candidates"][None],
            "own": found["own"][None],
        }

    def held_out(self, n: int) -> dict[str, float | None]:
        return {**super().held_out(n), "concentration": self.concentration()}

    def concentration(self) -> float:
        """Of the poses of the most likely classes: 0 if they are uniform, 1 if all are one."""
        shared = self.shared
        best = shared.rotations[torch.arange(len(shared.rotations)), shared.classes.argmax(1)]
        return float(concentration(best))

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        words = f"cost {numbers['transport_loss']:.4f}  {super().describe(numbers)}"
        concentrated = numbers.get("concentration")
        if concentrated is not None and concentrated > FAR and numbers["own"] and numbers["own"] > 0.9:
            words += f"  poses far from uniform ({concentrated:.2f}): the wedge of the average may not be filled"
        return words

    def restore(self, halves: Tensor, samples: int, seed: int) -> Restored:
        found = self.shared.posterior(halves.mean(1), samples=max(samples, 4), seed=seed)
        return found if samples else replace(found, samples=None)

    def make(self, count: int, rng: torch.Generator) -> Tensor:
        shared = self.shared
        classes = torch.multinomial(shared.classes.mean(0), count, replacement=True, generator=rng)
        rotations = random_rotations(count, 3, rng)
        made: Tensor = self.turned(rotations.to(self.turned.volumes), classes.to(self.turned.volumes.device))
        return made[:, 0]

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        device = self.turned.volumes.device
        return (
            random_rotations(count, 3, rng).float().to(device),
            torch.zeros(count, dtype=torch.int64, device=device),
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "volumes": self.turned.state_dict(),
            "shared": self.shared.state_dict(),
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.turned.load_state_dict(state["volumes"])
        self.shared.load_state_dict(state["shared"])
        self.rng.set_state(state["rng"])

    def load_networks(self, state: Mapping[str, Any]) -> None:
        self.turned.load_state_dict(state["volumes"])
        model = model_of(self.config, self.shape, self.turned.variance)
        self._shared = self._fit_of(model, len(state["shared"]["rotations"]))
        self._shared.load_state_dict(state["shared"])
