"""One generator step after its critic steps: Gulrajani et al., arXiv 1704.00028, algorithm 1, for any objective.

All tasks that train against a critic share it. They differ in the generator's input, in the samples that count as real,
and in an optional extra loss.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.critic.common import CriticStats
from gpgan.critic.step import CriticStep
from gpgan.data import Dataset
from gpgan.data.order import Order
from gpgan.nn.packing import pack
from gpgan.objectives.objective import loss_of
from gpgan.penalty import Penalty
from gpgan.settings.config import AdversarialConfig, OptimizerConfig
from gpgan.tasks.average import Average
from gpgan.tasks.task import Curve, Number, Panel
from gpgan.tasks.updates import descend, load_optimizer, verdict
from gpgan.torch_private import batch_norms
from gpgan.util.frozen import frozen
from gpgan.util.processes import Processes

# The name of the critic's term in the generator's loss.
VERDICT = "adversarial_loss"
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Data sets of at most this many bytes as float32 are scaled in advance and kept on the device.
READY = {"cpu": 2**26, "cuda": 2**31}
# By the setting penalty.points.
WHERE = {
    "between": "at the interpolates",
    "real": "at real samples",
    "fake": "at fake samples",
    "both": "at real and fake samples",
    "noisy": "at noisy real samples",
}
# Steps after which the schedule "inverse-sqrt" has divided the learning rate by the square root of 2.
TIMESCALE = 5000
NUMBERS = {
    "critic_loss": Number("Critic loss"),
    "generator_loss": Number("Generator loss"),
    "estimate": Number("Critic's estimate, training data", "estimate"),
    "held_out": Number("Critic's estimate, held-out data", "held out"),
    "penalty": Number("Gradient penalty"),
    "norm_mean": Number("Gradient norm, mean", "|grad|"),
    "norm_std": Number("Gradient norm, standard deviation"),
    "norm_max": Number("Gradient norm, largest"),
}


class Adversarial(abc.ABC):
    """Trains a generator and its critic in place, one generator step per call of ``step``.

    All processes of a run draw the same random numbers and use their own share of them, so that the number of processes
    changes only the rounding. The exception is DRAGAN's noise, which each process draws for itself.

    A subclass sets ``config``, ``generator`` and ``critic`` in its constructor, and defines the generator's inputs.

    Attributes:
        pack: The number of samples that the critic sees at once.
        labelled: Whether the critic takes the labels of the real samples.
        adversarial_weight: The weight of the critic's term in the generator's loss; 0: no critic is trained.
    """

    config: AdversarialConfig
    numbers: Mapping[str, Number]
    generator: nn.Module
    critic: nn.Module
    pack = 1
    labelled = False
    adversarial_weight = 1.0
    free_axes: Sequence[int] = ()
    score_rises = True

    @abc.abstractmethod
    def given(self, real: Tensor, labels: Tensor | None) -> Sequence[tuple[Tensor, ...]]:
        """The generator's inputs for each critic step and, last, for its own step.

        If the last two are one object, the generator runs once for both: its weights do not change between them.

        Args:
            real: ``[n_critic, B, ...]``, this process's share of the real samples.
            labels: ``[n_critic, B]``, or None.
        """

    def terms(self, made: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        """Further losses of the generator by name, weighted; ``real`` are the real samples of the last critic step."""
        return {}

    def prepare_round(self, dataset: Dataset, average: Average | None, processes: Processes) -> None:
        """Creates the optimizers, the critic step and the order of the data."""
        config, self.average, self.processes, self.dataset = self.config, average, processes, dataset
        self.objective = objectives.get(config.objective)
        self.device = torch.device(config.device)
        # A small data set is scaled once and kept on the device; else each batch is scaled as it is drawn.
        small = 4 * len(dataset) * math.prod(dataset.shape) <= READY[self.device.type]
        self.ready = dataset.samples().to(self.device) if small else None
        self.order = Order(len(dataset), config.seed)
        self.apart = largest_distance(dataset, self.pack)
        # Always on the CPU, so that a run can continue on another device.
        self.rng = torch.Generator().manual_seed(config.seed)
        self.critic_share = 1.0
        self.generator_optimizer = make_optimizer(config.optimizer, self.generator)
        self.critic_optimizer = make_optimizer(config.optimizer, self.critic)
        self.autocast = AUTOCAST[config.precision]
        scaled = config.precision == "fp16"
        self.generator_scaler = torch.amp.GradScaler(self.device.type) if scaled else None
        self.critic_scaler = torch.amp.GradScaler(self.device.type) if scaled else None
        self.clip = config.optimizer.clip or None
        # The user's own critic may have frozen layers.
        self.trained = [parameter for parameter in self.critic.parameters() if parameter.requires_grad]
        self.critic_step = CriticStep(
            self.critic,
            self.critic_optimizer,
            penalty=penalty_of(config, self.critic),
            objective=self.objective.critic,
            lazy=config.penalty.lazy if config.penalty.weight else 1,
            max_grad_norm=self.clip,
            max_weight=config.weight_clip or None,
            autocast=self.autocast,
            scaler=self.critic_scaler,
            process_group=processes.group,
        )

    @property
    def samples_per_step(self) -> int:
        return self.config.n_critic * self.config.batch

    @property
    def penalised(self) -> bool:
        return self.adversarial_weight > 0 and self.config.penalty.weight > 0

    def step(self, n: int) -> dict[str, Tensor]:
        """Does generator step n, counted from 1, after its critic steps: see ``Task.step``."""
        config = self.config
        rate = config.optimizer.lr * learning_rate_factor(config.optimizer.schedule, n - 1, config.steps)
        _set_lr(self.generator_optimizer, rate)
        _set_lr(self.critic_optimizer, rate * self.critic_share)
        # Drawn all at once: for small networks the calls themselves are the cost.
        real, labels = self._draw_real(n)
        given = self.given(real, labels)
        alpha = self.share(torch.rand(config.n_critic, config.batch // self.pack, generator=self.rng))
        stats: list[CriticStats] = []
        made: Tensor | None = None
        for turn in range(config.n_critic if self.adversarial_weight else 0):
            # Inputs that the generator's own step takes again are run once, with their graph.
            again = turn == config.n_critic - 1 and given[turn] is given[-1]
            with torch.set_grad_enabled(again), self.casting():
                fake = self.generator(*given[turn])
            made, fake = (fake, fake.detach()) if again else (None, fake)
            real_packs, fake_packs = pack(real[turn], self.pack), pack(fake.float(), self.pack)
            own = () if labels is None else (labels[turn],)
            stats.append(self.critic_step(real_packs, fake_packs, alpha=alpha[turn], critic_args=own))
        losses = self._update_generator(given[-1], made, real[-1], None if labels is None else labels[-1])
        if self.average is not None:
            self.average.update(n)
        return {**self._critic_numbers(stats), **losses}

    def _update_generator(
        self, given: tuple[Tensor, ...], made: Tensor | None, real: Tensor, labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Updates the generator; ``made`` is what it makes of ``given``, if that is known."""
        own = () if labels is None else (labels,)
        with frozen(self.trained), self.casting():
            made = self.generator(*given) if made is None else made
            terms = dict(self.terms(made, real))
            if self.adversarial_weight:
                judged = verdict(self.objective, self.critic, pack(made, self.pack), pack(real, self.pack), own)
                terms[VERDICT] = judged if self.adversarial_weight == 1 else self.adversarial_weight * judged
            loss = functools.reduce(torch.add, terms.values())
        descend(
            self.generator_optimizer,
            loss,
            max_grad_norm=self.clip,
            scaler=self.generator_scaler,
            group=self.processes.group,
        )
        # If the critic's term is the only one, it is the loss.
        parts = {} if list(terms) == [VERDICT] else {name: term.detach() for name, term in terms.items()}
        return {"generator_loss": loss.detach(), **parts}

    def _critic_numbers(self, stats: Sequence[CriticStats]) -> dict[str, Tensor]:
        if not stats:
            return {}
        own = [loss_of(each.objective, each.real_scores, each.fake_scores) for each in stats]
        numbers = {
            "critic_loss": torch.stack(
                [loss if each.penalty is None else loss + each.penalty for loss, each in zip(own, stats, strict=True)]
            ),
            "estimate": self.objective.per_loss * (self.objective.chance - torch.stack(own).double()),
        }
        penalties = [each.penalty for each in stats if each.penalty is not None]
        if penalties:  # with a lazy penalty, only some steps have one
            norms = torch.stack([each.norms for each in stats if each.norms is not None]).double()
            numbers["penalty"] = torch.stack(penalties)
            numbers["norm_mean"], numbers["norm_square"] = norms.mean(1), norms.square().mean(1)
            numbers["norm_max"] = norms.amax(1)
        return numbers

    def summarise(self, values: Mapping[str, float]) -> dict[str, float | None]:
        numbers: dict[str, float | None] = dict.fromkeys(self.numbers)
        numbers.update(values)
        square = numbers.pop("norm_square", None)
        if square is not None:
            numbers["norm_std"] = max(square - values["norm_mean"] ** 2, 0.0) ** 0.5
        return numbers

    @classmethod
    def set_aside(cls, config: Any, dataset: Dataset) -> int:
        return 0

    def evaluates(self, n: int) -> bool:
        return False

    def cure(self) -> str:
        config = self.config
        return (
            f"Lower --optimizer.lr (it is {config.optimizer.lr:g})"
            + (", clip gradients (--optimizer.clip 1)" if not config.optimizer.clip else "")
            + (", use --precision fp32" if config.precision != "fp32" else "")
            + (" or change --penalty.weight" if config.penalty.weight else "")
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, except the order of the data, which follows from seed and step."""
        state = {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "critic_step": self.critic_step.state_dict(),
            "rng": self.rng.get_state(),
        }
        for name, scaler in (("generator_scaler", self.generator_scaler), ("critic_scaler", self.critic_scaler)):
            state[name] = scaler.state_dict() if scaler is not None else {}
        state["average"] = self.average.module.state_dict() if self.average is not None else {}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        load_optimizer(self.generator_optimizer, state["generator_optimizer"])
        load_optimizer(self.critic_optimizer, state["critic_optimizer"])
        if state["critic_step"]["serial"] not in (None, True, False):
            raise ValueError(f"critic_step.serial is {state['critic_step']['serial']!r}; expected true, false or none")
        self.critic_step.load_state_dict(state["critic_step"])
        rates = {state[name]["param_groups"][0]["lr"] for name in ("critic_optimizer", "generator_optimizer")}
        if len(rates) > 1:
            self.correct_lazy()
        self.rng.set_state(state["rng"])
        for name, scaler in (("generator_scaler", self.generator_scaler), ("critic_scaler", self.critic_scaler)):
            if scaler is not None:
                if _types(state[name]) != _types(scaler.state_dict()):
                    raise ValueError(f"{name} is {state[name]}; expected numbers such as {scaler.state_dict()}")
                scaler.load_state_dict(state[name])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])

    def correct_lazy(self) -> None:
        """Gives the critic's optimizer the smaller rate and betas of StyleGAN2 (Karras et al., arXiv 1912.04958, appendix
        B), which earlier versions gave to runs with a lazy penalty. Such runs continue with them."""
        share = self.critic_share = self.config.penalty.lazy / (self.config.penalty.lazy + 1)
        for group in self.critic_optimizer.param_groups:
            for name in group.keys() & {"betas", "alpha", "momentum"}:
                value = group[name]
                group[name] = tuple(beta**share for beta in value) if name == "betas" else value**share

    def load_networks(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["average"] or state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.generator.eval().requires_grad_(False)
        self.critic.eval()

    def _draw_real(self, n: int) -> tuple[Tensor, Tensor | None]:
        """This process's real samples ``[n_critic, B, ...]`` for a generator step, and their labels or None."""
        data, turns, batch = self.dataset, self.config.n_critic, self.config.batch
        indices = self.order.indices((n - 1) * turns * batch, turns * batch).view(turns, batch)
        indices = self.processes.share(indices, 1)
        if self.ready is not None:
            real = self.ready.index_select(0, move(indices.flatten(), self.device))
        else:
            real = move(data.samples(indices.flatten()), self.device)
        real = real.view(*indices.shape, *data.shape)
        if data.labels is None or not self.labelled:
            return real, None
        return real, move(data.labels[indices], self.device)

    def share(self, drawn: Tensor, dim: int = 1) -> Tensor:
        """This process's share of a tensor that all processes drew, on the device."""
        return move(self.processes.share(drawn, dim), self.device)

    def casting(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)


def adversarial_panels(config: AdversarialConfig) -> tuple[Panel, Panel, Panel]:
    """The panels of the critic's estimate, the gradient norm and the losses."""
    objective = objectives.get(config.objective)
    penalised = config.penalty.weight > 0
    estimate = Panel(
        f"The critic's {objective.estimated}",
        objective.symbol,
        (Curve("estimate", "training data"), Curve("held_out", "held-out data")),
    )
    norm = Panel(
        f"Gradient norm {WHERE[config.penalty.points]}" if penalised else "Gradient norm",
        "|gradient of f|",
        (
            Curve("norm_max", "largest", largest=True),
            Curve("norm_mean", "mean ± standard deviation", deviation="norm_std"),
        ),
        level=(config.penalty.target, "target") if penalised else None,
        empty="no numbers yet" if penalised else "not computed without a penalty",
    )
    losses = Panel(
        "Losses",
        "loss",
        (
            Curve("critic_loss", "critic"),
            Curve("generator_loss", "generator"),
            Curve("penalty", "penalty (part of the critic's)"),
        ),
    )
    return estimate, norm, losses


def largest_distance(dataset: Dataset, pack: int = 1) -> float:
    """How far apart two packs of samples can be whose values lie in [-1, 1]; infinite for data without such a range."""
    some = dataset.samples(torch.linspace(0, len(dataset) - 1, min(16, len(dataset))).long())
    if dataset.kind.name == "points" or float(some.abs().max()) > 1:
        return math.inf
    return 2 * math.sqrt(pack * math.prod(dataset.shape))


def describe_estimate(symbol: str, estimate: float, apart: float) -> str:
    """The estimate under the symbol of its divergence, unless it is above every distance and so is none.

    Args:
        symbol: Of the objective's divergence.
        estimate: The critic's.
        apart: See ``largest_distance``.
    """
    if symbol == "W1" and estimate > apart:
        return f"estimate {estimate:.3f}, no distance: at most {apart:.1f}"
    return f"{symbol} {estimate:.3f}"


def describe_critic(numbers: Mapping[str, float | None], symbol: str, apart: float = math.inf) -> str:
    """The critic's numbers as a short text; see ``describe_estimate``."""
    held_out, estimate = numbers.get("held_out"), numbers["estimate"]
    assert estimate is not None
    words = describe_estimate(symbol, estimate, apart) + ("" if held_out is None else f" (held out {held_out:.3f})")
    if numbers["penalty"] is not None:
        words += f"  penalty {numbers['penalty']:.3f}  |grad| {numbers['norm_mean']:.3f} +- {numbers['norm_std']:.3f}"
    return words


def _types(values: Mapping[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in values.items()}


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, copied without blocking."""
    if tensor.device == device or (tensor.is_cuda and device.index is None and device.type == "cuda"):
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def make_optimizer(config: OptimizerConfig, module: nn.Module) -> torch.optim.Optimizer:
    lr, beta1, beta2 = config.lr, config.beta1, config.beta2
    if config.kind == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=lr, alpha=beta2)
    if config.kind == "sgd":
        return torch.optim.SGD(module.parameters(), lr=lr, momentum=beta1)
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(beta1, beta2), fused=True)


def penalty_of(config: AdversarialConfig, critic: nn.Module) -> Penalty | None:
    """The gradient penalty as configured; None if its weight is 0."""
    own = config.penalty
    if not own.weight:
        return None
    return Penalty(
        weight=own.weight,
        target=own.target,
        one_sided=own.one_sided,
        points=own.points,
        impl=config.impl,
        # The trainer has already warned about it.
        allow_batch_coupling=any(isinstance(module, batch_norms()) for module in critic.modules()),
    )


def learning_rate_factor(schedule: str, done: int, steps: int) -> float:
    """The learning rate after ``done`` of ``steps`` steps, relative to the initial one."""
    if schedule == "inverse-sqrt":
        return 1 / math.sqrt(1 + done / TIMESCALE)
    if schedule == "linear":
        return 1 - done / steps
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done / steps)) / 2
    return 1.0


def _set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
