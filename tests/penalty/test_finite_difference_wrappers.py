"""method="finite_difference" with random layers, parametrisations, torch.compile, checkpoints and processes."""

from __future__ import annotations

import copy
import datetime
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from critics import parameter_grads
from functorch.compile import make_boxed_func
from test_finite_difference import finite, relative_error
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from gpgan import gradient_penalty

REAL, FAKE = (torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
ALPHA = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)


class Critic(nn.Module):
    def __init__(
        self, middle: Callable[[], nn.Module] = nn.SiLU, wrap: Callable[..., Any] = lambda layer: layer
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(wrap(nn.Linear(3, 16)), middle(), wrap(nn.Linear(16, 8)), nn.Tanh())
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Checkpointed(nn.Module):
    def __init__(self, inner: Critic, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.head(checkpoint(self.inner.body, x, use_reentrant=self.reentrant))


def build(*args: Any, **kwargs: Any) -> Critic:
    torch.manual_seed(1)
    return Critic(*args, **kwargs).double()


def exact_grads(critic: nn.Module) -> list[Tensor]:
    return parameter_grads(critic, gradient_penalty(critic, REAL, FAKE, alpha=ALPHA))


# Ways to pass a module as a function.


class Holder:
    def __init__(self, critic: Callable[[Tensor], Tensor]) -> None:
        self.parts = {"critic": [critic]}

    def score(self, x: Tensor) -> Tensor:
        return self.parts["critic"][0](x)

    __call__ = score


def in_two_closures(critic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    inner = lambda x: critic(x)  # noqa: E731
    return lambda x: inner(x)


def by_a_global_name(critic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    space: dict[str, Any] = {"net": critic}
    exec("def score(x):\n    return [net(part) for part in (x,)][0]", space)
    return space["score"]


HOW: dict[str, Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]] = {
    "module": lambda critic: critic,
    "closure": in_two_closures,
    "partial": lambda critic: functools.partial(lambda net, x: net(x), critic),
    "default": lambda critic: lambda x, net=critic: net(x),
    "global": by_a_global_name,
    "bound method": lambda critic: Holder(critic).score,
    "object": Holder,
    "decorated": lambda critic: functools.wraps(critic.forward)(lambda *args: critic(*args)),
}


@pytest.fixture(params=HOW)
def how(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return HOW[request.param]


# --- randomness and buffers


def test_random_numbers_are_the_same_in_all_forwards_and_drawn_once() -> None:
    critic = build(lambda: nn.Sequential(nn.SiLU(), nn.Dropout(0.4)))
    grads, after = [], []
    for method in ("finite_difference", "exact"):
        torch.manual_seed(7)
        grads.append(parameter_grads(critic, gradient_penalty(critic, REAL, FAKE, alpha=ALPHA, method=method)))
        after.append(torch.get_rng_state())
    assert relative_error(*grads) < 1e-6
    assert torch.equal(*after)


@pytest.mark.parametrize(
    "wrap", [parametrizations.spectral_norm, nn.utils.spectral_norm], ids=["parametrised", "hooks"]
)
def test_power_iterations_are_the_same_in_all_forwards_and_made_once(wrap: Any, how: Callable[[Any], Any]) -> None:
    critic, twin = build(wrap=wrap), build(wrap=wrap)
    before = [buffer.clone() for buffer in critic.buffers()]
    got = parameter_grads(critic, finite(how(critic), REAL, FAKE, alpha=ALPHA))
    assert relative_error(got, exact_grads(twin)) < 1e-6
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(critic.buffers(), twin.buffers(), strict=True))
    assert not all(torch.equal(mine, old) for mine, old in zip(critic.buffers(), before, strict=True))


def test_a_buffer_that_the_backward_needs_stays_usable() -> None:
    critic = build()
    critic.register_buffer("table", torch.linspace(0.5, 1.5, 3).double())
    got = finite(lambda x: critic(x * critic.table), REAL, FAKE, alpha=ALPHA)
    wanted = gradient_penalty(lambda x: critic(x * critic.table), REAL, FAKE, alpha=ALPHA)
    assert relative_error(parameter_grads(critic, got), parameter_grads(critic, wanted)) < 1e-6


# --- torch.compile


class Runs:
    """A backend that counts how often the forward and the backward of its graphs run."""

    def __init__(self) -> None:
        self.forward = self.backward = 0
        self.backend = aot_autograd(fw_compiler=self._counting("forward"), bw_compiler=self._counting("backward"))

    def _counting(self, which: str) -> Callable[..., Any]:
        def compiler(graph: torch.fx.GraphModule, _: Any) -> Any:
            def run(*args: Any) -> Any:
                setattr(self, which, getattr(self, which) + 1)
                return graph.forward(*args)

            return make_boxed_func(run)

        return compiler


def compiled_in_place(net: nn.Module, backend: Any) -> nn.Module:
    net.compile(backend=backend)
    return net


COMPILED: dict[str, Callable[..., Callable[[Tensor], Tensor]]] = {
    "module": lambda net, backend: torch.compile(net, backend=backend),
    "in place": compiled_in_place,
    "in a closure": lambda net, backend: in_two_closures(torch.compile(net, backend=backend)),
    "function": lambda net, backend: torch.compile(lambda x: net(x) * 1.0, backend=backend),
    "function in a closure": lambda net, backend: in_two_closures(
        torch.compile(lambda x: net(x) * 1.0, backend=backend)
    ),
}


@pytest.mark.parametrize("kind", COMPILED)
def test_compiled_critic_runs_compiled(kind: str) -> None:
    torch._dynamo.reset()
    runs, net = Runs(), build()
    wanted = exact_grads(copy.deepcopy(net))
    critic = COMPILED[kind](net, runs.backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in (1, 0):  # the probe of a critic's first penalty
            runs.forward = runs.backward = 0
            penalty = finite(critic, REAL, FAKE, alpha=ALPHA)
            assert (runs.forward, runs.backward) == (3 + more, 1 + more)
            assert relative_error(parameter_grads(net, penalty), wanted) < 1e-6
            assert (runs.forward, runs.backward) == (3 + more, 3 + more)


@pytest.mark.parametrize("kind", ["module", "in a closure"])
def test_compiled_activations_with_kinks_are_warned_of_and_exact_where_none_is_crossed(kind: str) -> None:
    torch._dynamo.reset()
    net = build(nn.LeakyReLU)
    wanted = exact_grads(copy.deepcopy(net))
    with pytest.warns(UserWarning, match=r'error as large as the gradient.*method="exact"'):
        penalty = finite(COMPILED[kind](net, "aot_eager"), REAL, FAKE, alpha=ALPHA)
    assert relative_error(parameter_grads(net, penalty), wanted) < 1e-6


@pytest.mark.parametrize("kind", COMPILED)
@pytest.mark.parametrize("affine", [True, False])
def test_compiled_batch_norm_in_training_mode_is_refused(kind: str, affine: bool) -> None:
    torch._dynamo.reset()
    net = build(lambda: nn.BatchNorm1d(16, affine=affine))
    critic = COMPILED[kind](net, "aot_eager")
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        finite(critic, REAL, FAKE)
    net.eval()
    assert finite(critic, REAL, FAKE).requires_grad


def test_a_compiled_critics_neighbour_may_have_batch_norm() -> None:
    torch._dynamo.reset()
    holder = Holder(torch.compile(build(), backend="aot_eager"))
    holder.generator = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    assert finite(holder.score, REAL, FAKE).requires_grad


# --- checkpoints


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_checkpointed_critic(reentrant: bool, dropout: float, how: Callable[[Any], Any]) -> None:
    inner = build(lambda: nn.Sequential(nn.SiLU(), nn.Dropout(dropout)))
    critic = Checkpointed(inner, reentrant)
    frozen = inner.body[2].bias.requires_grad_(False)
    calls: list[str] = []
    for parameter in inner.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda _: calls.append("hook"))
    torch.manual_seed(7)
    penalty = finite(how(critic), REAL, FAKE, alpha=ALPHA)
    assert calls == []
    assert all(parameter.grad is None for parameter in inner.parameters())
    assert [p.requires_grad for p in inner.parameters()] == [p is not frozen for p in inner.parameters()]
    penalty.backward()
    free = [parameter for parameter in inner.parameters() if parameter is not frozen]
    torch.manual_seed(7)
    wanted = torch.autograd.grad(gradient_penalty(inner, REAL, FAKE, alpha=ALPHA), free, materialize_grads=True)
    assert relative_error([parameter.grad for parameter in free], list(wanted)) < 1e-6


def test_reentrant_checkpoint_keeps_the_graph_of_a_condition() -> None:
    inner, encoder = build(), nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    critic, parameters = Checkpointed(inner, True), [*inner.parameters(), *encoder.parameters()]
    labels = torch.randn(6, 2, dtype=torch.float64)
    finite(lambda x, c: critic(x * c), REAL, FAKE, alpha=ALPHA, critic_args=(encoder(labels),)).backward()
    penalty = gradient_penalty(lambda x, c: inner(x * c), REAL, FAKE, alpha=ALPHA, critic_args=(encoder(labels),))
    wanted = torch.autograd.grad(penalty, parameters, materialize_grads=True)
    assert relative_error([p.grad for p in parameters], list(wanted)) < 1e-6


def test_reentrant_checkpoint_of_parameters_that_nobody_shows_is_an_error() -> None:
    weight = torch.randn(3, 1, dtype=torch.float64, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return checkpoint(lambda x: (x @ weight).sin(), x, use_reentrant=True)

    with pytest.raises(RuntimeError, match=r"finds no nn\.Module.*pass the module itself.*use_reentrant=False"):
        finite(critic, REAL, FAKE)
    assert weight.grad is None


def test_an_error_in_a_reentrant_backward_leaves_the_parameters_trainable() -> None:
    inner = build()
    critic, calls = Checkpointed(inner, True), [0]

    def fail(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:  # the first two are the forwards, this is the run in the backward
            raise OSError("from the critic")

    inner.body.register_forward_pre_hook(fail)
    with pytest.raises(OSError, match="from the critic"):
        finite(critic, REAL, FAKE)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in inner.parameters())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_that_iterates_again_in_the_backward_is_an_error(reentrant: bool) -> None:
    critic = Checkpointed(build(wrap=parametrizations.spectral_norm), reentrant)
    with pytest.raises(RuntimeError, match=r"changes its buffers when a checkpoint.*call eval"):
        finite(critic, REAL, FAKE, alpha=ALPHA)
    finite(critic.eval(), REAL, FAKE, alpha=ALPHA).backward()
    assert relative_error([p.grad for p in critic.parameters()], exact_grads(critic.inner)) < 1e-6


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_activations_with_kinks_are_warned_of(reentrant: bool) -> None:
    critic = Checkpointed(build(nn.ReLU), reentrant)
    with pytest.warns(UserWarning, match="kinks") as caught:
        _ = [finite(critic, REAL, FAKE) for _ in range(2)]
    assert len(caught) == 1
    assert caught[0].filename == str(Path(__file__))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_batch_norm_in_a_reentrant_checkpoint_is_refused(norm: type[nn.Module]) -> None:
    critic = Checkpointed(build(lambda: norm(16)), True)
    if norm is nn.LayerNorm:
        assert finite(critic, REAL, FAKE).requires_grad
        return
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        finite(critic, REAL, FAKE)


# --- DistributedDataParallel

# From a fork server that has already imported everything, so that processes start at once.
mp.get_context("forkserver").set_forkserver_preload(["gpgan", "torch._dynamo.backends.common", "functorch.compile"])


def joint_loss(critic: nn.Module, rows: slice) -> Tensor:
    real, fake = REAL[rows], FAKE[rows]
    penalty = finite(critic, real, fake, alpha=ALPHA[rows])
    return critic(fake).mean() - critic(real).mean() + penalty


def run_process(rank: int, options: dict[str, Any], hidden: bool, folder: str) -> None:
    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=wait)
    torch.save(share_of_gradients(slice(3 * rank, 3 * rank + 3), options, hidden), f"{folder}/{rank}")
    dist.barrier()
    # Skips the destructors of the process group, which sometimes wait for each other.
    os._exit(0)


def share_of_gradients(rows: slice, options: dict[str, Any], hidden: bool) -> list[Tensor | None]:
    net = build(wrap=parametrizations.spectral_norm)
    critic = DistributedDataParallel(net, **options)
    if options.get("static_graph"):
        with pytest.raises(ValueError, match="expected static_graph=False"):
            finite(critic, REAL, FAKE)
        return []
    syncs: list[bool] = []
    net.register_forward_pre_hook(lambda *_: syncs.append(critic.require_backward_grad_sync))
    for _ in range(2):
        net.zero_grad()
        joint_loss((lambda x: critic(x)) if hidden else critic, rows).backward()
    assert syncs == 2 * [False, True, True, True, True]  # the penalty's three forwards, then the two scores
    return [parameter.grad for parameter in net.parameters()]


@pytest.mark.parametrize(("options", "hidden"), [
    ({}, False),
    ({}, True),
    ({"find_unused_parameters": True}, False),
    ({"gradient_as_bucket_view": True, "bucket_cap_mb": 1e-4}, False),
    ({"static_graph": True}, False),
], ids=["plain", "in a closure", "unused parameters", "many buckets", "static graph is refused"])  # fmt: skip
def test_processes_average_their_gradients(options: dict[str, Any], hidden: bool, tmp_path: Path) -> None:
    arguments = (options, hidden, str(tmp_path))
    mp.start_processes(run_process, arguments, nprocs=2, start_method="forkserver")
    net = build(wrap=parametrizations.spectral_norm)
    for _ in range(2):
        net.zero_grad()
        joint_loss(net, slice(None)).backward()
    wanted = [parameter.grad for parameter in net.parameters()]
    for rank in range(2):
        got = torch.load(tmp_path / str(rank), weights_only=True)
        assert options.get("static_graph") or relative_error(got, wanted) < 1e-6
