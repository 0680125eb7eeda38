"""The labs' training loops: their random state, what they train, and what they leave unchanged."""

import pytest
import torch
from torch import nn

from gpgan import Penalty
from gpgan.labs import LABS, load
from gpgan.labs.lab import span
from gpgan.labs.training import perceptron, train_critic, train_gan


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(shift):
    return lambda batch, rng: torch.randn(batch, 2, generator=rng) + torch.tensor([shift, 0.0])


def test_a_perceptrons_shape_and_weights():
    before = torch.get_rng_state()
    critic, generator = perceptron((2, 8, 8, 1), seeded()), perceptron((3, 8, 2), seeded(), nn.LeakyReLU)
    assert torch.equal(torch.get_rng_state(), before)
    assert critic(torch.zeros(5, 2)).shape == (5,)
    assert generator(torch.zeros(5, 3)).shape == (5, 2)
    assert [type(layer).__name__ for layer in generator] == ["Linear", "LeakyReLU", "Linear"]
    again, other = perceptron((2, 8, 8, 1), seeded()), perceptron((2, 8, 8, 1), seeded(1))
    pairs = zip(critic.parameters(), again.parameters(), other.parameters(), strict=True)
    for one, two, three in pairs:
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
        assert one.isfinite().all()
    assert critic[0].bias.abs().min() > 0


def train(seed, **settings):
    critic = perceptron((2, 32, 1), seeded(seed))
    train_critic(critic, normal(3.0), normal(0.0), steps=200, batch=128, rng=seeded(seed), **settings)
    rng = seeded(9)
    with torch.no_grad():
        return critic, float(critic(normal(3.0)(2000, rng)).mean() - critic(normal(0.0)(2000, rng)).mean())


def test_a_penalised_critic_finds_the_distance_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    critic, estimate = train(0, penalty=Penalty(), lr=3e-3)
    assert torch.equal(torch.get_rng_state(), before)
    # W1 is 3, and the optimum of the penalised dual is 15 % above it.
    assert 2.7 < estimate < 3.8
    again, same = train(0, penalty=Penalty(), lr=3e-3)
    assert same == estimate
    assert all(torch.equal(a, b) for a, b in zip(critic.parameters(), again.parameters(), strict=True))


def test_each_setting_reaches_the_step():
    clipped, _ = train(0, max_weight=0.0625)  # exact in float32
    assert max(float(p.detach().abs().max()) for p in clipped.parameters()) <= 0.0625
    _, free = train(0, objective="hinge")
    _, relativistic = train(0, objective="relativistic")
    assert free > 1
    assert relativistic > 1
    # With the penalty at every second step the numbers differ.
    assert train(0, penalty=Penalty(), lazy=2)[1] != train(0, penalty=Penalty())[1]
    with pytest.raises(ValueError, match="did you mean hinge"):
        train(0, objective="hing")


def test_progress_and_each_are_told():
    shares, steps = [], []
    train(0, progress=lambda share, what: shares.append(share), each=steps.append)
    assert steps == list(range(1, 201))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    told = []
    span(lambda share, what: told.append((share, what)), 0.5, 0.75)(0.5, "it")
    assert told == [(0.625, "it")]


R1 = Penalty(weight=1.0, target=0.0, points="real")


@pytest.mark.parametrize(
    ("objective", "penalty"), [("wasserstein", Penalty(weight=1.0)), ("non-saturating", R1), ("relativistic", R1)]
)
def test_a_gan_moves_its_samples_to_the_real_ones(objective, penalty):
    before = torch.get_rng_state()
    rng = seeded()
    generator, critic = perceptron((2, 32, 2), rng), perceptron((2, 32, 1), rng)
    steps = []
    train_gan(
        generator, critic, normal(3.0), steps=150, batch=64, latent=2, rng=rng, objective=objective,
        penalty=penalty, n_critic=2, lr=5e-3, betas=(0.5, 0.9), each=steps.append,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert steps == list(range(1, 151))
    assert all(parameter.requires_grad for parameter in critic.parameters())
    with torch.no_grad():
        mean = generator(torch.randn(2000, 2, generator=rng)).mean(0)
    assert (mean - torch.tensor([3.0, 0.0])).norm() < 1.5


def test_an_unknown_lab_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean saturation"):
        load("saturaton")


@pytest.mark.parametrize("name", ["divergences", "saturation", "bilinear"])
def test_a_lab_says_what_it_shows(name):
    module = load(name)
    assert "\n" not in module.TITLE
    assert "arXiv" in module.CAPTION
    assert name in LABS
