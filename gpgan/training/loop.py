"""WGAN-GP: Gulrajani et al., arXiv 1704.00028, algorithm 1."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpgan.critic_step import CriticStep
from gpgan.data import Dataset
from gpgan.penalty import Penalty
from gpgan.threads import cpu_threads
from gpgan.training.config import Config
from gpgan.training.interrupt import Interrupt
from gpgan.training.recorder import Recorder
from gpgan.training.stats import Meter, Stats

Watch = Callable[[int, Stats | None], None]


def train(
    config: Config, dataset: Dataset, generator: nn.Module, critic: nn.Module, recorder: Recorder, watch: Watch
) -> bool:
    """Trains both networks in place and records the run; False where an interrupt ended it early, with all saved.

    Args:
        config: As ``prepare`` returns it.
        dataset: Real samples.
        generator: Latents ``[B, latent]`` to samples, on ``config.device``.
        critic: Samples to scores ``[B]``, on ``config.device``.
        recorder: Writes the run directory.
        watch: Called after every step with its number, and with the statistics where a tick ends.

    Raises:
        FloatingPointError: A loss is no longer finite.
    """
    rng = torch.Generator(config.device).manual_seed(config.seed)
    samples = dataset.samples.to(config.device)
    betas = config.optimizer.beta1, config.optimizer.beta2
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=config.optimizer.lr, betas=betas)
    # Lazy regularisation's correction: Karras et al., arXiv 1912.04958, appendix B.
    lazy = config.penalty.lazy
    ratio = lazy / (lazy + 1) if lazy > 1 else 1.0
    critic_optimizer = torch.optim.Adam(
        critic.parameters(), lr=config.optimizer.lr * ratio, betas=(betas[0] ** ratio, betas[1] ** ratio)
    )
    critic_step = CriticStep(
        critic,
        critic_optimizer,
        penalty=Penalty(
            weight=config.penalty.weight,
            target=config.penalty.target,
            one_sided=config.penalty.one_sided,
            impl=config.impl,
        ),
        lazy=lazy,
    )

    def draw_real() -> Tensor:
        return samples[torch.randint(len(samples), (config.batch,), device=config.device, generator=rng)]

    def draw_latents(count: int) -> Tensor:
        return torch.randn(count, config.network.latent, device=config.device, generator=rng)

    fixed = draw_latents(recorder.count)
    meter = Meter()
    with Interrupt() as interrupt, cpu_threads(config.threads):
        recorder.begin(samples, generator, critic, fixed)
        begun = time.monotonic()
        for step in range(1, config.steps + 1):
            left = 1 - (step - 1) / config.steps if config.optimizer.decay else 1.0
            _set_lr(generator_optimizer, config.optimizer.lr * left)
            _set_lr(critic_optimizer, config.optimizer.lr * ratio * left)

            for _ in range(config.n_critic):
                real = draw_real()
                with torch.no_grad():
                    fake = generator(draw_latents(config.batch))
                stats = critic_step(real, fake, generator=rng)
                meter.add(critic_loss=stats.loss, wasserstein=stats.wasserstein, penalty=stats.penalty)
                meter.add(norm_mean=stats.norm_mean, norm_max=stats.norm_max)

            # The critic's weights need no gradient here; its input does.
            critic.requires_grad_(False)
            generator_loss = -critic(generator(draw_latents(config.batch))).mean()
            generator_optimizer.zero_grad()
            generator_loss.backward()
            generator_optimizer.step()
            critic.requires_grad_(True)
            meter.add(generator_loss=generator_loss)

            last = step == config.steps or interrupt.asked
            line = None
            if last or step % config.tick == 0:
                images = step * config.n_critic * config.batch
                line = Stats(step, images, round(time.monotonic() - begun, 3), **meter.read())
                _check_finite(line)
                recorder.tick(line)
            if last or step % config.snapshot == 0:
                recorder.snapshot(step, generator, critic, fixed)
            watch(step, line)
            if last:
                break
        recorder.end(generator, critic, draw_latents(recorder.count))
    return step == config.steps


def _set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _check_finite(stats: Stats) -> None:
    for name in ("critic_loss", "generator_loss"):
        value = getattr(stats, name)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value} at step {stats.step}; lower --optimizer.lr (or check --penalty.weight)"
            )
