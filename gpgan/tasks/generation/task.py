"""The task ``generation``: from latents, and labels in a conditional run, to samples like those of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.data import Dataset
from gpgan.data.facts import Facts
from gpgan.data.kinds import kind_of
from gpgan.data.paths import Progress
from gpgan.data.split import SELECTION_FEWEST, SELECTION_SHARE, selection_size
from gpgan.metrics.metric import CriticPairs, Generated
from gpgan.metrics.registry import cheap_names
from gpgan.nn.mlp import MLPCritic, MLPGenerator
from gpgan.nn.packing import pack
from gpgan.tasks.adversarial import NUMBERS, Adversarial, adversarial_panels, describe_critic
from gpgan.tasks.average import Average
from gpgan.tasks.generation.config import Config, NetworkConfig
from gpgan.tasks.generation.defaults import for_data
from gpgan.tasks.generation.held_out import held_out_samples
from gpgan.tasks.generation.networks import build_networks, check_networks
from gpgan.tasks.generation.selection import Selection, selection_numbers, selection_panels
from gpgan.tasks.known_problems import known_problems, without_effect
from gpgan.tasks.sampling import BATCH, buffers_kept, run_sampler
from gpgan.tasks.task import Number, Panel
from gpgan.util import random_states
from gpgan.util.processes import Processes

WIDTHS = {"conv": 16, "mlp": 256, "resnet": 64}
# The number of fakes for the estimate on held-out data.
FAKES = 512
# Of the latents of the evaluations during training.
SEED = 1
# ``gpgan eval`` computes gradient norms at this many interpolates.
NORMS = 512


class Generation(Adversarial):
    """See ``gpgan.tasks.task.Task``.

    Args:
        config: Resolved.
        facts: Of the data.
        modules: The user's own: ``generator``, from latents ``[B, latent]`` (and labels ``[B]`` if the run is
            conditional) to samples, and ``critic``, from samples (and labels), or packs of them, to scores ``[B]`` or
            ``[B, 1]``; missing ones are built.
    """

    config_class = Config
    config: Config
    numbers: Mapping[str, Number] = NUMBERS

    def __init__(self, config: Config, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        self.config, self.facts, self.kind = config, facts, kind_of(facts.shape)
        self.pack, self.labelled = config.pack, config.conditional
        self.classes = len(facts.classes) if config.conditional else 0
        self.generator, self.critic = build_networks(
            config, facts.shape, self.classes, modules.get("generator"), modules.get("critic")
        )
        self.modules = {"critic": self.critic, "generator": self.generator}
        self.sampler = self.generator
        self.objective = objectives.get(config.objective)
        self.panels: Sequence[Panel] = adversarial_panels(config)
        if config.eval:
            self.numbers = {**NUMBERS, **selection_numbers(self.kind.name)}
            self.panels = [*selection_panels(self.kind.name), *self.panels]
        self.score_rises = not config.eval
        self.warnings: list[str] = []

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> Config:
        return for_data(data, dataset, values)

    @classmethod
    def resolve(cls, config: Config, dataset: Dataset, processes: Processes) -> Config:
        if config.batch % (config.pack * processes.size):
            raise ValueError(
                f"pack is {config.pack} and each of {processes.size} processes has {config.batch // processes.size} samples "
                f"of the batch; expected a batch that is a multiple of {config.pack * processes.size}"
            )
        if config.network.norm == "batch" and config.batch == config.pack * processes.size:
            raise ValueError(
                f"network.norm is 'batch' and the batch of {config.batch} is one pack of {config.pack} for "
                f"{'each process' if processes.size > 1 else 'the critic'}, which BatchNorm cannot normalise; expected a batch of {2 * config.batch} or "
                "more, or --network.norm layer"
            )
        if config.conditional and dataset.labels is None:
            raise ValueError(
                f"conditional is True and {config.data} has no labels; expected data with labels, or no --conditional"
            )
        if config.eval and dataset.selection is None:
            raise ValueError(
                f"eval is {config.eval} and {config.data} has {len(dataset.whole or dataset)} samples, too few to set some aside "
                f"for an evaluation; expected {SELECTION_SHARE * SELECTION_FEWEST} or more, or --eval 0"
            )
        net = config.network
        if net.kind == "auto":
            net = replace(net, kind=dataset.kind.network(dataset.shape))
        return replace(config, network=replace(net, width=net.width or WIDTHS[net.kind]))

    @classmethod
    def set_aside(cls, config: Config, dataset: Dataset) -> int:
        return selection_size(dataset) if config.eval else 0

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        config = self.config
        self._selection = Selection(dataset, config.device) if dataset.selection is not None else None
        check_networks(config, self.generator, self.critic, self.facts.shape, self.classes)
        self.warnings = [*known_problems(config, self.critic), *without_effect(config), *self._depth_without_effect()]
        self._held_out = held_out_samples(dataset, config)
        processes.align(self.modules.values())
        average = Average(self.generator, config.network.ema) if config.network.ema else None
        if average is not None:
            self.sampler = average.module
        self.prepare_round(dataset, average, processes)
        # Evenly spaced over the data set, which may be sorted.
        count = min(self.kind.pictured, len(dataset))
        self._reals = dataset.samples(torch.linspace(0, len(dataset) - 1, count).long())

    def _depth_without_effect(self) -> list[str]:
        net = self.config.network
        built = isinstance(self.generator, MLPGenerator) or (
            isinstance(self.critic, MLPCritic) and not net.critic_depth
        )
        if built or net.depth == NetworkConfig.depth:
            return []
        if net.kind == "mlp":
            return [f"network.depth is {net.depth} and has no effect: both networks are your own; drop it"]
        return [
            f"network.depth is {net.depth} and has no effect: network.kind is {net.kind!r}, whose depth follows from the size "
            "of the samples; drop it, or use --network.kind mlp"
        ]

    def title(self) -> str:
        return "conditional " * self.config.conditional + f"{self.config.network.kind} networks"

    def given(self, real: Tensor, labels: Tensor | None) -> list[tuple[Tensor, ...]]:
        config = self.config
        latents = self.share(torch.randn(config.n_critic + 1, config.batch, config.network.latent, generator=self.rng))
        if labels is None:
            return [(each,) for each in latents]
        return list(zip(latents, [*labels, labels[-1]], strict=True))

    def held_out(self, n: int) -> dict[str, float | None]:
        estimate = None if self._held_out is None else self.held_out_estimate(*self._held_out, n)
        return {"held_out": estimate, **(self._quality() if self.evaluates(n) else {})}

    def evaluates(self, n: int) -> bool:
        # At the first tick from each multiple on.
        config = self.config
        return config.eval > 0 and n % config.tick == 0 and n % config.eval < config.tick

    def _quality(self) -> dict[str, float | None]:
        """The quality of samples, whose latents are the same at every evaluation."""
        if self._selection is None or not self.processes.first:
            return {}
        return self._selection.measure(
            self._drawn(self._selection.count, torch.Generator().manual_seed(SEED), self.dataset.labels)
        )

    @torch.no_grad()
    def held_out_estimate(self, real: Tensor, labels: Tensor | None, step: int) -> float:
        """The objective's divergence between held-out real samples and fakes made as in training.

        All processes must call it. It changes neither random states nor the networks' buffers.
        """
        rng, batch, size = torch.Generator().manual_seed(step), self.config.batch, self.pack
        fakes: list[Tensor] = []
        reals: list[Tensor] = []
        own: tuple[Tensor, ...]
        with random_states.borrowed(), buffers_kept(self.generator), buffers_kept(self.critic), self.casting():
            for start in range(0, FAKES, batch):
                latents = self.share(torch.randn(batch, self.config.network.latent, generator=rng), 0)
                rows = self.share(torch.arange(start, start + batch) % len(real), 0)
                own = () if labels is None else (labels[rows],)
                fakes.append(self.critic(pack(self.generator(latents, *own).float(), size), *own))
                if self.objective.paired:
                    reals.append(self.critic(pack(real[rows], size), *own))
            if not self.objective.paired:  # every held-out sample, once
                own = () if labels is None else (labels,)
                # A copy, which the critic may change in place.
                reals.append(self.critic(pack(real[: len(real) // size * size].clone(), size), *own))
        estimate = self.objective.estimate(torch.cat(reals).double(), torch.cat(fakes).double())
        return float(self.processes.mean(estimate.cpu()))

    def score(self, numbers: Mapping[str, float | None]) -> float | None:
        if self.config.eval:
            return numbers.get(cheap_names(self.kind.name)[0])
        held_out, estimate = numbers["held_out"], numbers["estimate"]
        assert estimate is not None
        return estimate if held_out is None else held_out

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        words = describe_critic(numbers, self.objective.symbol, self.apart)
        first = cheap_names(self.kind.name)[0]
        return words if numbers.get(first) is None else f"{words}  {first} {numbers[first]:.4g}"

    def signature(self) -> dict[str, Any]:
        return {"latent": self.config.network.latent}

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        latents = torch.randn(count, self.config.network.latent, generator=rng)
        return self._with_labels(latents.to(self.config.device))

    def _with_labels(self, latents: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """Latents and, in a conditional run, labels ``[count]``; by default the classes in turn."""
        if not self.classes:
            return (latents,)
        if labels is None:
            labels = torch.arange(len(latents), device=latents.device) % self.classes
        return latents, labels

    def picture(self, path: Path, seed: int, title: str) -> None:
        inputs = self.inputs(self.kind.pictured, torch.Generator().manual_seed(seed))
        critic = self.critic if not self.labelled and self.pack == 1 else None
        self.kind.draw(path, run_sampler(self.sampler, inputs), self._reals, critic, title)

    def reals(self, path: Path) -> None:
        self.kind.draw(path, self._reals, self._reals, None, "Real samples")

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        truncation: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        latents = torch.randn(count, self.config.network.latent, generator=rng)
        if truncation is not None:  # Brock et al., arXiv 1809.11096, section 3.1
            torch.nn.init.trunc_normal_(latents, a=-truncation, b=truncation, generator=rng)
        inputs = self._with_labels(latents)
        return inputs, run_sampler(self.sampler, inputs, BATCH)

    def convert(self, source: Path, out: Path, progress: Progress) -> list[str]:
        raise ValueError(
            f"input is {str(source)!r}, and this run makes samples from latents; expected no --input, or a run of a task that "
            "takes inputs, such as superresolve"
        )

    def note(self) -> str:
        return f"classes in turn: {', '.join(self.facts.classes)}" if self.classes else ""

    def draw(self, path: Path, inputs: tuple[Tensor, ...], samples: Tensor, title: str) -> None:
        self.kind.draw(path, samples, None, None, title)

    def generated(self, dataset: Dataset, count: int, seed: int) -> Generated:
        rng = torch.Generator().manual_seed(seed)
        samples = self._drawn(count, rng, dataset.labels)
        return Generated(samples, critic=self._pairs(dataset, count, rng))

    def _drawn(self, count: int, rng: torch.Generator, labels: Tensor | None) -> Tensor:
        """Samples ``[count, ...]``; in a conditional run their classes are as frequent as in ``labels``."""
        latents = torch.randn(count, self.config.network.latent, generator=rng)
        if labels is not None:
            labels = labels[torch.randint(len(labels), (count,), generator=rng)]
        return run_sampler(self.sampler, self._with_labels(latents, labels), BATCH)

    def _pairs(self, dataset: Dataset, count: int, rng: torch.Generator) -> CriticPairs:
        """Real and generated samples for the critic, of the same classes as in training; held out, if there are such."""
        held_out, classes = dataset.held_out, dataset.held_out_labels
        if held_out is None or len(held_out) < self.pack or (self.classes and classes is None):
            held_out, classes = None, dataset.labels
        total = len(dataset) if held_out is None else len(held_out)
        # Whole packs, at least one.
        chosen = torch.randperm(total, generator=rng)
        chosen = chosen[: max(min(total, count, NORMS) // self.pack, 1) * self.pack]
        real = dataset.samples(chosen) if held_out is None else dataset.scaled(held_out[chosen])
        labels = classes[chosen] if self.classes and classes is not None else None
        latents = torch.randn(len(chosen), self.config.network.latent, generator=rng)
        fake = run_sampler(self.sampler, self._with_labels(latents, labels), BATCH)
        own = () if labels is None else (labels,)
        return CriticPairs(
            self.critic, pack(real, self.pack), pack(fake, self.pack), own, objective=self.config.objective
        )
