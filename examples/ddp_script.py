"""WGAN-GP on handwritten digits with several processes: torchrun --nproc-per-node=2 examples/ddp_script.py

The critic's update is a CriticStep with a process group: one call that averages the gradients once, which is the fastest way.
The generator is in DistributedDataParallel. Any number of processes that divides the batch gives the same training, up to
rounding."""
# ruff: noqa: T201

import argparse
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import gpgan

BATCH, LATENT, N_CRITIC = 64, 16, 5


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


def train(steps: int, device: torch.device) -> None:
    rank, processes = dist.get_rank(), dist.get_world_size()
    if BATCH % processes:
        raise SystemExit(
            f"the number of processes is {processes}; expected a divisor of the batch, {BATCH}, so that all shares are equal"
        )
    # With the same seed every process makes the same networks and draws the random numbers of the whole batch, of which it uses
    # every processes-th. DistributedDataParallel would send the generator's weights; nothing sends the bare critic's.
    torch.manual_seed(0)

    def own(batch: Tensor) -> Tensor:
        return batch[rank::processes].to(device)

    data = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)  # [1797, 64] in [-1, 1]
    generator, critic = nn.Sequential(mlp(LATENT, 64), nn.Tanh()).to(device), mlp(64, 1).to(device)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.0, 0.9))
    parallel = DistributedDataParallel(generator)
    critic_step = gpgan.CriticStep(critic, critic_optimizer, process_group=dist.group.WORLD)

    for step in range(1, steps + 1):
        for _ in range(N_CRITIC):
            real = own(data[torch.randint(len(data), (BATCH,))])
            with torch.no_grad():
                fake = generator(own(torch.randn(BATCH, LATENT)))
            seen = critic_step(real, fake, alpha=own(torch.rand(BATCH)))
        critic.requires_grad_(False)
        generator_loss = -critic(parallel(own(torch.randn(BATCH, LATENT)))).mean()
        generator_optimizer.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()
        critic.requires_grad_(True)
        if step in (1, steps) or step % max(1, steps // 10) == 0:
            means = torch.stack([seen.wasserstein, seen.penalty]) / processes
            dist.all_reduce(means)
            if rank == 0:
                print(f"step {step:5d}  wasserstein {means[0]:.6f}  penalty {means[1]:.6f}", flush=True)
    if rank == 0:
        print(critic_step.plan)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="generator steps")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        train(arguments.steps, device)
    finally:
        dist.destroy_process_group()
