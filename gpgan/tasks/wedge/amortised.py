"""The tasks that train a network from an observation to its volume, for particles that do not repeat and for tomograms.

The network restores one half, and is judged by the other: noise is independent, so that copying its input gains nothing
(Lehtinen et al., arXiv 1803.04189). What only the law of the observations says comes from turned and re-degraded volumes:
a critic compares them with observations (CryoGEN-I), or a transport plan does (CryoGEN-II), or they are restored again
(equivariant imaging: Chen et al., arXiv 2103.14756; IsoNet: Liu et al., doi 10.1038/s41467-022-33957-8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.data.volumes import MRC, volume_files
from gpgan.metrics.metric import Generated
from gpgan.nn.conv import ConvCritic
from gpgan.nn.initialise import initialise
from gpgan.settings.config import OptimizerConfig, PenaltyConfig
from gpgan.tasks.adversarial import NUMBERS as CRITICS
from gpgan.tasks.adversarial import Adversarial, adversarial_panels
from gpgan.tasks.average import Average
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.tasks.wedge.config import AmortisedConfig, AmortisedRunConfig
from gpgan.tasks.wedge.observed import EVEN, ODD
from gpgan.tasks.wedge.restoration import NUMBERS, PANELS, Restoration, model_of
from gpgan.util.processes import Processes
from gpgan.wedge.averaging import ball
from gpgan.wedge.baselines import signal_share
from gpgan.wedge.coupling import minibatch
from gpgan.wedge.files import read_volume
from gpgan.wedge.langevin import langevin
from gpgan.wedge.operators import interpolate, inverse, transform
from gpgan.wedge.restored import Restored
from gpgan.wedge.restorer import Restorer
from gpgan.wedge.rotations import random_rotations
from gpgan.wedge.shared import Model

# How far a Langevin step goes, in units of the step at which it would be unstable, and the number of steps.
STEP, STEPS = 0.15, 40
# How fast the estimate of the network's error forgets.
FORGET = 0.02
LOSSES = {
    "fidelity_loss": Number("Restored and filtered, against the other half"),
    "equivariance_loss": Number("Restored again after a turn"),
    "transport_loss": Number("Transport of re-degraded volumes to observations"),
    "distil_loss": Number("Against the teacher's volumes"),
    "truth_loss": Number("Against the truth"),
}
# By task: what compares re-degraded volumes with observations, and whether the truth is shown.
CRITIC, TRANSPORT = "amortised-cryogen-1", "amortised-cryogen-2"
SUPERVISED = "supervised"


class Redegraded(nn.Module):
    """Restores halves, and observes the turned restorations: ``[B, 1, D, H, W]``, rotations and noise to ``[B, 1, D, H, W]``.

    Attributes:
        restored, turned: Of the last call.
    """

    transfer: Tensor
    variance: Tensor
    error: Tensor
    scale: Tensor
    seen: Tensor

    def __init__(self, restorer: Restorer, shape: tuple[int, ...], share: float) -> None:
        super().__init__()
        half = (*shape[:-1], shape[-1] // 2 + 1)
        self.restorer = restorer
        self.register_buffer("transfer", torch.ones(half))
        self.register_buffer("variance", torch.ones(half, dtype=torch.float64))
        self.register_buffer("error", torch.ones(half))  # of the network, the power in each component
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("seen", ball(shape, share) if share else torch.ones(shape))
        self.restored = self.turned = torch.empty(0)

    def forward(self, observations: Tensor, rotations: Tensor, noise: Tensor) -> Tensor:
        self.restored = self.restorer(observations)
        self.turned = interpolate(self.restored, rotations)
        return self.observe(self.turned + noise) * self.seen

    def observe(self, volumes: Tensor) -> Tensor:
        """T, differentiable."""
        return inverse(transform(volumes) * self.transfer, volumes.shape[2:])


class Amortised(Restoration, Adversarial):
    """See ``gpgan.tasks.task.Task``."""

    config_class = AmortisedRunConfig
    config: AmortisedRunConfig

    def __init__(self, config: AmortisedRunConfig, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(config, facts)
        net, rng = config.network, torch.Generator().manual_seed(config.seed)
        restorer = Restorer(self.shape, net.width, net.depth, config.task.ball)
        initialise(restorer, rng)
        nn.init.zeros_(restorer.net.last.weight)  # so that it starts from Gerchberg and Papoulis
        self.redegraded_by = Redegraded(restorer, self.shape, config.task.ball).to(config.device)
        self.generator: nn.Module = self.redegraded_by
        critic = modules.get("critic")
        if critic is None:
            critic = ConvCritic((1, *self.shape), net.critic_width)
            initialise(critic, rng)
        self.critic = critic.to(config.device)
        self.modules = {"critic": self.critic, "generator": self.redegraded_by}
        self.sampler = self.redegraded_by.restorer
        self.objective = objectives.get(config.objective)
        self.adversarial_weight = config.task.mu if config.task.name == CRITIC else 0.0
        own = {name: each for name, each in LOSSES.items() if self._has(name)}
        self.numbers = {**NUMBERS, **own, "generator_loss": Number("Loss")}
        self.panels = [
            *PANELS,
            Panel("Losses", "weighted", tuple(Curve(name, each.label) for name, each in own.items())),
        ]
        if self.adversarial_weight:
            others = {name: replace(each, column="") for name, each in CRITICS.items() if name != "held_out"}
            self.numbers = {**self.numbers, **others}
            self.panels += list(adversarial_panels(config))
        self.teacher: Tensor | None = None

    def _has(self, name: str) -> bool:
        task = self.config.task
        return {
            "fidelity_loss": task.name != SUPERVISED,
            "equivariance_loss": task.equivariance > 0 and task.name != SUPERVISED,
            "transport_loss": task.name == TRANSPORT and task.mu > 0,
            "distil_loss": bool(task.teacher) and task.distil > 0,
            "truth_loss": task.name == SUPERVISED,
        }[name]

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> AmortisedRunConfig:
        name = str(values.get("task.name", CRITIC))
        return AmortisedRunConfig(
            data,
            steps=2000,
            batch=max(2, min(8, len(dataset))),
            n_critic=1,
            tick=50,
            snapshot=250,
            checkpoint=250,
            penalty=PenaltyConfig(weight=1.0) if name == CRITIC else PenaltyConfig(),
            optimizer=OptimizerConfig(lr=1e-3, beta1=0.5, beta2=0.99),
            # A single file is a tomogram, whose tiles are full of what is in it.
            task=AmortisedConfig(name=name, ball=0.0 if Path(data).suffix.lower() in MRC else AmortisedConfig.ball),
        )

    @classmethod
    def resolve(cls, config: AmortisedRunConfig, dataset: Dataset, processes: Processes) -> AmortisedRunConfig:
        task = config.task
        if task.name == SUPERVISED and not task.truth:
            raise ValueError("task is 'supervised' and truth is missing; expected the truth of simulated data: --truth")
        if task.name != SUPERVISED and dataset.shape[0] == 1 and not task.odd:
            raise ValueError(
                f"task is {task.name!r} and {config.data} has no halves; expected the even and the odd half of each volume: a STAR "
                "file that lists both, or --odd"
            )
        resolved: AmortisedRunConfig = super().resolve(config, dataset, processes)
        return resolved

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        self.observe(dataset)
        model, module = self.observed.model, self.redegraded_by
        module.transfer.copy_(model.transfer)
        module.variance.copy_(model.variance)
        module.scale.fill_(self.observed.scale)
        measured = model.transfer != 0
        self.half_deviation = 2**0.5 * self.observed.deviation  # the noise of a half
        whole = self.observed.train.whole
        share = signal_share(transform(whole), measured, 2 * model.variance, self.observed.train.whole.shape[1:])
        module.restorer.gain.copy_(share)
        if self.config.task.teacher:
            self.teacher = self._read_teacher()
        average = Average(self.generator, self.config.network.ema) if self.config.network.ema else None
        if average is not None:
            self.sampler = average.module.restorer  # type: ignore[assignment]
        self.prepare_round(dataset, average, processes)

    def _read_teacher(self) -> Tensor:
        """The teacher's volumes, ``[K, D, H, W]``, divided by ``scale``."""
        path, voxel = Path(self.config.task.teacher), self.config.task.voxel
        found = [(file, read_volume(file)) for file in volume_files(path)]
        for file, volume in found:
            if volume.data.shape != self.shape or abs(volume.voxel - voxel) > 1e-3 * voxel:
                raise ValueError(
                    f"teacher is {file} with {' x '.join(map(str, volume.data.shape))} voxels of {volume.voxel:g} angstroms; expected "
                    f"{' x '.join(map(str, self.shape))} of {voxel:g}, as the data has"
                )
        volumes = torch.stack([torch.from_numpy(volume.data) for _, volume in found])
        return (volumes / self.scale).to(self.config.device)

    @property
    def scale(self) -> float:
        return float(self.redegraded_by.scale)

    @property
    def model(self) -> Model:
        return model_of(self.config, self.shape, self.redegraded_by.variance)

    @property
    def samples_per_step(self) -> int:
        return self.config.n_critic * self.config.batch

    @property
    def penalised(self) -> bool:  # type: ignore[override]
        return self.adversarial_weight > 0 and self.config.penalty.weight > 0

    def step(self, n: int) -> dict[str, Tensor]:
        return Adversarial.step(self, n)

    def _draw_real(self, n: int) -> tuple[Tensor, Tensor | None]:
        turns, batch = self.config.n_critic, self.config.batch
        rows = self.order.indices((n - 1) * turns * batch, turns * batch)
        halves = self.observed.train.halves[rows.to(self.observed.train.halves.device)]
        swapped = torch.rand(len(rows), generator=self.rng) < 0.5
        if halves.shape[1] == 2:
            order = torch.where(swapped[:, None], torch.tensor([ODD, EVEN]), torch.tensor([EVEN, ODD])).to(
                halves.device
            )
            halves = halves[torch.arange(len(rows), device=halves.device)[:, None], order]
        halves = halves.view(turns, batch, *halves.shape[1:])
        truth = self.observed.train.truth
        self._truth = None if truth is None else truth[rows[-batch:].to(truth.device)][:, None]
        self._given, self._other = halves[:, :, :1], halves[:, :, -1:]
        return self._other * self.redegraded_by.seen, None

    def given(self, real: Tensor, labels: Tensor | None) -> list[tuple[Tensor, ...]]:
        inputs = [(each, *self._drawn(len(each))) for each in self._given]
        return [*inputs, inputs[-1]]

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        """Random poses and the noise of halves."""
        device = self.redegraded_by.transfer.device
        noise = torch.randn(count, 1, *self.shape, generator=self.rng).to(device)
        return random_rotations(count, 3, self.rng).float().to(device), self.half_deviation * noise

    def terms(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        task, module = self.config.task, self.redegraded_by
        restored, other = module.restored, self._other[-1]
        numbers = float((module.transfer != 0).float().mean()) * 2 * self.half_deviation**2
        found: dict[str, Tensor] = {}
        if self._has("fidelity_loss"):
            found["fidelity_loss"] = (module.observe(restored) - other).square().mean() / numbers
        if self._has("equivariance_loss"):
            turned = module.turned.detach()
            again = module.restorer(module.observe(turned + self._drawn(len(turned))[1]))
            self._learn_error(again, turned)
            found["equivariance_loss"] = task.equivariance * ((again - turned).square() * module.restorer.inside).mean()
        if self._has("transport_loss"):
            clean = (module.observe(module.turned) * module.seen).flatten(1)
            cost = torch.cdist(clean, (other * module.seen).flatten(1)).square() / (clean.shape[1] * numbers)
            plan = minibatch(-cost.detach()[:, None])[:, 0]
            found["transport_loss"] = task.mu * (plan * cost).sum() / len(clean)
        if self._has("distil_loss"):
            volumes = self._taught(len(restored))
            made_again = module.restorer(module.observe(volumes + self._drawn(len(volumes))[1]))
            self._learn_error(made_again, volumes)
            found["distil_loss"] = task.distil * (made_again - volumes).square().mean()
        if self._has("truth_loss"):
            assert self._truth is not None
            self._learn_error(restored, self._truth)
            found["truth_loss"] = (restored - self._truth).square().mean()
        return found

    def _taught(self, count: int) -> Tensor:
        """The teacher's volumes in random poses, ``[count, 1, D, H, W]``."""
        assert self.teacher is not None
        chosen = torch.randint(len(self.teacher), (count,), generator=self.rng).to(self.teacher.device)
        return interpolate(self.teacher[chosen][:, None], random_rotations(count, 3, self.rng).float())

    @torch.no_grad()
    def _learn_error(self, made: Tensor, wanted: Tensor) -> None:
        """Follows the power of the network's error in each component."""
        power = transform(made - wanted).abs().square().mean((0, 1))
        self.redegraded_by.error.lerp_(power, FORGET)

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        return Adversarial.summarise(self, values)

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        words = [
            f"{name.removesuffix('_loss')} {numbers[name]:.4g}" for name in LOSSES if numbers.get(name) is not None
        ]
        return "  ".join([*words, Restoration.describe(self, numbers)])

    def cure(self) -> str:
        return Adversarial.cure(self)

    @torch.no_grad()
    def restore(self, halves: Tensor, samples: int, seed: int) -> Restored:
        """The mean over the halves' restorations; with samples, Langevin steps in Fourier space from it.

        U is ``|y - T x|^2 / 2 s^2 + |x - G(y)|^2 / 2 e``, with the power e of the network's error in each component.
        """
        was = self.sampler.training
        self.sampler.eval()
        each = [self.sampler(half[:, None]) for half in halves.unbind(1)]
        self.sampler.train(was)
        mean = torch.stack(each).mean(0)[:, 0]
        if not samples:
            return Restored(mean)
        module, rng = self.redegraded_by, torch.Generator().manual_seed(seed)
        prior = 1 / module.error.clamp_min(1e-12)
        known = torch.where(module.transfer != 0, 1 / module.variance.clamp_min(1e-300), 0.0).float()
        seen, made = torch.view_as_real(transform(halves.mean(1))), torch.view_as_real(transform(mean))
        gain, own = (known * module.transfer)[..., None], (known * module.transfer.square())[..., None]
        curvature = prior[..., None] + own
        # A component's real and imaginary part have half of its power each.
        found = [
            langevin(
                made,
                lambda x: 2 * (prior[..., None] * (x - made) + own * x - gain * seen),
                STEP / curvature,
                STEPS,
                rng,
            )[2]
            for _ in range(samples)
        ]
        volumes = torch.stack([inverse(torch.view_as_complex(each), self.shape) for each in found])
        centre = (prior * torch.view_as_complex(made) + gain[..., 0] * torch.view_as_complex(seen)) / curvature[..., 0]
        return Restored(inverse(centre, self.shape), volumes)

    @torch.no_grad()
    def make(self, count: int, rng: torch.Generator) -> Tensor:
        part = self.observed.held_out or self.observed.train
        chosen = torch.randint(len(part), (count,), generator=rng).to(part.halves.device)
        restored = self.restore(part.halves[chosen], 0, 0).mean
        return interpolate(restored[:, None], random_rotations(count, 3, rng).float().to(restored.device))[:, 0]

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        truncation: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        self.observe(data())  # what is restored
        return super().sample(count, rng, data, truncation)

    def generated(self, dataset: Dataset, count: int, seed: int) -> Generated:
        self.observe(dataset)
        return super().generated(dataset, count, seed)

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(count, 1, *self.shape, generator=rng).to(self.config.device),)

    def state_dict(self) -> dict[str, Any]:
        return Adversarial.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        Adversarial.load_state_dict(self, state)

    def load_networks(self, state: Mapping[str, Any]) -> None:
        Adversarial.load_networks(self, state)
