"""WGAN-GP on handwritten digits in plain PyTorch. --penalty own uses the function that most scripts contain, --penalty gpgan
the drop-in. Nothing else differs, and the training is the same up to rounding."""
# ruff: noqa: T201

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import gpgan

BATCH, LATENT, N_CRITIC = 64, 16, 5


def own_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    alpha = torch.rand(len(real), 1, device=real.device)
    points = (alpha * real + (1 - alpha) * fake).requires_grad_()
    scores = critic(points)
    (grads,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
    return 10 * ((grads.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


PENALTIES = {"own": own_penalty, "gpgan": gpgan.gradient_penalty}


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


def train(penalty_name: str, steps: int) -> None:
    torch.manual_seed(0)
    data = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)  # [1797, 64] in [-1, 1]
    generator, critic = nn.Sequential(mlp(LATENT, 64), nn.Tanh()), mlp(64, 1)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.0, 0.9))
    gradient_penalty = PENALTIES[penalty_name]

    for step in range(1, steps + 1):
        for _ in range(N_CRITIC):
            real = data[torch.randint(len(data), (BATCH,))]
            fake = generator(torch.randn(BATCH, LATENT)).detach()
            wasserstein = critic(real).mean() - critic(fake).mean()
            penalty = gradient_penalty(critic, real, fake)
            critic_optimizer.zero_grad()
            (penalty - wasserstein).backward()
            critic_optimizer.step()
        generator_loss = -critic(generator(torch.randn(BATCH, LATENT))).mean()
        generator_optimizer.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()
        if step in (1, steps) or step % max(1, steps // 10) == 0:
            print(f"step {step:5d}  wasserstein {wasserstein.item():.6f}  penalty {penalty.item():.6f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penalty", choices=PENALTIES, default="gpgan")
    parser.add_argument("--steps", type=int, default=2000, help="generator steps")
    arguments = parser.parse_args()
    train(arguments.penalty, arguments.steps)
