"""The settings of papers, by name."""

from __future__ import annotations

from typing import Any

# Each sets everything that its paper calls the method; the rest comes from the defaults for the data.
PRESETS: dict[str, dict[str, Any]] = {
    # The defaults for the data.
    "auto": {},
    # Goodfellow et al., arXiv 1406.2661; batch and momentum as in its published code for MNIST. Its learning rate is
    # 0.1, for much smaller initial weights; here 0.1 diverges, and so does 0.02 on 28x28 images.
    "gan": {
        "objective": "minimax",
        "n_critic": 1,
        "batch": 100,
        "penalty.weight": 0.0,
        "optimizer.kind": "sgd",
        "optimizer.lr": 0.005,
        "optimizer.beta1": 0.5,
    },
    # The same paper's non-saturating generator loss, with the optimizer of Radford et al., arXiv 1511.06434, section 4.
    "nsgan": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 128,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    },
    # Arjovsky et al., arXiv 1701.07875, algorithm 1; beta2 is PyTorch's default, as in its published code.
    "wgan": {
        "objective": "wasserstein",
        "n_critic": 5,
        "batch": 64,
        "weight_clip": 0.01,
        "penalty.weight": 0.0,
        "optimizer.kind": "rmsprop",
        "optimizer.lr": 5e-5,
        "optimizer.beta2": 0.99,
    },
    # Gulrajani et al., arXiv 1704.00028, algorithm 1 and section 5.
    "wgan-gp": {
        "objective": "wasserstein",
        "steps": 100_000,
        "n_critic": 5,
        "batch": 64,
        "network.latent": 128,
        "penalty.weight": 10.0,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
        "optimizer.schedule": "linear",
    },
    # The toy problems of the same paper, with the settings of its published code.
    "wgan-gp-toy": {
        "objective": "wasserstein",
        "steps": 100_000,
        "n_critic": 5,
        "batch": 256,
        "network.kind": "mlp",
        "network.latent": 2,
        "network.width": 512,
        "penalty.weight": 0.1,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.9,
        "optimizer.schedule": "constant",
    },
    # Petzka et al., arXiv 1709.08894: WGAN-GP's penalty, one-sided, with that paper's optimizer.
    "wgan-lp": {
        "objective": "wasserstein",
        "n_critic": 5,
        "batch": 64,
        "penalty.weight": 10.0,
        "penalty.one_sided": True,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
    # Kodali et al., arXiv 1705.07215, with the settings of its published code.
    "dragan": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 128,
        "penalty.weight": 10.0,
        "penalty.points": "noisy",
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.9,
    },
    # Mao et al., arXiv 1611.04076, section 4.
    "lsgan": {
        "objective": "least-squares",
        "n_critic": 1,
        "batch": 64,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    },
    # Miyato et al., arXiv 1802.05957, section 4: the hinge loss of its residual networks.
    "sngan": {
        "objective": "hinge",
        "n_critic": 5,
        "batch": 64,
        "network.spectral_norm": True,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
    # Karras et al., arXiv 1812.04948, appendix C (R1 with gamma 10), lazy as in arXiv 1912.04958, appendix B.
    "stylegan-r1": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 32,
        "penalty.weight": 5.0,
        "penalty.target": 0.0,
        "penalty.points": "real",
        "penalty.lazy": 16,
        "optimizer.lr": 1e-3,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.99,
    },
    # Huang et al., arXiv 2501.05441: R1 and R2, whose gamma the paper tunes per data set.
    "r3gan": {
        "objective": "relativistic",
        "n_critic": 1,
        "batch": 256,
        "penalty.weight": 1.0,
        "penalty.target": 0.0,
        "penalty.points": "both",
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
    # L1 and a critic with a gradient penalty; Ledig et al., arXiv 1609.04802, use a content loss and a critic without
    # one.
    "superresolve": {
        "task.name": "superresolve",
        "task.critic": 0.01,
        "objective": "wasserstein",
        "penalty.weight": 10.0,
    },
}


def presets_of(task: str) -> list[str]:
    """The presets that a task accepts."""
    return [name for name, values in PRESETS.items() if name == "auto" or values.get("task.name", "generation") == task]
