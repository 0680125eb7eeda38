"""CriticStep's gradients, updates and statistics equal those of a training script, on both of its paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS, Tied, assert_exact
from script_step import OBJECTIVES, MakeOptimizer, Script, compare
from torch import Tensor, nn

from gpgan import CriticStep, Penalty, gradient_penalty

SCHEDULED = {"MLP", "DCGAN", "ResNet, average pooling", "ResNet, slices", "tied layers"}
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.0, 0.9)),
    "Adam, not fused": lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False, weight_decay=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, weight_decay=0.01),
}


def as_it_is(critic: nn.Module) -> Callable[..., Tensor]:
    return critic


def as_function(critic: nn.Module) -> Callable[..., Tensor]:
    return lambda x, *args: critic(x, *args)


PATHS = {"module": as_it_is, "function": as_function}


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("path", PATHS)
def test_every_critic(name: str, path: str) -> None:
    case = CRITICS[name]
    step = compare(case.build, case.shape, case.args(), wrap=PATHS[path])
    assert step.plan.startswith("scheduled" if path == "module" and name in SCHEDULED else "general")


@pytest.mark.parametrize("name", ["MLP", "ResNet, slices"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(name: str, path: str, optimizer: str) -> None:
    case = CRITICS[name]
    # The optimizer divides gradients by their size, so rounding in a small gradient reaches the update.
    compare(case.build, case.shape, optimizer=OPTIMIZERS[optimizer], wrap=PATHS[path], relative=1e-9)


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "GroupNorm"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("options", [
    *({"objective": terms} for terms in OBJECTIVES.values()),
    {"penalty": None},
    {"penalty": Penalty(weight=0.5, target=0.0, points="real")},
    {"penalty": Penalty(weight=0.5, target=0.0, points="fake"), "objective": OBJECTIVES["non-saturating"]},
    {"penalty": Penalty(weight=0.5, target=0.0, points="both"), "objective": OBJECTIVES["relativistic"]},
    {"penalty": Penalty(points="noisy")},
    {"penalty": Penalty(one_sided=True, target=0.2)},
    {"penalty": Penalty(weight=0.0)},
    {"penalty": Penalty(impl="reference")},
    {"penalty": Penalty(impl="native")},
    {"penalty": Penalty(second_order="stock")},
    {"lazy": 2},
    {"lazy": 3, "penalty": Penalty(weight=1.0, target=0.0, points="real")},
    {"max_grad_norm": 0.1},
    {"max_grad_norm": 1e6},
    {"max_weight": 0.05},
    {"max_grad_norm": 0.5, "lazy": 2, "objective": OBJECTIVES["hinge"]},
], ids=[*OBJECTIVES, "no penalty", "R1", "R2", "R1 and R2", "noisy", "one-sided", "weight 0", "reference", "native", "stock", "lazy 2",
        "lazy 3", "clipped", "not clipped", "weights clipped", "all three"])  # fmt: skip
def test_options(name: str, path: str, options: dict[str, Any]) -> None:
    case = CRITICS[name]
    compare(case.build, case.shape, wrap=PATHS[path], steps=4, **options)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("points", ["both", "noisy"])
@pytest.mark.parametrize("name", ["MLP", "projection"])
def test_points_that_alpha_does_not_give(path: str, points: str, name: str) -> None:
    """DRAGAN's points are drawn from the step's generator, alpha first; "both" draws nothing."""
    case = CRITICS[name]
    ours, script = case.build(), case.build()
    real, fake, _ = case.samples()
    rngs = [torch.Generator().manual_seed(3) for _ in range(2)]
    step = CriticStep(PATHS[path](ours), torch.optim.SGD(ours.parameters(), lr=0.1), penalty=Penalty(points=points))
    step(real, fake, generator=rngs[0], critic_args=case.args())
    options = {"generator": rngs[1], "critic_args": case.args(), "second_order": "stock"}
    penalty = gradient_penalty(script, real, fake, points=points, **options)
    (script(fake, *case.args()).mean() - script(real, *case.args()).mean() + penalty).backward()
    for mine, theirs in zip(ours.parameters(), script.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-14)
    assert torch.equal(rngs[0].get_state(), rngs[1].get_state())


@pytest.mark.parametrize("path", PATHS)
def test_alpha_from_a_generator(path: str) -> None:
    case = CRITICS["MLP"]
    real, fake, _ = case.samples()
    grads = []
    for given in (False, True):
        critic = case.build()

        step = CriticStep(PATHS[path](critic), torch.optim.SGD(critic.parameters(), lr=0.1))
        for i in range(2):
            rng = torch.Generator().manual_seed(i)
            if given:
                alpha = torch.rand(4, dtype=torch.float64, generator=rng)
                step(real, fake, alpha=alpha)
            else:
                step(real, fake, generator=rng)
        grads.append([p.grad for p in critic.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "ResNet, average pooling", "mixed activations", "tied layers"])
@pytest.mark.parametrize("every", [2, 3])
def test_frozen_parameters(name: str, every: int) -> None:
    case = CRITICS[name]

    def make() -> nn.Module:
        critic = case.build()
        for i, parameter in enumerate(critic.parameters()):
            parameter.requires_grad_(i % every != 0)
        return critic

    compare(make, case.shape)


def test_parameters_that_are_frozen_and_freed_between_steps() -> None:
    case = CRITICS["DCGAN"]

    def before(critic: nn.Module, step: int) -> None:
        for parameter in list(critic.parameters())[: min(2 * step, 4)]:  # the last layer always has gradients
            parameter.requires_grad_(step == 2)

    compare(case.build, case.shape, before=before, steps=4)


@pytest.mark.parametrize("path", PATHS)
def test_parameters_that_the_scores_do_not_touch(path: str) -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare, self.loose = CRITICS["MLP"].build(), nn.Linear(2, 2).double(), None

        def forward(self, x: Tensor) -> Tensor:
            self.spare(x)
            return self.net(x)

    step = compare(Spare, (4, 2), wrap=PATHS[path], optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), relative=1e-10)
    spare = step.optimizer.param_groups[0]["params"][-2:]
    assert [p.grad for p in spare] == [None, None]


def test_an_optimizer_of_some_parameters_only() -> None:
    case = CRITICS["MLP"]

    def some(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(parameters)[2:], lr=0.1)

    # One step only: in a script, the gradients of the other parameters accumulate, as zero_grad does not reach them.
    compare(case.build, case.shape, optimizer=some, steps=1)


class Counting(nn.Module):
    """Updates a running mean before an operation that the schedule does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.net = CRITICS["MLP"].build()
        self.register_buffer("mean", torch.zeros(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.lerp_(torch.linspace(0, 1, 2, dtype=torch.float64), 0.1)
        return self.net(x).sigmoid()


@pytest.mark.parametrize("path", PATHS)
def test_buffers_are_as_three_forwards_leave_them(path: str) -> None:
    """Also after the first step, which may have tried the schedule first."""
    compare(Counting, (4, 2), wrap=PATHS[path])

    def with_batch_norm() -> nn.Module:
        return CRITICS["MLP"].build().insert(0, nn.BatchNorm1d(2).double())

    compare(with_batch_norm, (4, 2), wrap=PATHS[path], penalty=Penalty(allow_batch_coupling=True))


@pytest.mark.parametrize("shape", [(1, 2), (7, 2), (64, 2)])
def test_batch_sizes(shape: tuple[int, ...]) -> None:
    compare(CRITICS["MLP"].build, shape, objective=OBJECTIVES["non-saturating"])


def test_the_batch_size_may_change() -> None:
    case = CRITICS["DCGAN"]
    ours, script = case.build(), case.build()
    step = CriticStep(ours, torch.optim.SGD(ours.parameters(), lr=0.01))
    other = Script(script, torch.optim.SGD(script.parameters(), lr=0.01))
    for batch in (4, 2, 8, 1):
        real, fake = torch.randn(2, batch, 3, 8, 8, dtype=torch.float64)
        alpha = torch.rand(batch, dtype=torch.float64)
        step(real, fake, alpha=alpha)
        other(real, fake, alpha)
        assert_exact(list(ours.parameters()), list(script.parameters()))


@pytest.mark.parametrize("scores", [lambda s: s, lambda s: s.squeeze(1), lambda s: s.unsqueeze(2)])
def test_shapes_of_scores(scores: Callable[[Tensor], Tensor]) -> None:
    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = CRITICS["MLP"].build()

        def forward(self, x: Tensor) -> Tensor:
            return scores(self.net(x))

    assert compare(Shaped, (4, 2), objective=OBJECTIVES["least squares"]).plan.startswith("scheduled")


@pytest.mark.parametrize("path", PATHS)
def test_a_map_of_scores(path: str) -> None:
    """PatchGAN: several scores per sample. The terms average over all of them, the penalty sums them."""

    def patches() -> nn.Module:
        return CRITICS["DCGAN"].build()[:4].append(nn.Conv2d(8, 1, 1).double())

    compare(patches, (4, 3, 8, 8), wrap=PATHS[path])
    compare(patches, (4, 3, 8, 8), wrap=PATHS[path], objective=OBJECTIVES["hinge"])


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats(memory_format: torch.memory_format) -> None:
    case = CRITICS["ResNet, slices"]
    compare(lambda: case.build().to(memory_format=memory_format), case.shape)


def test_tied_layers_are_scheduled() -> None:
    # The tangent of a shared layer's first use must not overwrite its output before the second use has read it.
    def make() -> nn.Module:
        torch.manual_seed(3)
        return Tied().double()

    assert compare(make, (5, 2), steps=5, objective=OBJECTIVES["non-saturating"]).plan.startswith("scheduled")
