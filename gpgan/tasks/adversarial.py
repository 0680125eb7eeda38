"""One generator step, its critic steps first: Gulrajani et al., arXiv 1704.00028, algorithm 1, for any objective."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gpgan import objectives
from gpgan.critic.common import CriticStats
from gpgan.critic.optimizer import average_gradients, update
from gpgan.critic.step import CriticStep
from gpgan.data import Dataset
from gpgan.data.order import Order
from gpgan.nn.packing import pack
from gpgan.penalty import Penalty
from gpgan.settings.config import Config, OptimizerConfig
from gpgan.tasks.average import Average
from gpgan.torch_private import batch_norms
from gpgan.util import random_states
from gpgan.util.processes import Processes

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# So many fakes are made for the estimate on held-out data.
FAKES = 512
# Bytes of samples that are kept ready as float32.
READY = {"cpu": 2**26, "cuda": 2**31}


class Round:
    """Trains both networks in place, one generator step a call.

    All processes of a run draw the same random numbers and take their own share of them, so that their number changes
    nothing but the rounding. DRAGAN's noise is the exception: each process draws its own.

    Args:
        config: With nothing left open.
        dataset: Real samples.
        generator: Latents ``[B, latent]`` (and labels ``[B]``) to samples, on the device.
        critic: Samples (and labels) to scores ``[B]``, on the device; of packs of samples where there are such.
        average: Of the generator; None for none.
        processes: Those of the run.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        generator: nn.Module,
        critic: nn.Module,
        average: Average | None,
        processes: Processes,
    ) -> None:
        self.config, self.generator, self.critic, self.average = config, generator, critic, average
        self.objective = objectives.get(config.objective)
        self.device, self.processes = torch.device(config.device), processes
        self.dataset = dataset
        # Scaled once and on the device, where they take little room: else each batch as it is drawn.
        small = 4 * len(dataset) * math.prod(dataset.shape) <= READY[self.device.type]
        self.ready = dataset.samples().to(self.device) if small else None
        self.order = Order(len(dataset), config.seed)
        # On the CPU whatever the device is, so that a run can go on on another.
        self.rng = torch.Generator().manual_seed(config.seed)
        # Lazy regularisation's correction: Karras et al., arXiv 1912.04958, appendix B.
        lazy = config.penalty.lazy if config.penalty.weight else 1
        self.ratio = lazy / (lazy + 1) if lazy > 1 else 1.0
        self.generator_optimizer = make_optimizer(config.optimizer, generator)
        self.critic_optimizer = make_optimizer(config.optimizer, critic, self.ratio)
        self.autocast = AUTOCAST[config.precision]
        scaled = config.precision == "fp16"
        self.generator_scaler = torch.amp.GradScaler(self.device.type) if scaled else None
        self.critic_scaler = torch.amp.GradScaler(self.device.type) if scaled else None
        self.clip = config.optimizer.clip or None
        # A critic of the user's own may have layers that are not to be trained.
        self.trained = [parameter for parameter in critic.parameters() if parameter.requires_grad]
        self.critic_step = CriticStep(
            critic,
            self.critic_optimizer,
            penalty=penalty_of(config, critic),
            objective=self.objective.critic,
            lazy=lazy,
            max_grad_norm=self.clip,
            max_weight=config.weight_clip or None,
            autocast=self.autocast,
            scaler=self.critic_scaler,
            process_group=processes.group,
        )

    def __call__(self, step: int) -> tuple[list[CriticStats], Tensor]:
        """Generator step number ``step``, counted from 1: what its critic steps saw, and the generator's loss (0-d)."""
        config = self.config
        rate = config.optimizer.lr * schedule(config.optimizer.schedule, step - 1, config.steps)
        _set_lr(self.generator_optimizer, rate)
        _set_lr(self.critic_optimizer, rate * self.ratio)
        # All at once: on small networks each call costs as much as what it draws.
        real, labels = self._draw_real(step)
        latents = self._share(torch.randn(config.n_critic + 1, config.batch, config.network.latent, generator=self.rng))
        alpha = self._share(torch.rand(config.n_critic, config.batch // config.pack, generator=self.rng))
        stats = []
        own: tuple[Tensor, ...] = ()
        for turn in range(config.n_critic):
            own = () if labels is None else (labels[turn],)
            with torch.no_grad(), self._casting():
                fake = self.generator(latents[turn], *own)
            real_packs, fake_packs = pack(real[turn], config.pack), pack(fake.float(), config.pack)
            stats.append(self.critic_step(real_packs, fake_packs, alpha=alpha[turn], critic_args=own))

        # The critic's weights need no gradient here; its input does.
        _require_gradients(self.trained, False)
        with self._casting():
            fake_scores = self.critic(pack(self.generator(latents[-1], *own), config.pack), *own)
            real_scores = self.critic(real_packs, *own) if self.objective.paired else None
            loss = self.objective.generator_loss(real_scores, fake_scores)
        self.generator_optimizer.zero_grad()
        torch.autograd.backward(loss if self.generator_scaler is None else self.generator_scaler.scale(loss))
        if self.processes.group is not None:
            average_gradients(self.generator_optimizer, self.processes.group)
        update(self.generator_optimizer, self.clip, self.generator_scaler)
        _require_gradients(self.trained, True)
        if self.average is not None:
            self.average.update(step)
        return stats, loss.detach()

    @torch.no_grad()
    def held_out_estimate(self, real: Tensor, labels: Tensor | None, step: int) -> float:
        """The objective's divergence with real samples that were not trained on, and fakes as training makes them.

        All processes must call it. It leaves no trace: neither in random states nor in a network's buffers.
        """
        rng, batch, size = torch.Generator().manual_seed(step), self.config.batch, self.config.pack
        fakes: list[Tensor] = []
        reals: list[Tensor] = []
        own: tuple[Tensor, ...]
        with (
            random_states.borrowed(),
            _buffers_kept(self.generator),
            _buffers_kept(self.critic),
            self._casting(),
        ):
            for start in range(0, FAKES, batch):
                latents = self._share(torch.randn(batch, self.config.network.latent, generator=rng), 0)
                rows = self._share(torch.arange(start, start + batch) % len(real), 0)
                own = () if labels is None else (labels[rows],)
                fakes.append(self.critic(pack(self.generator(latents, *own).float(), size), *own))
                if self.objective.paired:
                    reals.append(self.critic(pack(real[rows], size), *own))
            if not self.objective.paired:  # all of them, as often as one another
                own = () if labels is None else (labels,)
                reals.append(self.critic(pack(real[: len(real) // size * size], size), *own))
        estimate = self.objective.estimate(torch.cat(reals).double(), torch.cat(fakes).double())
        return float(self.processes.mean(estimate.cpu()))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on. The order of the data follows from seed and step alone."""
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
        """Goes on where the round that gave ``state`` stood."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.critic_step.load_state_dict(state["critic_step"])
        self.rng.set_state(state["rng"])
        for name, scaler in (("generator_scaler", self.generator_scaler), ("critic_scaler", self.critic_scaler)):
            if scaler is not None:
                scaler.load_state_dict(state[name])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])

    def _draw_real(self, step: int) -> tuple[Tensor, Tensor | None]:
        """Real samples ``[n_critic, B, ...]`` of a generator step, this process's share, and their labels, where wanted."""
        data, turns, batch = self.dataset, self.config.n_critic, self.config.batch
        indices = self.order.indices((step - 1) * turns * batch, turns * batch).view(turns, batch)
        indices = self.processes.share(indices, 1)
        if self.ready is not None:
            real = self.ready.index_select(0, _move(indices.flatten(), self.device))
        else:
            real = _move(data.samples(indices.flatten()), self.device)
        real = real.view(*indices.shape, *data.shape)
        if data.labels is None or not self.config.conditional:
            return real, None
        return real, _move(data.labels[indices], self.device)

    def _share(self, drawn: Tensor, dim: int = 1) -> Tensor:
        return _move(self.processes.share(drawn, dim), self.device)

    def _casting(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)


@contextlib.contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Gives a module's buffers back as they were before the block."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, without waiting for it."""
    if tensor.device == device or (tensor.is_cuda and device.index is None and device.type == "cuda"):
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def make_optimizer(config: OptimizerConfig, module: nn.Module, ratio: float = 1.0) -> torch.optim.Optimizer:
    """The optimizer of a network, its rate times ``ratio`` and what it remembers of a step to the power of it."""
    lr, beta1, beta2 = config.lr * ratio, config.beta1**ratio, config.beta2**ratio
    if config.kind == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=lr, alpha=beta2)
    if config.kind == "sgd":
        return torch.optim.SGD(module.parameters(), lr=lr, momentum=beta1)
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(beta1, beta2), fused=True)


def penalty_of(config: Config, critic: nn.Module) -> Penalty | None:
    """The gradient penalty as configured; None where its weight is 0."""
    own = config.penalty
    if not own.weight:
        return None
    return Penalty(
        weight=own.weight,
        target=own.target,
        one_sided=own.one_sided,
        points=own.points,
        impl=config.impl,
        # The trainer warns of it before it starts.
        allow_batch_coupling=any(isinstance(module, batch_norms()) for module in critic.modules()),
    )


def schedule(name: str, done: int, steps: int) -> float:
    """The share of the first learning rate that is left after ``done`` of ``steps`` steps."""
    if name == "linear":
        return 1 - done / steps
    if name == "cosine":
        return (1 + math.cos(math.pi * done / steps)) / 2
    return 1.0


def _require_gradients(parameters: list[nn.Parameter], wanted: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def _set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
