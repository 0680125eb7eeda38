"""What all tasks that restore the missing wedge share: their data, numbers, pictures and files."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.data.paths import Progress
from gpgan.data.volumes import voxel_size
from gpgan.metrics.metric import Generated
from gpgan.metrics.transport import wasserstein1
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.tasks.wedge.observed import Observed, observed
from gpgan.tasks.wedge.pictures import draw_restored, draw_slices
from gpgan.util.processes import Processes
from gpgan.wedge.averaging import ball
from gpgan.wedge.ctf import CTF
from gpgan.wedge.observe import Observation, halves
from gpgan.wedge.operators import Filter
from gpgan.wedge.restored import Restored, scores
from gpgan.wedge.scores import LONGEST, SHORTEST
from gpgan.wedge.shared import Model

# Held-out particles that the numbers of a line are measured on, samples of the posterior of each, and particles in a picture.
MEASURED, SAMPLES, PICTURED = 24, 8, 3
NUMBERS = {
    "s": Number(f"S: wedge correlation, {LONGEST:g} to {SHORTEST:g} A", "S"),
    "wedge_correlation": Number("Wedge correlation, all frequencies"),
    "resolution": Number("FSC = 0.5, A", "FSC 0.5"),
    "resolution_143": Number("FSC = 0.143, A"),
    "wedge_resolution": Number("FSC = 0.5 in the wedge, A"),
    "within": Number("Truth within one deviation, share of the wedge"),
    "distance": Number("W1 of re-degraded volumes to held-out observations", "W1"),
    "distance_floor": Number("W1 of training observations to held-out ones"),
}
PANELS = (
    Panel(
        f"S: wedge correlation, {LONGEST:g} to {SHORTEST:g} A",
        "1: equal to the truth",
        (Curve("s", "held-out particles"),),
        empty="not known without --task.truth",
    ),
    Panel("Resolution", "FSC = 0.5, A", (Curve("resolution", "all"), Curve("wedge_resolution", "wedge alone"))),
    Panel(
        "Re-degraded volumes",
        "W1 to held-out observations",
        (Curve("distance_floor", "training observations: the floor"), Curve("distance", "re-degraded volumes")),
    ),
)


class Restoration(abc.ABC):
    """See ``gpgan.tasks.task.Task``. A subclass has networks, a step, and ``restore``.

    Args:
        config: Resolved.
        facts: Of the data, ``[C, D, H, W]``: C = 2 for halves.
        modules: The user's own networks.
    """

    config: Any
    numbers: Mapping[str, Number] = NUMBERS
    panels: Sequence[Panel] = PANELS
    modules: Mapping[str, nn.Module]
    sampler: nn.Module
    observed: Observed
    penalised = False
    score_rises = False
    free_axes: Sequence[int] = ()

    def __init__(self, config: Any, facts: Facts) -> None:
        self.config, self.facts = config, facts
        self.shape = tuple(facts.shape[1:])
        self.warnings: list[str] = []

    @abc.abstractmethod
    def restore(self, halves: Tensor, samples: int, seed: int) -> Restored:
        """Restores observations.

        Args:
            halves: ``[B, C, D, H, W]``, divided by ``scale``.
            samples: Of the posterior; 0 for none.
            seed: Same seed, same answer.
        """

    @abc.abstractmethod
    def make(self, count: int, rng: torch.Generator) -> Tensor:
        """Volumes as they were before T: turned, ``[count, D, H, W]``."""

    @property
    @abc.abstractmethod
    def scale(self) -> float:
        """The value in the files that is 1 here."""

    @property
    @abc.abstractmethod
    def model(self) -> Model:
        """T and the noise, also of a run that was opened without its data."""

    @classmethod
    def resolve(cls, config: Any, dataset: Dataset, processes: Processes) -> Any:
        if dataset.kind.name != "volumes":
            raise ValueError(
                f"task is {config.task.name!r} and {config.data} holds {dataset.kind.name} of shape {dataset.shape}; expected volumes: "
                "a STAR file, a folder of .mrc files, or a .mrc file"
            )
        if processes.size > 1:
            raise ValueError(
                f"task {config.task.name!r} runs in one process, and there are {processes.size}; expected one"
            )
        if config.precision != "fp32":
            raise ValueError(f"precision is {config.precision!r}; expected fp32 for the task {config.task.name!r}")
        channels, *shape = dataset.shape
        if channels > 2 or (channels == 2 and config.task.odd):
            more = " and odd is given" if channels == 2 else ""
            raise ValueError(
                f"{config.data} holds volumes with {channels} channels{more}; expected one channel, or the two halves of each"
            )
        if len(set(shape)) > 1 or shape[0] % 2:
            raise ValueError(
                f"{config.data} holds volumes of {' x '.join(map(str, shape))} voxels; expected cubes with an even side: crop or "
                "pad them, or cut a tomogram with --size"
            )
        wedge = config.task.wedge
        if (wedge.low, wedge.high) == (-90, 90):
            raise ValueError("tilt is -90 to 90, which has no missing wedge; expected the tilt range: --tilt MIN MAX")
        if not bool(wedge.mask(shape).flatten()[1:].any()):
            raise ValueError(
                f"tilt is {wedge.low:g} to {wedge.high:g}, which measures nothing at {shape[0]} voxels; expected a wider range"
            )
        voxel = config.task.voxel or voxel_size(Path(config.data))
        for name in ("odd", "truth"):
            path = getattr(config.task, name)
            own = voxel_size(Path(path)) if path and not config.task.voxel else voxel
            if not math.isclose(own, voxel, rel_tol=1e-3):
                raise ValueError(
                    f"{name} is {path} with voxels of {own:g} angstroms, and {config.data} has {voxel:g}; expected one size, or --voxel"
                )
        return replace(config, task=replace(config.task, voxel=voxel))

    @classmethod
    def set_aside(cls, config: Any, dataset: Dataset) -> int:
        return 0

    def observe(self, dataset: Dataset) -> None:
        """Reads the observations; a subclass calls it in ``prepare``."""
        self.dataset = dataset
        self.observed = observed(self.config, dataset)
        self.warnings = [*self.warnings, *self._mirrored(), *self._dark()]

    def _mirrored(self) -> list[str]:
        """A warning if the data rather looks like the tilt range with the opposite sign."""
        wedge, some = self.config.task.wedge, self.observed.train.whole[:64]
        if wedge.is_symmetric:
            return []
        lost = {}
        for each in (wedge, wedge.mirrored()):
            outside = some - Filter(each.mask(self.shape, some.device).float(), self.shape)(some)
            lost[each] = float(outside.square().sum() / some.square().sum())
        if lost[wedge.mirrored()] < lost[wedge] / 4:
            return [
                f"tilt is {wedge.low:g} to {wedge.high:g}, and {lost[wedge]:.0%} of the data's power lies outside of it, but only "
                f"{lost[wedge.mirrored()]:.0%} outside of the mirrored range: its program may count tilts with the opposite sign; "
                f"then use --tilt {-wedge.high:g} {-wedge.low:g}"
            ]
        return []

    def _dark(self) -> list[str]:
        """A warning if particles are darker than what is around them: other programs write density either way."""
        mean = self.observed.train.whole.mean(0)
        middle, whole = (ball(self.shape, share, mean.device) for share in (0.5, 1.0))
        inside, around = (float((part * mean).sum() / part.sum()) for part in (middle, 1 - whole))
        error = float(self.observed.train.whole.std()) / (len(self.observed.train) * float(middle.sum())) ** 0.5
        if inside < around - 5 * error:
            return [
                f"{self.config.data} is darker in the middle of its volumes than around it: density should be bright; if particles "
                "are dark, multiply the files by -1"
            ]
        return []

    @property
    def samples_per_step(self) -> int:
        return int(self.config.batch)

    def title(self) -> str:
        wedge = self.config.task.wedge
        return f"{self.config.task.name}, tilts from {wedge.low:g} to {wedge.high:g} degrees about {wedge.axis}"

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        return {**dict.fromkeys(self.numbers), **values}

    def held_out(self, n: int) -> dict[str, float | None]:
        part = self.observed.held_out
        if part is None:
            return {}
        count = min(len(part), MEASURED)
        found: dict[str, float | None] = dict(self.distances(n))
        if part.truth is not None:
            restored = self.restore(part.halves[:count], SAMPLES, self.config.seed)
            found.update(scores(restored, part.truth[:count], self.config.task.wedge, self.config.task.voxel))
        return found

    def distances(self, n: int) -> dict[str, float]:
        """W1 of re-degraded volumes to held-out observations, and that of training observations, its floor."""
        part, train = self.observed.held_out, self.observed.train.whole
        assert part is not None
        real = part.whole
        count = min(len(real), len(train))
        rng = torch.Generator().manual_seed(n)
        made = self.redegraded(count, rng).mean(1)
        others = train[torch.randperm(len(train), generator=rng)[:count].to(train.device)]
        return {
            "distance": wasserstein1(made.flatten(1), real[:count].flatten(1)),
            "distance_floor": wasserstein1(others.flatten(1), real[:count].flatten(1)),
        }

    def redegraded(self, count: int, rng: torch.Generator) -> Tensor:
        """T of turned volumes with the noise of the observations: halves ``[count, 2, D, H, W]``."""
        model = self.model
        filtered = Filter(model.transfer, self.shape)
        measured = model.transfer != 0
        deviation = float((model.variance[measured].mean() / math.prod(self.shape)).sqrt())
        return torch.stack(halves(self.make(count, rng), filtered, deviation, rng), 1)

    def evaluates(self, n: int) -> bool:
        return False

    def score(self, numbers: Mapping[str, float | None]) -> float | None:
        s = numbers.get("s")
        return numbers.get("distance") if s is None else -s

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        words = []
        if numbers.get("s") is not None:
            words.append(f"S {numbers['s']:.3f}")
            if numbers.get("resolution") is not None:
                words.append(f"FSC 0.5 at {numbers['resolution']:.0f} A")
        if numbers.get("distance") is not None:
            words.append(f"W1 {numbers['distance']:.4g} (floor {numbers['distance_floor']:.4g})")
        return "  ".join(words)

    def signature(self) -> dict[str, Any]:
        return {"voxel": self.config.task.voxel}

    def picture(self, path: Path, seed: int, title: str) -> None:
        part = self.observed.held_out or self.observed.train
        chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:PICTURED]
        some = part.halves[chosen.to(part.halves.device)]
        volumes = {"observed": some.mean(1), "restored": self.restore(some, 0, seed).mean}
        if part.truth is not None:
            volumes["truth"] = part.truth[chosen.to(part.truth.device)]
        draw_restored(path, volumes, self.config.task.wedge, self.config.task.voxel, title)

    def reals(self, path: Path) -> None:
        some = self.observed.train.whole[:PICTURED]
        draw_slices(path, {"observed": some}, self.config.task.voxel, "Observations")

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        truncation: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        if truncation is not None:
            raise ValueError(
                f"truncation is {truncation:g}, and {self.config.task.name} has no latents to truncate; expected no --truncation"
            )
        made = self.make(count, rng)[:, None]
        return (), self._scaled(made)

    def _scaled(self, values: Tensor) -> Tensor:
        """Values that were divided by ``scale``, as samples of the data set."""
        return (values * self.scale - self.facts.offset) / self.facts.scale

    def convert(self, source: Path, out: Path, progress: Progress) -> list[str]:
        raise ValueError(
            f"input is {str(source)!r}; expected gpgan wedge restore for a run of the task {self.config.task.name}"
        )

    def note(self) -> str:
        return ""

    def draw(self, path: Path, inputs: tuple[Tensor, ...], samples: Tensor, title: str) -> None:
        draw_slices(path, {"": samples[:, 0]}, self.config.task.voxel, title)

    def generated(self, dataset: Dataset, count: int, seed: int) -> Generated:
        made = self.redegraded(count, torch.Generator().manual_seed(seed))
        return Generated(self._scaled(made if self.facts.shape[0] == 2 else made.mean(1, keepdim=True)))

    def cure(self) -> str:
        return "Check the data for outliers, and the tilt range"


def model_of(config: Any, shape: tuple[int, ...], variance: Tensor) -> Model:
    """The model of a saved run's observations, from its settings and its noise."""
    task = config.task
    ctf = CTF(task.defocus) if task.defocus else None
    filtered = Observation(task.wedge, ctf, task.voxel).filter(shape, variance.device)
    transfer = None if ctf is None else ctf.transfer(shape, task.voxel).to(variance.device)
    return Model(task.wedge, filtered.transfer.float(), transfer, variance, shape)
