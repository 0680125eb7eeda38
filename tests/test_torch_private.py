"""Private names of torch: what gpgan does where one is missing, and that no other file uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from critics import CRITICS, assert_exact, parameter_grads
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import gpgan
from gpgan import CriticStep, Penalty, gradient_penalty, torch_private
from gpgan.critic.counting import counter
from gpgan.nn.spectral import is_normalised
from gpgan.penalty import graph
from gpgan.penalty.checks import is_compiled
from gpgan.schedule import products

PACKAGE = Path(gpgan.__file__).parent
PRIVATE = re.compile(
    r"torch\._(?!_)|_disable_dynamo|_will_engine_execute_node|_saved_tensors_default_hooks|_current_level|"
    r"peek_interpreter_stack|_linear_pointwise|make_fx|_forward_cls|_saved_training|_input_metadata|_orig_mod|"
    r"_compiled_call_impl|_torchdynamo_orig_callable|get_default_nowrap_functions|\._version\b|\._backward_hooks|"
    r"\._backward_pre_hooks|_post_accumulate_grad_hooks|\._modules\b|_SpectralNorm|_forward_pre_hooks|_python_dispatch|"
    r"flop_registry|_overloadpacket|_dynamo_marked_constant|_foreach_|\b_BatchNorm\b|\._metadata\b"
)


def test_no_other_file_uses_them() -> None:
    used = [
        f"{path.relative_to(PACKAGE)}: {found[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "torch_private.py"
        for found in PRIVATE.finditer(path.read_text("utf-8"))
    ]
    assert used == []
    assert PRIVATE.search((PACKAGE / "torch_private.py").read_text("utf-8"))


# --- a torch without any of them

# Names that can be taken out of torch before gpgan is imported, by where they are.
TAKEN = {
    "torch._compile": ["_disable_dynamo"],
    "torch._C": ["_will_engine_execute_node"],
    "torch._C._autograd": ["_top_saved_tensors_default_hooks"],
    "torch._C._functorch": ["peek_interpreter_stack"],
    "torch.autograd.forward_ad": ["_current_level"],
    "torch.overrides": ["get_default_nowrap_functions"],
    "torch.nn.modules.batchnorm": ["_BatchNorm"],
    "torch.nn.utils.parametrizations": ["_SpectralNorm"],
    "torch.utils._python_dispatch": ["TorchDispatchMode"],
    "torch.utils.flop_counter": ["flop_registry"],
    "torch": ["_foreach_clamp_min_", "_foreach_clamp_max_", "_foreach_lerp_"],
}
SCRIPT = """
import importlib, json, sys
import torch
from torch import nn
from torch.nn import functional as F
import torch._dynamo, torch.utils._python_dispatch, torch.utils.flop_counter  # torch itself needs what is taken out

taken = json.loads(sys.argv[1])
for module, names in taken.items():
    holder = importlib.import_module(module) if "_C." not in module else getattr(torch._C, module.rpartition(".")[2])
    for name in names:
        delattr(holder, name)

import gpgan

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3), nn.ReLU(),
                    nn.Flatten(), nn.Linear(8, 1)).double()
real, fake, alpha = torch.randn(4, 3, 8, 8).double(), torch.randn(4, 3, 8, 8).double(), torch.rand(4).double()
numbers = []
for options in ({}, {"method": "finite_difference"}):
    penalty = gpgan.gradient_penalty(net, real, fake, alpha=alpha, **options)
    numbers += [penalty.item(), *(float(g.norm()) for g in torch.autograd.grad(penalty, net.parameters(), allow_unused=True) if g is not None)]
for critic in (net, lambda x: net(x)):
    step = gpgan.CriticStep(critic, torch.optim.SGD(net.parameters(), lr=0.01), max_weight=0.3)
    for _ in range(2):
        numbers.append(float(step(real, fake, alpha=alpha).loss))
norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 1)).double()
try:
    gpgan.gradient_penalty(norm, real, fake)
except ValueError as error:
    print("BatchNorm" in str(error))
print(json.dumps(numbers))
"""


def run(taken: dict[str, list[str]]) -> tuple[bool, list[float]]:
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(taken)], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, numbers = done.stdout.splitlines()
    return refused == "True", json.loads(numbers)


def test_without_all_of_them_gpgan_is_imported_and_gives_the_same_numbers() -> None:
    refused, numbers = run(TAKEN)
    with_them_refused, with_them = run({})
    assert refused
    assert with_them_refused
    assert numbers == pytest.approx(with_them, rel=1e-4)  # finite differences cross kinks that are not held
    assert numbers[0] == pytest.approx(with_them[0], rel=1e-12)


# --- one by one


@pytest.fixture(autouse=True)
def _looked_up_anew() -> Any:
    """What was found out once is found out again, here and by the tests after."""
    cached = [value for value in vars(torch_private).values() if hasattr(value, "cache_clear")]
    for each in (*cached, products.onednn_is_faster):
        each.cache_clear()
    yield
    for each in (*cached, products.onednn_is_faster):
        each.cache_clear()


def case(name: str = "DCGAN") -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    found = CRITICS[name]
    return (found.build(), *found.samples())


def pruned_and_stock(name: str = "DCGAN", **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    critic, real, fake, alpha = case(name)
    both = [
        parameter_grads(critic, gradient_penalty(critic, real, fake, alpha=alpha, second_order=order, **options))
        for order in ("pruned", "stock")
    ]
    return both[0], both[1]


def plan_of(critic: Callable[..., Tensor], net: nn.Module, x: Tensor, **options: Any) -> str:
    step = CriticStep(critic, torch.optim.SGD(net.parameters(), lr=0.1), **options)
    step(x, -x)
    return step.plan


def test_outside_of_compiled_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch._compile._disable_dynamo")
    function = torch_private.outside_of_compiled_graphs(lambda x: torch.compiler.is_compiling())
    assert not torch.compile(lambda x: function(x), backend="eager")(torch.ones(2))


def test_constant_in_compiled_graphs() -> None:
    def function() -> int:
        return 3

    assert torch_private.constant_in_compiled_graphs(function) is function
    assert function() == 3


@pytest.mark.parametrize("how", ["wrapped", "in place", "within", "function"])
def test_is_compiled_of_a_torch_with_other_names(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(2, 1))
    compiled: Any = torch.compile(net if how == "wrapped" else (lambda x: x)) if how in ("wrapped", "function") else net
    if how == "in place":
        net.compile()
    if how == "within":
        compiled = nn.Sequential(torch.compile(net))
    assert is_compiled(compiled)
    assert not is_compiled(nn.Linear(2, 1))
    assert not is_compiled(lambda x: x)
    if how == "function":
        del compiled._torchdynamo_orig_callable
    monkeypatch.delattr(nn.Module, "_compiled_call_impl")
    net.__dict__.pop("_compiled_call_impl", None)
    assert is_compiled(compiled)
    assert is_compiled(nn.Linear(2, 1))  # it is not to be known
    monkeypatch.delitem(sys.modules, "torch._dynamo")
    assert not is_compiled(nn.Linear(2, 1))


@pytest.mark.parametrize("name", ["torch._inductor.compile", "torch.fx.experimental.proxy_tensor.make_fx"])
def test_compile_by_inductor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(name)
    critic, real, _, _ = case("MLP")
    plan = plan_of(critic, critic, real, compile=True)
    assert plan.startswith("scheduled")
    assert f"not compiled: {'module' if 'inductor' in name else 'cannot import name'}" in plan


def test_engine_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch._C._will_engine_execute_node")
    assert torch_private.engine_needs(None)
    assert_exact(*pruned_and_stock())


def test_engine_needs_of_another_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._C._will_engine_execute_node", lambda: False)
    assert torch_private.engine_needs(None)


@pytest.mark.parametrize(
    "name",
    [
        "torch._C._autograd._top_saved_tensors_default_hooks",
        "torch._C._functorch.peek_interpreter_stack",
        "torch.autograd.forward_ad._current_level",
    ],
)
def test_nothing_is_pruned_where_it_is_not_known_that_autograd_is_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    critic, real, fake, alpha = case()

    def nodes() -> set[str]:
        penalty = gradient_penalty(critic, real, fake, alpha=alpha)
        kinds = {type(node).__name__ for node in graph.nodes(penalty.grad_fn)}
        return {kind for kind in kinds if kind.startswith("_") and kind != "_WithZerosBackward"}

    pruned = nodes()
    module, _, attribute = name.rpartition(".")
    holder = forward_ad if module.endswith("forward_ad") else getattr(torch._C, module.rpartition(".")[2])
    monkeypatch.delattr(holder, attribute)
    assert pruned
    assert not nodes()
    assert_exact(*pruned_and_stock())


def test_kinks_are_not_held_in_what_may_be_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C._autograd, "_top_saved_tensors_default_hooks")
    critic, real, fake, alpha = case()
    with pytest.warns(UserWarning, match="cannot hold piecewise-linear activations"):
        gradient_penalty(critic, real, fake, alpha=alpha, method="finite_difference")


def test_grad_mode_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 4).double(), nn.Linear(4, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            with torch.no_grad():
                constant = self.first(x)
            return self.last(h + constant)

    _, real, _, _ = case("MLP")
    assert torch_private.grad_mode_functions()
    assert "_set_grad_enabled" in plan_of(net := Partly(), net, real)
    monkeypatch.setattr(torch_private, "TorchFunctionMode", _Blind)
    torch_private.grad_mode_functions.cache_clear()
    assert torch_private.grad_mode_functions() == frozenset()
    critic = CRITICS["MLP"].build()
    assert "does not show where a critic switches grad mode" in plan_of(critic, critic, real)


class _Blind:
    """A mode that sees nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_functions_of_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_private.functions_of_form()
    monkeypatch.delattr("torch.overrides.get_default_nowrap_functions")
    assert torch_private.functions_of_form() == frozenset()


def test_nn_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_private.nn_operators("leaky_relu", "no_such") == (torch._C._nn.leaky_relu,)
    monkeypatch.delattr("torch._C._nn")
    assert torch_private.nn_operators("leaky_relu") == ()


def test_leaf_of() -> None:
    leaf = torch.zeros(2, requires_grad=True)
    edge = torch.autograd.graph.get_gradient_edge(leaf)
    assert torch_private.leaf_of(edge.node) is leaf
    assert torch_private.leaf_of((leaf * 2).grad_fn) is None


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0].cos()


def test_is_once_differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    critic, real, fake, alpha = case()
    node = Sine.apply(torch.zeros(2, requires_grad=True)).grad_fn
    assert torch_private.is_once_differentiable(node) is True
    assert torch_private.function_name(node) == "Sine"
    monkeypatch.setattr(torch_private, "_MARK", None)
    torch_private._marks_are_seen.cache_clear()
    assert torch_private.is_once_differentiable(node) is None
    with pytest.warns(UserWarning, match="whether Sine is marked once_differentiable"):
        gradient_penalty(lambda x: (Sine.apply(critic(x)) + critic(x)).sum(1), real, fake, alpha=alpha)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(critic, real, fake, alpha=alpha)  # gpgan's own functions are differentiable twice


def test_nodes_without_the_attributes_that_are_asked_of_them() -> None:
    bare: Any = SimpleNamespace()
    assert torch_private.function_name(bare) == "SimpleNamespace"
    torch_private.run_without_gradients(bare)
    assert torch_private.takes_batch_statistics(bare)
    assert not torch_private.takes_batch_statistics(SimpleNamespace(_saved_training=False))


# A batch_norm by whatever way, as a function of the critic's hidden values.
BATCH_NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.BatchNorm1d(4).double(),
    "function": lambda h: F.batch_norm(h, None, None, training=True),
    "torch": lambda h: torch.batch_norm(h, None, None, None, None, True, 0.1, 1e-5, False),
    "reentrant checkpoint": lambda h: checkpoint(BATCH_NORMS["module"], h, use_reentrant=True),
}


@pytest.mark.parametrize("name", BATCH_NORMS)
@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_batch_norm_is_refused_where_the_graph_does_not_show_it(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_private, "BATCH_NORM_NODES", frozenset())
    monkeypatch.setattr(torch_private, "OPAQUE_NODES", frozenset())
    assert not torch_private.batch_norm_shows()
    first, last = nn.Linear(2, 4).double(), nn.Linear(4, 1).double()
    _, real, fake, alpha = case("MLP")

    def critic(x: Tensor) -> Tensor:
        return last(BATCH_NORMS[name](first(x)))

    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        gradient_penalty(critic, real, fake, alpha=alpha, method=method)
    assert torch.isfinite(gradient_penalty(lambda x: last(first(x)), real, fake, alpha=alpha, method=method))


def test_batch_norm_in_eval_mode_passes_where_the_graph_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_private, "BATCH_NORM_NODES", frozenset())
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double().eval()
    _, real, fake, alpha = case("MLP")
    assert torch.isfinite(gradient_penalty(net, real, fake, alpha=alpha))
    critic, *images = case("InstanceNorm")
    assert torch.isfinite(gradient_penalty(critic, *images[:2], alpha=images[2]))


@pytest.mark.parametrize("attribute", ["_saved_training", "_input_metadata"])
def test_batch_norm_is_refused_where_its_node_does_not_tell(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = {"_saved_training": "_saved_training", "_input_metadata": "_rows"}[attribute]
    monkeypatch.setattr(torch_private, reader, lambda node: None)
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    _, real, fake, alpha = case("MLP")
    assert not torch_private.batch_norm_shows()
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        gradient_penalty(net, real, fake, alpha=alpha)


def test_version_and_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in (False, True):
        tensor = torch.zeros(2)
        if hidden:
            monkeypatch.setattr(torch_private, "version", lambda tensor: None)
        changed = torch_private.watch([tensor])
        assert not changed()
        tensor.add_(1)
        assert changed()
    critic, real, _, _ = case("MLP")
    assert plan_of(critic, critic, real).startswith("general path")


def test_hooks_and_submodules_of_modules_without_the_dictionaries() -> None:
    bare: Any = SimpleNamespace(children=lambda: iter([nn.ReLU()]))
    assert torch_private.has_gradient_hooks(bare)
    assert torch_private.has_backward_hooks(bare)
    assert [type(module) for module in torch_private.submodules(bare)] == [nn.ReLU]
    assert torch_private.forward_pre_hooks(bare) == []
    assert torch_private.metadata(bare) is None


def test_a_critic_whose_hooks_are_not_to_be_seen_takes_the_general_path(monkeypatch: pytest.MonkeyPatch) -> None:
    critic, real, _, _ = case("MLP")
    monkeypatch.setattr("gpgan.critic.scheduled.has_backward_hooks", lambda module: True)
    assert "backward hooks" in plan_of(critic, critic, real)


def test_batch_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.nn.modules.batchnorm._BatchNorm")
    for norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        assert isinstance(norm(2), torch_private.batch_norms())
    assert not isinstance(nn.InstanceNorm2d(2), torch_private.batch_norms())


def test_spectral_norm_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.get_rng_state()
    assert torch_private.spectral_parametrization() is parametrizations._SpectralNorm
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.delattr("torch.nn.utils.parametrizations._SpectralNorm", raising=True)
    monkeypatch.setattr("gpgan.nn.spectral.forward_pre_hooks", lambda module: [])
    for layer in (nn.utils.spectral_norm(nn.Linear(2, 2)), nn.Linear(2, 2)):
        assert is_normalised(layer) == hasattr(layer, "weight_u")


@pytest.mark.parametrize("broken", ["absent", "another signature", "other numbers"])
def test_onednn_product(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch_private.onednn_product() is not None:
        a, b, row = torch.randn(3, 4), torch.randn(4, 5), torch.randn(5)
        torch.testing.assert_close(torch_private.onednn_product()(a, b, row), torch.addmm(row, a, b))
    torch_private.onednn_product.cache_clear()

    class Operators:
        if broken == "another signature":
            _linear_pointwise = staticmethod(lambda a, b: a @ b.t())
        if broken == "other numbers":
            _linear_pointwise = staticmethod(lambda a, b, row, *_: torch.zeros(2, 2))

    monkeypatch.setattr(torch.ops, "mkldnn", Operators())
    assert torch_private.onednn_product() is None
    assert not products.onednn_is_faster()


def test_clamp_and_lerp_without_the_joint_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [torch.randn(3), torch.randn(2, 2)]
    for absent in (False, True):
        if absent:
            for name in ("_foreach_clamp_min_", "_foreach_clamp_max_", "_foreach_lerp_"):
                monkeypatch.delattr(torch, name)
        tensors = [torch.full((3,), -2.0), torch.full((2, 2), 2.0)]
        torch_private.clamp_all(tensors, 0.5)
        assert [float(t.abs().max()) for t in tensors] == [0.5, 0.5]
        torch_private.lerp_all(tensors, ends, 0.25)
        torch.testing.assert_close(tensors[1], 0.375 + 0.25 * ends[1])


@pytest.mark.parametrize(
    "name", ["torch.utils._python_dispatch.TorchDispatchMode", "torch.utils.flop_counter.flop_registry"]
)
def test_operation_counting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counter() is not None
    monkeypatch.delattr(name)
    assert counter() is None
    critic, real, _, _ = case("GroupNorm")
    assert "operations not counted" in plan_of(critic, critic, real, penalty=Penalty(weight=1.0))
