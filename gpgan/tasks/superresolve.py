"""The task ``superresolve``: enlarges images with an L1 loss and a critic of real images.

L1 alone gives an average of all images that a small one may come from, which is blurred. The critic favours images that
could be real (Ledig et al., SRGAN, arXiv 1609.04802); here it has a gradient penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.data import Dataset
from gpgan.data.degrade import downscale, upscale
from gpgan.data.drawing import image_groups, write_image
from gpgan.data.facts import Facts
from gpgan.data.images import read_image
from gpgan.data.kinds import KINDS_BY_NAME, SMALL, kind_of
from gpgan.data.paths import Progress, files_under, skipped_line
from gpgan.metrics.evaluate import evaluate
from gpgan.metrics.metric import Evaluation, Generated
from gpgan.metrics.registry import RESTORATION
from gpgan.metrics.sample_set import SampleSet
from gpgan.nn.conv import ConvCritic
from gpgan.nn.initialise import SLOPE, initialise
from gpgan.settings.config import AdversarialConfig, OptimizerConfig, TaskConfig, check, number, text, whole
from gpgan.settings.merging import flatten, settings_of
from gpgan.tasks.adversarial import NUMBERS, Adversarial, adversarial_panels, describe_estimate
from gpgan.tasks.average import Average
from gpgan.tasks.known_problems import known_problems, without_effect
from gpgan.tasks.own_modules import check_output
from gpgan.tasks.sampling import BATCH, run_sampler
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.util.errors import first_line
from gpgan.util.processes import Processes

# Held-out images for the numbers of a tick, and triples in a picture.
HELD_OUT, PICTURED = 256, 24
# The settings that only a run with a critic uses; a penalty of weight 0 is in place without one.
CRITICS = (
    *("objective", "weight_clip", "network.critic_width"),
    *("penalty.points", "penalty.target", "penalty.one_sided", "penalty.lazy"),
)
# The metrics of a tick.


@dataclass(frozen=True)
class NetworkConfig:
    """The residual network that enlarges images, and its critic."""

    width: int = whole(32, "channels of the generator", 1, 1024)
    depth: int = whole(4, "residual blocks of the generator", 1, 64)
    critic_width: int = whole(8, "the critic's channels at full size", 1, 1024)
    ema: float = number(0.999, "decay of the generator's average, used to sample; 0: none", 0, 1)

    def __post_init__(self) -> None:
        check(self, "network.")


@dataclass(frozen=True)
class SuperResolutionConfig(TaskConfig):
    name: str = text("superresolve", "what is trained", "NAME")
    scale: int = whole(2, "factor by which the sides are enlarged", 2, 8)
    critic: float = number(0.01, "weight of the critic's loss, added to L1; 0: L1 alone", 0)


@dataclass(frozen=True)
class Config(AdversarialConfig):
    """A run that trains a network to enlarge images."""

    task: SuperResolutionConfig = field(default_factory=SuperResolutionConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


class Enlarger(nn.Module):
    """Images ``[B, C, h, w]`` in [-1, 1] to ``[B, C, scale h, scale w]``: bicubic interpolation plus a learnt residual.

    Residual blocks at the small size, as in EDSR (Lim et al., arXiv 1707.02921); then nearest-neighbour upsampling and
    a convolution, which avoids checkerboard artefacts. Images may have any size.
    """

    def __init__(self, channels: int, scale: int, width: int, depth: int) -> None:
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(depth)
        )
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        for block in self.blocks:
            features = features + block(features)
        repeated = features.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        added: Tensor = self.last(self.smooth(repeated))
        return upscale(images, self.scale) + added


class SuperResolution(Adversarial):
    """See ``gpgan.tasks.task.Task``.

    Args:
        config: Resolved.
        facts: Of the data, whose images are the ground truth.
        modules: The user's own: ``generator``, from ``[B, C, H / scale, W / scale]`` to ``[B, C, H, W]``, and
            ``critic``, from that to scores ``[B]``; missing ones are built.
    """

    config_class = Config
    config: Config
    free_axes: Sequence[int] = (2, 3)

    def __init__(self, config: Config, facts: Facts, modules: Mapping[str, nn.Module]) -> None:
        self.config, self.facts = config, facts
        self.scale, self.adversarial_weight = config.task.scale, config.task.critic
        channels, height, width = facts.shape
        self.small = (channels, height // self.scale, width // self.scale)
        net, rng = config.network, torch.Generator().manual_seed(config.seed)
        generator, critic = modules.get("generator"), modules.get("critic")
        if generator is None:
            generator = Enlarger(channels, self.scale, net.width, net.depth)
            initialise(generator, rng)
            nn.init.zeros_(generator.last.weight)  # so that it starts as plain interpolation
        if critic is None:
            critic = ConvCritic(facts.shape, net.critic_width)
            initialise(critic, rng)
        self.generator, self.critic = generator.to(config.device), critic.to(config.device)
        self.modules = {"critic": self.critic, "generator": self.generator}
        self.sampler = self.generator
        self.numbers, self.panels = _numbers(config), _panels(config)
        self.warnings: list[str] = []

    @classmethod
    def defaults(cls, data: str, dataset: Dataset, values: Mapping[str, Any]) -> Config:
        count = len(dataset)
        return Config(
            data,
            steps=4000,
            batch=max(2, min(32, count)),
            threads=1 if dataset.kind.name == "images" and dataset.stored[0].numel() <= SMALL else 0,
            tick=50,
            n_critic=1,
            optimizer=OptimizerConfig(lr=1e-3, beta1=0.5),
        )

    @classmethod
    def resolve(cls, config: Config, dataset: Dataset, processes: Processes) -> Config:
        shape, scale = dataset.shape, config.task.scale
        if dataset.kind.name != "images":
            raise ValueError(
                f"task is 'superresolve' and {config.data} holds {dataset.kind.name} of shape {shape}; expected images"
            )
        if shape[1] % scale or shape[2] % scale:
            raise ValueError(
                f"task.scale is {scale} and images have {shape[1]} x {shape[2]} pixels; expected a scale that divides both, or a "
                "different --size"
            )
        return config

    def prepare(self, dataset: Dataset, processes: Processes) -> None:
        example = torch.zeros(2, *self.small, device=self.config.device)
        with torch.no_grad():
            check_output("generator", run_sampler(self.generator, (example,)), (2, *self.facts.shape))
            truths = torch.zeros(2, *self.facts.shape, device=self.config.device)
            check_output("critic", run_sampler(self.critic, (truths,)), (2,))
        if self.adversarial_weight:
            self.warnings = [*known_problems(self.config, self.critic), *without_effect(self.config)]
        else:
            self.warnings = [*self._without_critic(), *without_effect(self.config)]
        processes.align(self.modules.values())
        average = Average(self.generator, self.config.network.ema) if self.config.network.ema else None
        if average is not None:
            self.sampler = average.module
        self.prepare_round(dataset, average, processes)

    def _without_critic(self) -> list[str]:
        given, usual = flatten(settings_of(self.config)), flatten(settings_of(Config()))
        idle = [name.replace("_", "-") for name in CRITICS if given[name] != usual[name]]
        if not idle:
            return []
        return [
            f"task.critic is 0, so that no critic is trained, which leaves {' and '.join(idle)} without effect; use a weight "
            "above 0, or drop them"
        ]

    def title(self) -> str:
        channels, height, width = self.small
        judged = f"L1 and a critic of weight {self.adversarial_weight:g}" if self.adversarial_weight else "L1"
        return f"super-resolution from {channels} x {height} x {width} with {judged}"

    def given(self, real: Tensor, labels: Tensor | None) -> list[tuple[Tensor, ...]]:
        small = [(downscale(each, self.scale),) for each in real]
        return [*small, small[-1]]

    def terms(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        return {"l1_loss": (made.float() - real).abs().mean()}

    def held_out(self, n: int) -> dict[str, float | None]:
        if self.dataset.held_out is None:
            return {}
        made = self.generated(self.dataset, HELD_OUT, self.config.seed)
        assert made.truths is not None
        compared = Evaluation(SampleSet(made.samples), SampleSet(made.truths), truths=made.truths)
        return {name: each.score for name, each in evaluate(compared, names=RESTORATION).items()}

    def score(self, numbers: Mapping[str, float | None]) -> float:
        psnr, l1 = numbers.get("psnr"), numbers["l1_loss"]
        assert l1 is not None
        return l1 if psnr is None else -psnr

    def describe(self, numbers: Mapping[str, float | None]) -> str:
        words = f"L1 {numbers['l1_loss']:.4f}"
        if numbers.get("psnr") is not None:
            words += f"  PSNR {numbers['psnr']:.2f} dB  SSIM {numbers['ssim']:.3f}"
        if numbers.get("detail") is not None:
            words += f"  detail {numbers['detail']:.2f}"
        estimate = numbers.get("estimate")
        if estimate is not None:
            words += "  " + describe_estimate(self.objective.symbol, estimate, self.apart)
        if numbers.get("norm_mean") is not None:
            words += f"  |grad| {numbers['norm_mean']:.3f}"
        return words

    def signature(self) -> dict[str, Any]:
        return {"input": list(self.small), "scale": self.scale}

    def inputs(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand(count, *self.small, generator=rng).mul(2).sub(1).to(self.config.device),)

    def picture(self, path: Path, seed: int, title: str) -> None:
        pairs = self.generated(self.dataset, PICTURED, seed)
        assert pairs.truths is not None
        small = downscale(pairs.truths, self.scale)
        image_groups(path, {"input": small, "output": pairs.samples, "truth": pairs.truths})

    def reals(self, path: Path) -> None:
        kind = kind_of(self.facts.shape)
        count = min(kind.pictured, len(self.dataset))
        kind.draw(path, self.dataset.samples(torch.linspace(0, len(self.dataset) - 1, count).long()))

    def sample(
        self,
        count: int,
        rng: torch.Generator,
        data: Callable[[], Dataset],
        truncation: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        if truncation is not None:
            raise ValueError(
                f"truncation is {truncation:g}, and super-resolution has no latents to truncate; expected no --truncation"
            )
        small = downscale(_held_out(data(), count, rng), self.scale)
        return (small,), self._enlarge(small)

    def convert(self, source: Path, out: Path, progress: Progress) -> list[str]:
        if not source.is_dir():
            raise ValueError(f"input is {str(source)!r}, which is not a folder; expected a folder of images")
        names = [name for name in files_under(source) if name.lower().endswith(KINDS_BY_NAME["images"].suffixes)]
        skipped: list[str] = []
        # Of images that differ in their suffix alone, each keeps its own.
        files = [Path(name).with_suffix(".png") for name in names]
        files = [
            file if files.count(file) == 1 else Path(f"{name}.png") for file, name in zip(files, names, strict=True)
        ]
        for done, (name, file) in enumerate(zip(names, files, strict=True), 1):
            try:
                image = read_image(source / name, self.small[0], self.facts.scale, self.facts.offset)
            except Exception as error:  # each format's parser fails in its own ways
                skipped.append(skipped_line(name, first_line(error)))
            else:
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                write_image(out / file, self._enlarge(image[None])[0])
            progress(done, len(names))
        if len(skipped) == len(names):
            first = f" (the first is {skipped[0]})" if skipped else ""
            raise ValueError(f"{source} has no image that can be read{first}; expected a folder of images")
        return skipped

    def note(self) -> str:
        return ""

    def draw(self, path: Path, inputs: tuple[Tensor, ...], samples: Tensor, title: str) -> None:
        image_groups(path, {"input": inputs[0], "output": samples})

    def generated(self, dataset: Dataset, count: int, seed: int) -> Generated:
        truths = _held_out(dataset, count, torch.Generator().manual_seed(seed)).to(self.config.device)
        samples = self._enlarge(downscale(truths, self.scale))
        return Generated(samples, truths)

    def _enlarge(self, small: Tensor) -> Tensor:
        return run_sampler(self.sampler, (small,), BATCH).clamp(-1, 1)


def _held_out(dataset: Dataset, count: int, rng: torch.Generator) -> Tensor:
    """At most ``count`` random images ``[n, C, H, W]``: held out if the data has such, else from the training data."""
    total = len(dataset) if dataset.held_out is None else len(dataset.held_out)
    chosen = torch.randperm(total, generator=rng)[:count]
    return dataset.samples(chosen) if dataset.held_out is None else dataset.scaled(dataset.held_out[chosen])


def _numbers(config: Config) -> dict[str, Number]:
    own = {
        "psnr": Number("PSNR on held-out images, dB", "PSNR"),
        "ssim": Number("SSIM on held-out images", "SSIM"),
        "detail": Number("Detail on held-out images, relative to the truth", "detail"),
        "l1_loss": Number("L1"),
    }
    if not config.task.critic:
        return {**own, "generator_loss": NUMBERS["generator_loss"]}
    critics = {name: replace(each, column="") for name, each in NUMBERS.items() if name != "held_out"}
    return {**own, "adversarial_loss": Number("The critic's part of the generator's loss"), **critics}


def _panels(config: Config) -> list[Panel]:
    _, norm, losses = adversarial_panels(config)
    restored = [
        Panel("PSNR on held-out images", "dB", (Curve("psnr", "PSNR"),)),
        Panel(
            "SSIM and detail on held-out images",
            "1: equal to the truth",
            (Curve("ssim", "SSIM"), Curve("detail", "detail")),
            level=(1.0, "truth"),
        ),
    ]
    if not config.task.critic:
        return [*restored, Panel("Loss", "L1", (Curve("l1_loss", "L1"),))]
    own = (Curve("l1_loss", "L1"), Curve("adversarial_loss", "critic's part"), *losses.curves[::2])
    return [*restored, norm, replace(losses, curves=own)]
