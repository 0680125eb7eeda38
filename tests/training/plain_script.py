"""A hand-written training loop for any objective and constraint, and networks for comparing with it."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Smooth(nn.Module):
    """Linear, tanh, linear; with labels, a bias per class. Nothing amplifies rounding: there is no kink and, in a critic, no
    last bias, whose gradient is only rounding."""

    def __init__(self, inputs, outputs, classes, last_bias):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 8), nn.Linear(8, outputs, bias=last_bias)
        self.table = nn.Linear(classes, 8, bias=False) if classes else None

    def forward(self, x, labels=None):
        hidden = self.first(x)
        if self.table is not None:
            hidden = hidden + self.table(F.one_hot(labels, self.table.in_features).float())
        return self.last(hidden.tanh())


def smooth_generator(latent, shape, classes=0):
    return Smooth(latent, *shape, classes, last_bias=True)


def smooth_critic(shape, classes=0):
    critic = Smooth(*shape, 1, classes, last_bias=False)
    with torch.no_grad():  # scores on both sides of 1 and -1, the kinks of hinge
        critic.last.weight *= 4
    return critic


# Functions of real scores r and fake scores f: the critic's loss, the generator's, and the divergence from the critic's.
LOSSES = {
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean(), lambda loss: -loss),
    "minimax": (
        lambda r, f: -F.logsigmoid(r).mean() - F.logsigmoid(-f).mean(),
        lambda r, f: F.logsigmoid(-f).mean(),
        lambda loss: math.log(2) - loss / 2,
    ),
    "non-saturating": (
        lambda r, f: -F.logsigmoid(r).mean() - F.logsigmoid(-f).mean(),
        lambda r, f: -F.logsigmoid(f).mean(),
        lambda loss: math.log(2) - loss / 2,
    ),
    "least-squares": (
        lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
        lambda r, f: ((f - 1) ** 2).mean() / 2,
        lambda loss: 1 - 4 * loss,
    ),
    "hinge": (
        lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(),
        lambda r, f: -f.mean(),
        lambda loss: 1 - loss / 2,
    ),
    "relativistic": (
        lambda r, f: -F.logsigmoid(r - f).mean(),
        lambda r, f: -F.logsigmoid(f - r).mean(),
        lambda loss: math.log(2) - loss,
    ),
}


def packed(samples, m):
    """Each m consecutive samples as one, joined by channels."""
    return torch.cat([samples[i::m] for i in range(m)], 1)


def optimizer_of(config, parameters):
    own = config.optimizer
    if own.kind == "adam":
        return torch.optim.Adam(parameters, lr=own.lr, betas=(own.beta1, own.beta2))
    if own.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=own.lr, alpha=own.beta2)
    return torch.optim.SGD(parameters, lr=own.lr, momentum=own.beta1)


class Script:
    """A hand-written training loop, starting from the networks of a trainer that has not begun."""

    def __init__(self, trainer):
        self.config = config = trainer.config
        self.generator, self.critic = copy.deepcopy((trainer.generator, trainer.critic))
        data = trainer.dataset
        shuffled = torch.randperm(len(data.held_out), generator=torch.Generator().manual_seed(config.seed))
        self.real, self.held_out = data.samples(), data.scaled(data.held_out)[shuffled]
        self.labels = (data.labels, data.held_out_labels[shuffled]) if config.conditional else None
        self.lazy = config.penalty.lazy if config.penalty.weight else 1
        self.generator_optimizer = optimizer_of(config, self.generator.parameters())
        self.critic_optimizer = optimizer_of(config, self.critic.parameters())
        self.rng = torch.Generator().manual_seed(config.seed)
        epochs = [np.random.default_rng((config.seed, epoch)).permutation(len(self.real)) for epoch in range(9)]
        self.rows, self.turns = torch.from_numpy(np.concatenate(epochs)), 0
        self.losses = LOSSES[config.objective]

    def run(self):
        """The lines of stats.jsonl of every step."""
        torch.manual_seed(self.config.seed)
        return [self.step(number) for number in range(1, self.config.steps + 1)]

    def step(self, number):
        config, m = self.config, self.config.pack
        rate = config.optimizer.lr * (1 - (number - 1) / config.steps if config.optimizer.schedule == "linear" else 1)
        self.generator_optimizer.param_groups[0]["lr"] = rate
        self.critic_optimizer.param_groups[0]["lr"] = rate
        latents = torch.randn(config.n_critic + 1, config.batch, config.network.latent, generator=self.rng)
        alpha = torch.rand(config.n_critic, config.batch // m, generator=self.rng)
        totals, estimates, penalties, norms = [], [], [], []
        for turn in range(config.n_critic):
            rows = self.rows[self.turns * config.batch : (self.turns + 1) * config.batch]
            own = () if self.labels is None else (self.labels[0][rows],)
            x, y = packed(self.real[rows], m), packed(self.generator(latents[turn], *own).detach(), m)
            loss = self.losses[0](self.critic(x, *own).flatten(), self.critic(y, *own).flatten())
            estimates.append(self.losses[2](loss).item())
            if config.penalty.weight and self.turns % self.lazy == 0:
                penalty, norm = self.penalty(x, y, alpha[turn], own)
                loss = loss + penalty
                penalties.append(penalty.item())
                norms += norm.tolist()
            totals.append(loss.item())
            self.update(self.critic_optimizer, self.critic, loss)
            with torch.no_grad():
                for parameter in self.critic.parameters():
                    if config.weight_clip:
                        parameter.copy_(parameter.clamp(-config.weight_clip, config.weight_clip))
            self.turns += 1
        f = self.critic(packed(self.generator(latents[-1], *own), m), *own).flatten()
        r = self.critic(x, *own).flatten() if config.objective == "relativistic" else None
        loss = self.losses[1](r, f)
        self.update(self.generator_optimizer, self.generator, loss)
        return {
            "critic_loss": np.mean(totals),
            "generator_loss": loss.item(),
            "estimate": np.mean(estimates),
            "held_out": self.estimate(number),
            "penalty": np.mean(penalties) if penalties else None,
            "norm_mean": np.mean(norms) if norms else None,
            "norm_std": np.std(norms) if norms else None,
            "norm_max": max(norms) if norms else None,
        }

    def penalty(self, x, y, alpha, own):
        config = self.config.penalty
        alpha = alpha.view(-1, *[1] * (x.dim() - 1))
        noisy = x + 0.5 * x.std(correction=0) * torch.rand(x.shape) if config.points == "noisy" else None
        points = {
            "between": lambda: alpha * x + (1 - alpha) * y,
            "real": lambda: x.clone(),
            "fake": lambda: y.clone(),
            "both": lambda: torch.cat([x, y]),
            "noisy": lambda: alpha * x + (1 - alpha) * noisy,
        }[config.points]().requires_grad_()
        labels = [torch.cat([each, each]) if config.points == "both" else each for each in own]
        (slopes,) = torch.autograd.grad(self.critic(points, *labels).sum(), points, create_graph=True)
        norms = slopes.flatten(1).norm(dim=1)
        excess = (norms - config.target).clamp(min=0) if config.one_sided else norms - config.target
        return self.lazy * config.weight * (excess**2).mean(), norms.detach()

    def update(self, optimizer, module, loss):
        module.zero_grad()
        loss.backward()
        if self.config.optimizer.clip:
            nn.utils.clip_grad_norm_(module.parameters(), self.config.optimizer.clip)
        optimizer.step()

    @torch.no_grad()
    def estimate(self, number):
        """The estimate on held-out data, with copies of both networks."""
        generator, critic = copy.deepcopy((self.generator, self.critic))
        config, m, rng = self.config, self.config.pack, torch.Generator().manual_seed(number)
        reals, fakes = [], []
        for start in range(0, 512, config.batch):
            rows = torch.arange(start, start + config.batch) % len(self.held_out)
            own = () if self.labels is None else (self.labels[1][rows],)
            latents = torch.randn(config.batch, config.network.latent, generator=rng)
            fakes.append(critic(packed(generator(latents, *own), m), *own).flatten())
            if config.objective == "relativistic":  # one real sample per fake one
                reals.append(critic(packed(self.held_out[rows], m), *own).flatten())
        if config.objective != "relativistic":
            own = () if self.labels is None else (self.labels[1],)
            reals.append(critic(packed(self.held_out[: len(self.held_out) // m * m], m), *own).flatten())
        return self.losses[2](self.losses[0](torch.cat(reals).double(), torch.cat(fakes).double())).item()
