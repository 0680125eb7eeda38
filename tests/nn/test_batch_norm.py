"""SyncedBatchNorm: equal to torch's own in one process, and in two processes to that of their joint batch."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from gpgan.nn import SyncedBatchNorm, build

ROWS, CHANNELS = 8, 3
NORMS = {
    "rows": (nn.BatchNorm1d, (), {}),
    "images": (nn.BatchNorm2d, (4, 5), {}),
    "volumes": (nn.BatchNorm3d, (2, 3, 4), {}),
    "cumulative": (nn.BatchNorm2d, (4, 5), {"momentum": None}),
    "plain": (nn.BatchNorm2d, (4, 5), {"affine": False, "eps": 1e-3}),
    "untracked": (nn.BatchNorm2d, (4, 5), {"track_running_stats": False}),
}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def inputs(name: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A batch whose halves differ, and the derivative of the loss with respect to the output."""
    rng = torch.Generator().manual_seed(5)
    shape = (ROWS, CHANNELS, *NORMS[name][1])
    x, grad = (torch.randn(shape, dtype=dtype, generator=rng) for _ in range(2))
    return x * torch.linspace(0.5, 3, ROWS).to(dtype).view(-1, *[1] * (x.dim() - 1)) + 2, grad


def weigh(norm: nn.Module) -> None:
    for parameter, value in zip(norm.parameters(), (0.7, -1.3), strict=False):
        nn.init.uniform_(parameter, value, value + 1, generator=torch.Generator().manual_seed(1))


def run(norm: nn.Module, x: Tensor, grad: Tensor) -> dict[str, Any]:
    """Two training steps, one of them without a graph, and one evaluation, with all resulting state."""
    x = x.clone().requires_grad_()
    for _ in range(2):
        out = norm(x)
        (out * grad).sum().backward()
    with torch.no_grad():
        unrecorded = norm(x * 2)
        evaluated = norm.eval()(x)
    return {
        "outputs": [out.detach(), unrecorded, evaluated],
        "input": x.grad,
        "parameters": [p.grad for p in norm.parameters()],
        "buffers": list(norm.buffers()),
    }


def run_generator(samples: slice) -> list[Tensor]:
    """The gradients of a generator's mean score over some of 8 latents, and its running statistics."""
    generator, critic = build("conv", (1, 8, 8), latent=4, width=2, depth=1, rng=torch.Generator().manual_seed(2))
    generator, critic = generator.double(), critic.double()
    latents = torch.randn(ROWS, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    critic(generator(latents[samples])).mean().backward()
    return [*(p.grad for p in generator.parameters()), *generator.buffers()]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=wait)
    try:
        mine = slice(ROWS // 2 * rank, ROWS // 2 * (rank + 1))
        results: dict[str, Any] = {}
        for name, (_, _, options) in NORMS.items():
            norm = SyncedBatchNorm(CHANNELS, **options).double()
            weigh(norm)
            x, grad = inputs(name)
            results[name] = run(norm, x[mine], grad[mine])
        x, _ = inputs("images", torch.float32)
        results["far"] = SyncedBatchNorm(CHANNELS)(x[mine] + 1000).detach()
        results["half"] = SyncedBatchNorm(CHANNELS)(x[mine].bfloat16()).detach()
        results["generator"] = run_generator(mine)
        try:
            leaf = x[mine].requires_grad_()
            (first,) = torch.autograd.grad(SyncedBatchNorm(CHANNELS)(leaf).pow(2).sum(), leaf, create_graph=True)
            first.sum().backward()
        except RuntimeError as error:
            results["twice"] = str(error)
        torch.save(results, f"{folder}/{rank}")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    if not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (folder,), nprocs=2)
        return [torch.load(Path(folder) / str(rank), weights_only=True) for rank in (0, 1)]


def reference(name: str) -> dict[str, Any]:
    kind, _, options = NORMS[name]
    norm = kind(CHANNELS, **options).double()
    weigh(norm)
    return run(norm, *inputs(name))


@pytest.mark.parametrize("name", NORMS)
def test_two_processes_are_one_with_the_joint_batch(ranks, name):
    one, two = reference(name), [rank[name] for rank in ranks]
    if name == "untracked":  # it uses the batch's statistics even in eval mode, and sends nothing then
        for result in (one, *two):
            result["outputs"].pop()
    for i, output in enumerate(one["outputs"]):
        torch.testing.assert_close(torch.cat([result["outputs"][i] for result in two]), output, **EXACT)
    torch.testing.assert_close(torch.cat([result["input"] for result in two]), one["input"], **EXACT)
    torch.testing.assert_close(
        [a + b for a, b in zip(*(r["parameters"] for r in two), strict=True)], one["parameters"], **EXACT
    )
    for result in two:
        torch.testing.assert_close(result["buffers"], one["buffers"], **EXACT)
    for a, b in zip(*(r["buffers"] for r in two), strict=True):
        assert torch.equal(a, b), "processes whose statistics differ drift apart"


def test_halves_differ_enough_to_tell():
    x, grad = inputs("images")
    alone = run(nn.BatchNorm2d(CHANNELS).double(), x[: ROWS // 2], grad[: ROWS // 2])
    joint = run(nn.BatchNorm2d(CHANNELS).double(), x, grad)
    assert (alone["outputs"][0] - joint["outputs"][0][: ROWS // 2]).abs().max() > 0.1
    assert (alone["input"] - joint["input"][: ROWS // 2]).abs().max() > 0.01


def test_generator_with_gradients_averaged_over_processes(ranks):
    one = run_generator(slice(None))
    averaged = [
        (a + b) / 2 if a.is_floating_point() else a for a, b in zip(*(r["generator"] for r in ranks), strict=True)
    ]
    torch.testing.assert_close(averaged, one, **EXACT)


def test_variance_that_is_small_beside_the_mean(ranks):
    x, _ = inputs("images", torch.float32)
    exact = nn.BatchNorm2d(CHANNELS).double()((x + 1000).double()).detach()
    plain = nn.BatchNorm2d(CHANNELS)(x + 1000).detach()
    error, usual = ((y - exact).abs().max() for y in (torch.cat([rank["far"] for rank in ranks]), plain))
    assert error <= max(2 * usual, 2e-3), f"{error} against {usual} in one process"


def test_half_precision_keeps_its_type(ranks):
    x, _ = inputs("images", torch.float32)
    plain = nn.BatchNorm2d(CHANNELS)(x.bfloat16()).detach()
    both = torch.cat([rank["half"] for rank in ranks])
    assert both.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(both, plain, rtol=2**-7, atol=2**-7)


def test_second_derivatives_are_refused_not_wrong(ranks):
    assert all("once_differentiable" in rank["twice"] for rank in ranks)


@pytest.mark.parametrize("name", NORMS)
def test_one_process_is_plain_batch_norm(name):
    kind, _, options = NORMS[name]
    norms = SyncedBatchNorm(CHANNELS, **options).double(), kind(CHANNELS, **options).double()
    assert list(norms[0].state_dict()) == list(norms[1].state_dict())
    results = []
    for norm in norms:
        weigh(norm)
        results.append(run(norm, *inputs(name)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_input_without_channels():
    with pytest.raises(ValueError, match=r"input has shape \(3,\); expected \[B, C, ...\]"):
        SyncedBatchNorm(3)(torch.ones(3))
