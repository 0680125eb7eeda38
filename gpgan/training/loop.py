"""WGAN-GP: Gulrajani et al., arXiv 1704.00028, algorithm 1."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpgan.data import Dataset
from gpgan.penalty import gradient_penalty
from gpgan.training.config import Config
from gpgan.training.interrupt import Interrupt
from gpgan.training.recorder import Recorder
from gpgan.training.setup import cpu_threads
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
    betas = (config.optimizer.beta1, config.optimizer.beta2)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=config.optimizer.lr, betas=betas)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=config.optimizer.lr, betas=betas)

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
            for optimizer in (generator_optimizer, critic_optimizer):
                _set_lr(optimizer, config, step)

            for _ in range(config.n_critic):
                real = draw_real()
                with torch.no_grad():
                    fake = generator(draw_latents(config.batch))
                penalty, norms = gradient_penalty(
                    critic,
                    real,
                    fake,
                    weight=config.penalty.weight,
                    target=config.penalty.target,
                    one_sided=config.penalty.one_sided,
                    generator=rng,
                    impl=config.impl,
                    return_norms=True,
                )
                real_scores, fake_scores = critic(torch.cat([real, fake])).chunk(2)
                wasserstein = real_scores.mean() - fake_scores.mean()
                critic_loss = penalty - wasserstein
                critic_optimizer.zero_grad()
                critic_loss.backward()
                critic_optimizer.step()
                meter.add(critic_loss=critic_loss, wasserstein=wasserstein, penalty=penalty)
                meter.add(norm_mean=norms.mean(), norm_max=norms.amax())

            # The critic's weights need no gradient here; its input does.
            critic.requires_grad_(False)
            generator_loss = -critic(generator(draw_latents(config.batch))).mean()
            generator_optimizer.zero_grad()
            generator_loss.backward()
            generator_optimizer.step()
            critic.requires_grad_(True)
            meter.add(generator_loss=generator_loss)

            last = step == config.steps or interrupt.asked
            stats = None
            if last or step % config.tick == 0:
                images = step * config.n_critic * config.batch
                stats = Stats(step, images, round(time.monotonic() - begun, 3), **meter.read())
                _check_finite(stats)
                recorder.tick(stats)
            if last or step % config.snapshot == 0:
                recorder.snapshot(step, generator, critic, fixed)
            watch(step, stats)
            if last:
                break
        recorder.end(generator, critic, draw_latents(recorder.count))
    return step == config.steps


def _set_lr(optimizer: torch.optim.Optimizer, config: Config, step: int) -> None:
    """The learning rate of a step, falling linearly from lr towards 0 where the decay is on."""
    left = 1 - (step - 1) / config.steps if config.optimizer.decay else 1.0
    for group in optimizer.param_groups:
        group["lr"] = config.optimizer.lr * left


def _check_finite(stats: Stats) -> None:
    for name in ("critic_loss", "generator_loss"):
        value = getattr(stats, name)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value} at step {stats.step}; lower --optimizer.lr (or check --penalty.weight)"
            )
