"""WGAN-GP on handwritten digits as a LightningModule: manual optimization, with the penalty as a term of the critic's loss."""

import argparse

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gpgan

BATCH, LATENT, N_CRITIC = 64, 16, 5


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


class WGAN(lightning.LightningModule):
    """Every batch is a critic step; every N_CRITIC-th is followed by a generator step."""

    def __init__(self) -> None:
        super().__init__()
        # Lightning's automatic optimization does not support two optimizers in turn, each with its own number of steps.
        self.automatic_optimization = False
        self.generator, self.critic = nn.Sequential(mlp(LATENT, 64), nn.Tanh()), mlp(64, 1)
        self.critic_steps = 0

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        parts = self.generator, self.critic
        return [torch.optim.Adam(part.parameters(), lr=5e-4, betas=(0.0, 0.9)) for part in parts]

    def training_step(self, batch: list[Tensor], batch_index: int) -> None:
        generator_optimizer, critic_optimizer = self.optimizers()
        (real,) = batch
        self.critic_steps += 1

        # With bf16-mixed Lightning runs this method under autocast, and networks return bfloat16. The samples are converted to
        # the data's dtype, which the penalty requires, and the scores are averaged in it. Norms and penalty are float32.
        fake = self.generator(torch.randn(len(real), LATENT, device=self.device)).detach().to(real.dtype)
        wasserstein = (self.critic(real) - self.critic(fake)).to(real.dtype).mean()
        penalty = gpgan.gradient_penalty(self.critic, real, fake)
        critic_optimizer.zero_grad()
        self.manual_backward(penalty - wasserstein)
        critic_optimizer.step()

        step, rest = divmod(self.critic_steps, N_CRITIC)
        if rest:
            return
        self.toggle_optimizer(generator_optimizer)  # this step needs no gradients of the critic's weights
        generator_loss = -self.critic(self.generator(torch.randn(len(real), LATENT, device=self.device))).mean()
        generator_optimizer.zero_grad()
        self.manual_backward(generator_loss)
        generator_optimizer.step()
        self.untoggle_optimizer(generator_optimizer)
        steps = self.trainer.max_steps // (N_CRITIC + 1)
        if step in (1, steps) or step % max(1, steps // 10) == 0:
            self.print(f"step {step:5d}  wasserstein {wasserstein.item():.6f}  penalty {penalty.item():.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="generator steps")
    parser.add_argument("--precision", default="32-true", help="Lightning's: 32-true, bf16-mixed")
    arguments = parser.parse_args()
    lightning.seed_everything(0, verbose=False)
    data = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)  # [1797, 64] in [-1, 1]
    loader = DataLoader(TensorDataset(data), BATCH, shuffle=True, drop_last=True)
    trainer = lightning.Trainer(
        # With manual optimization Lightning counts the steps of every optimizer: N_CRITIC + 1 per generator step.
        max_steps=arguments.steps * (N_CRITIC + 1),
        max_epochs=-1,
        precision=arguments.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(WGAN(), loader)


if __name__ == "__main__":
    main()
