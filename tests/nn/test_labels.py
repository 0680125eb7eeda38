"""Conditional networks: the effect of labels, with and without the penalty, and wrong labels."""

import pytest
import torch
from torch import nn

from gpgan import CriticStep, Penalty, gradient_penalty
from gpgan.nn import build

KINDS = [
    ("mlp", (2,)),
    ("mlp", (1, 8, 8)),
    ("conv", (2, 8)),
    ("conv", (1, 8, 8)),
    ("conv", (1, 8, 8, 8)),
    ("resnet", (1, 8, 8)),
    ("resnet", (1, 40, 40)),
]
CLASSES = 3
LABELS = torch.tensor([0, 2, 1, 1, 0])

pytestmark = pytest.mark.parametrize(("kind", "shape"), KINDS, ids=str)


def make(kind, shape, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    pair = build(kind, shape, latent=6, width=4, depth=2, classes=CLASSES, rng=rng)
    return [net.to(dtype) for net in pair]


def draws(shape):
    real, fake = (torch.randn(5, *shape, dtype=torch.float64) for _ in range(2))
    return real, fake, torch.rand(5, dtype=torch.float64)


def test_sample_depends_on_its_own_label(kind, shape):
    generator, _ = make(kind, shape)
    generator.eval()  # a BatchNorm in training mode mixes samples
    latents = torch.randn(1, 6, dtype=torch.float64).expand(5, 6)
    samples = generator(latents, LABELS)
    assert samples.shape == (5, *shape)
    for i in range(5):
        for j in range(5):
            assert torch.allclose(samples[i], samples[j]) == bool(LABELS[i] == LABELS[j])


def test_generator_puts_the_class_behind_the_latents(kind, shape):
    generator, _ = make(kind, shape)
    first = next(m for m in generator.modules() if isinstance(m, nn.Linear))
    seen = []
    first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    latents = torch.randn(5, 6, dtype=torch.float64)
    generator(latents, LABELS)
    (joined,) = seen
    assert torch.equal(joined[:, :6], latents)
    assert torch.equal(joined[:, 6:], generator.embedding.weight[LABELS])


def test_critic_projects_the_class_on_its_features(kind, shape):
    _, critic = make(kind, shape)
    last = [m for m in critic.modules() if isinstance(m, nn.Linear)][-1]
    seen = []
    last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    real, _, _ = draws(shape)
    scores = critic(real, LABELS)
    (features,) = seen
    expected = [
        (last.weight[0] + critic.projection.weight[y]) @ h + last.bias[0] for h, y in zip(features, LABELS, strict=True)
    ]
    assert scores.shape == (5,)
    torch.testing.assert_close(scores, torch.stack(expected))
    assert (scores - critic(real, (LABELS + 1) % CLASSES)).abs().min() > 1e-6


def test_gradients_of_the_penalty_are_those_of_plain_autograd(kind, shape):
    _, critic = make(kind, shape)
    real, fake, alpha = draws(shape)
    gradient_penalty(critic, real, fake, alpha=alpha, critic_args=(LABELS,)).backward()
    pruned = [p.grad for p in critic.parameters()]
    critic.zero_grad()
    column = alpha.view(-1, *[1] * len(shape))
    x = (column * real + (1 - column) * fake).requires_grad_()
    (grad,) = torch.autograd.grad(critic(x, LABELS).sum(), x, create_graph=True)
    (10 * (grad.flatten(1).norm(dim=1) - 1).square().mean()).backward()
    assert critic.projection.weight.grad.abs().max() > 0
    for a, parameter in zip(pruned, critic.parameters(), strict=True):
        b = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


def test_critic_step_is_the_script(kind, shape):
    real, fake, alpha = draws(shape)
    critics = [make(kind, shape)[1] for _ in range(2)]
    optimizers = [torch.optim.SGD(critic.parameters(), lr=0.01) for critic in critics]
    step = CriticStep(critics[0], optimizers[0], penalty=Penalty(weight=3.0))
    for _ in range(2):
        step(real, fake, alpha=alpha, critic_args=(LABELS,))
        critic, optimizer = critics[1], optimizers[1]
        optimizer.zero_grad()
        penalty = gradient_penalty(
            critic, real, fake, weight=3.0, alpha=alpha, critic_args=(LABELS,), second_order="stock"
        )
        (critic(fake, LABELS).mean() - critic(real, LABELS).mean() + penalty).backward()
        optimizer.step()
    start = make(kind, shape)[1].projection.weight
    assert not torch.equal(critics[0].projection.weight, start)
    for a, b in zip(critics[0].parameters(), critics[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert step.plan.startswith("general path"), step.plan


def test_weights_depend_on_the_given_random_state_alone(kind, shape):
    for first, again, other in zip(make(kind, shape, 3), make(kind, shape, 3), make(kind, shape, 4), strict=True):
        (name,) = [name for name, _ in first.named_parameters() if name.startswith(("embedding", "projection"))]
        drawn, same, another = (net.get_parameter(name) for net in (first, again, other))
        assert torch.equal(drawn, same)
        assert (drawn - another).abs().min() > 0


def test_generator_is_exported_for_any_batch(kind, shape):
    generator = make(kind, shape)[0].eval()
    latents = torch.randn(5, 6, dtype=torch.float64)
    batch = torch.export.Dim("batch")
    program = torch.export.export(generator, (latents, LABELS), dynamic_shapes=({0: batch}, {0: batch}))
    more = latents.repeat(2, 1), LABELS.repeat(2)
    torch.testing.assert_close(program.module()(*more), generator(*more))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "labels is None, and the network was built with classes; expected .* each from 0 to 2"),
        (LABELS.int(), TypeError, "labels is torch.int32; expected labels, int64"),
        ([0, 2, 1, 1, 0], TypeError, "labels is a list; expected labels, int64"),
        (LABELS[:1], ValueError, r"labels has shape \(1,\) for 5 samples"),
        (LABELS[:, None], ValueError, r"labels has shape \(5, 1\) for 5 samples"),
    ],
)
def test_labels_that_do_not_fit(kind, shape, labels, error, message):
    generator, critic = make(kind, shape)
    with pytest.raises(error, match=message):
        generator(torch.randn(5, 6, dtype=torch.float64), labels)
    with pytest.raises(error, match=message):
        critic(draws(shape)[0], labels)


def test_labels_for_networks_without_classes(kind, shape):
    rng = torch.Generator().manual_seed(0)
    generator, critic = build(kind, shape, latent=6, width=4, depth=2, rng=rng)
    with pytest.raises(ValueError, match="labels were given to a network without classes"):
        generator(torch.randn(5, 6), LABELS)
    with pytest.raises(ValueError, match="labels were given to a network without classes"):
        critic(torch.randn(5, *shape), LABELS)


def test_fewer_than_no_classes(kind, shape):
    rng = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="classes is -1; expected"):
        build(kind, shape, latent=6, width=4, depth=2, classes=-1, rng=rng)
