"""The penalty does not depend on the order or split of a batch, on extra dimensions, memory layout or threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from critics import convolutional, quadratic, smooth
from tolerances import assert_near
from torch import Tensor

from gpgan import gradient_penalty


def test_permuting_samples_permutes_norms(impl: str) -> None:
    critic = convolutional(3, torch.float64)
    real, fake = (torch.randn(7, 3, 8, 8, dtype=torch.float64) for _ in range(2))
    alpha, order = torch.rand(7), torch.randperm(7)
    options = {"impl": impl, "return_norms": True}
    penalty, norms = gradient_penalty(critic, real, fake, alpha=alpha, **options)
    permuted, permuted_norms = gradient_penalty(critic, real[order], fake[order], alpha=alpha[order], **options)
    assert_near(permuted_norms, norms[order])
    assert_near(permuted, penalty)


def test_splitting_a_batch_adds_up(impl: str) -> None:
    critic = smooth(3)
    real, fake, alpha = torch.randn(7, 3).double(), torch.randn(7, 3).double(), torch.rand(7)
    whole = gradient_penalty(critic, real, fake, alpha=alpha, reduction="sum", impl=impl)
    parts = [
        gradient_penalty(critic, r, f, alpha=a, reduction="sum", impl=impl)
        for r, f, a in zip(real.split(3), fake.split(3), alpha.split(3), strict=True)
    ]
    assert_near(sum(parts), whole)


@pytest.mark.parametrize("extra", [(1,), (1, 1, 1)])
def test_trailing_dimensions_of_one_change_nothing(extra: tuple[int, ...], impl: str) -> None:
    real, fake, alpha = torch.randn(7, 3), torch.randn(7, 3), torch.rand(7)
    flat = gradient_penalty(quadratic, real, fake, alpha=alpha, impl=impl)
    assert_near(
        gradient_penalty(quadratic, real.reshape(7, 3, *extra), fake.reshape(7, 3, *extra), alpha=alpha, impl=impl),
        flat.double(),
    )


@pytest.mark.parametrize(("shape", "memory_format"), [
    ((4, 3, 8, 6), torch.channels_last),
    ((2, 3, 4, 4, 6), torch.channels_last_3d),
])  # fmt: skip
@pytest.mark.parametrize("points", ["between", "real", "noisy", "given"])
def test_channels_last_stays_so_and_gives_the_same_number(
    shape: tuple[int, ...], memory_format: torch.memory_format, points: str, impl: str, device: torch.device
) -> None:
    formats: list[bool] = []

    def critic(x: Tensor) -> Tensor:
        formats.append(x.is_contiguous(memory_format=memory_format))
        return quadratic(x)

    real, fake = (torch.randn(shape, dtype=torch.float64).to(device) for _ in range(2))
    options = {"impl": impl, "alpha": torch.rand(shape[0]).to(device)}
    penalties = []
    for form in (torch.contiguous_format, memory_format):
        r, f = (value.contiguous(memory_format=form) for value in (real, fake))
        torch.manual_seed(2)
        penalties.append(gradient_penalty(critic, r, f, points=r if points == "given" else points, **options))
    assert formats == [False, True]
    # Noise is drawn in memory order, so only its distribution is the same.
    assert points == "noisy" or penalties[0].item() == pytest.approx(penalties[1].item(), rel=1e-12)


@pytest.mark.parametrize("view", [
    lambda t: t.transpose(1, 2), lambda t: t[:, 1:, ::2], lambda t: t[:1].expand_as(t), lambda t: t.flip(0)[1:],
])  # fmt: skip
def test_views_give_the_number_of_their_copy(view: Callable[[Tensor], Tensor], impl: str, device: torch.device) -> None:
    real, fake = (view(torch.randn(5, 4, 6, dtype=torch.float64).to(device)) for _ in range(2))
    options = {"alpha": torch.rand(len(real)).to(device), "impl": impl}
    assert_near(
        gradient_penalty(quadratic, real, fake, **options),
        gradient_penalty(quadratic, real.contiguous(), fake.contiguous(), **options),
    )


def test_number_of_threads_changes_no_bit() -> None:
    real, fake, alpha = torch.randn(6, 3, 64, 64), torch.randn(6, 3, 64, 64), torch.rand(6)
    results = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        results.append(gradient_penalty(quadratic, real, fake, alpha=alpha, impl="native", reduction="none"))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
