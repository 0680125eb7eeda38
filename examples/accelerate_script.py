"""WGAN-GP on handwritten digits under Hugging Face Accelerate, with one process or several:

python examples/accelerate_script.py
torchrun --nproc-per-node=2 examples/accelerate_script.py          or, on GPUs, accelerate launch --num_processes 2 ...
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gpgan

BATCH, LATENT, N_CRITIC = 64, 16, 5


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


def train(steps: int) -> tuple[nn.Module, nn.Module]:
    """Returns the trained generator and critic, unwrapped."""
    # Without cpu=True, on a machine without a GPU, Accelerate treats each process as the only one.
    # With split_batches all processes together use BATCH samples per step, whatever their number.
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(), dataloader_config=DataLoaderConfiguration(split_batches=True)
    )
    accelerator.print(f"processes: {accelerator.num_processes}")
    set_seed(0, device_specific=True)  # each process draws its own latents and alphas
    data = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)  # [1797, 64] in [-1, 1]
    generator, critic = nn.Sequential(mlp(LATENT, 64), nn.Tanh()), mlp(64, 1)
    generator, critic, generator_optimizer, critic_optimizer, batches = accelerator.prepare(
        generator,
        critic,
        torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9)),
        torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.0, 0.9)),
        DataLoader(TensorDataset(data), BATCH, shuffle=True, drop_last=True),
    )

    critic_steps = 0
    while critic_steps < steps * N_CRITIC:
        for (real,) in batches:
            fake = generator(torch.randn(len(real), LATENT, device=real.device)).detach()
            wasserstein = critic(real).mean() - critic(fake).mean()
            # The critic may be in DistributedDataParallel, as it is here with several processes. The gradient with respect to
            # the points is computed within this process and needs no communication. The penalty joins the other terms in one
            # loss, and that loss's one backward averages the gradients of the parameters. With a backward for each term only
            # the first one's gradients would be averaged.
            penalty = gpgan.gradient_penalty(critic, real, fake)
            critic_optimizer.zero_grad()
            accelerator.backward(penalty - wasserstein)
            critic_optimizer.step()

            critic_steps += 1
            step, rest = divmod(critic_steps, N_CRITIC)
            if rest:
                continue
            # The bare critic: DistributedDataParallel would average gradients of its weights that this step does not use.
            bare = accelerator.unwrap_model(critic).requires_grad_(False)
            generator_loss = -bare(generator(torch.randn(len(real), LATENT, device=real.device))).mean()
            generator_optimizer.zero_grad()
            accelerator.backward(generator_loss)
            generator_optimizer.step()
            bare.requires_grad_(True)
            if step in (1, steps) or step % max(1, steps // 10) == 0:
                seen = accelerator.reduce(torch.stack([wasserstein.detach(), penalty.detach()]), "mean").tolist()
                accelerator.print(f"step {step:5d}  wasserstein {seen[0]:.6f}  penalty {seen[1]:.6f}")
            if step == steps:
                break
    accelerator.end_training()
    return accelerator.unwrap_model(generator), accelerator.unwrap_model(critic)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="generator steps")
    train(parser.parse_args().steps)
