"""Bad arguments of gradient_penalty: each raises an error that names the argument, what came and what was expected."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from critics import quadratic, smooth
from torch import Tensor, nn

import gpgan
import gpgan.ops._native
from gpgan import gradient_penalty, ops
from gpgan.penalty.points import draw_points

X = torch.arange(12.0).reshape(4, 3)


def failure(
    error: type[Exception],
    match: str,
    *,
    real: object = X,
    fake: object = X,
    critic: object = quadratic,
    **options: object,
) -> None:
    # The reference and the native operators share their checks, so "auto" is enough.
    options.setdefault("impl", "reference")
    with pytest.raises(error, match=match):
        gradient_penalty(critic, real, fake, **options)


# --- samples


@pytest.mark.parametrize("name", ["real", "fake"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.uint8, torch.bool])
def test_dtype_that_has_no_gradient(name: str, dtype: torch.dtype) -> None:
    failure(TypeError, rf"{name} has dtype {dtype}.*expected one of float32", **{name: X.to(dtype)})


@pytest.mark.parametrize("name", ["real", "fake"])
@pytest.mark.parametrize("value", [[1.0, 2.0], X.numpy(), 3.0])
def test_samples_that_are_no_tensor(name: str, value: object) -> None:
    failure(TypeError, f"{name} is a {type(value).__name__}; expected a torch.Tensor", **{name: value})


@pytest.mark.parametrize("name", ["real", "fake", "points"])
@pytest.mark.parametrize(
    ("make", "what", "cure"),
    [
        (lambda: X.to_sparse(), "has layout torch.sparse_coo", "to_dense()"),
        (lambda: X.to_sparse_csr(), "has layout torch.sparse_csr", "to_dense()"),
        (lambda: X.to_sparse_csc(), "has layout torch.sparse_csc", "to_dense()"),
        (lambda: X.to_mkldnn(), "has layout torch._mkldnn", "to_dense()"),
        (lambda: torch.nested.nested_tensor([X[0], X[1, :2]]), "is a nested tensor", "to_padded_tensor(0.0)"),
        (
            lambda: torch.nested.nested_tensor([X[0], X[1, :2]], layout=torch.jagged),
            "is a nested tensor",
            "to_padded_tensor(0.0)",
        ),
    ],
    ids=["coo", "csr", "csc", "mkldnn", "nested", "jagged"],
)
@pytest.mark.filterwarnings("ignore:Sparse C", "ignore:The PyTorch API of nested tensors")
def test_samples_that_are_not_dense(name: str, make: Callable[[], Tensor], what: str, cure: str) -> None:
    match = rf"{name} {what}; expected torch.strided.*{name}\.{re.escape(cure)}"
    failure(TypeError, match, **{name: make()})
    if name != "points":
        step = gpgan.CriticStep(net := nn.Linear(3, 1), torch.optim.SGD(net.parameters(), 0.1))
        with pytest.raises(TypeError, match=match):
            step(**{"real": X, "fake": X, name: make()})
    with pytest.raises(TypeError, match=r"grads (has layout|is a nested)"):
        ops.gradient_norm_penalty(make())


def test_alpha_that_is_not_dense() -> None:
    alpha = torch.rand(len(X))
    for odd in (alpha.to_sparse(), alpha.to_mkldnn()):
        failure(TypeError, rf"alpha has layout {odd.layout}; expected torch.strided.*alpha\.to_dense\(\)", alpha=odd)
        with pytest.raises(TypeError, match="alpha has layout"):
            ops.interpolate(X, X, odd)


def test_scores_that_are_not_dense() -> None:
    match = r"critic returned layout torch.sparse_coo; expected dense scores: call to_dense\(\)"
    failure(TypeError, match, critic=lambda x: x.to_sparse())


def test_samples_without_numbers() -> None:
    meta = X.to("meta")
    failure(ValueError, "real is on the meta device, which holds no numbers", real=meta, fake=meta)
    step = gpgan.CriticStep(net := nn.Linear(3, 1, device="meta"), torch.optim.SGD(net.parameters(), 0.1))
    with pytest.raises(ValueError, match="real is on the meta device"):
        step(meta, meta)


@pytest.mark.parametrize("name", ["real", "fake"])
def test_samples_without_a_batch(name: str) -> None:
    failure(ValueError, f"{name} is a scalar", **{name: torch.tensor(1.0)})


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (4, 3, 1), (12,), (1, 3), (4, 1)])
def test_shape_mismatch_never_broadcasts(shape: tuple[int, ...]) -> None:
    failure(ValueError, r"fake has shape \(.*\) and real has \(4, 3\)", fake=torch.ones(shape))


def test_dtype_mismatch() -> None:
    failure(TypeError, "fake has dtype torch.float64 and real has torch.float32", fake=X.double())


def test_device_mismatch() -> None:
    failure(ValueError, "fake has device meta and real has cpu", fake=X.to("meta"))


@pytest.mark.parametrize(("points", "missing"), [
    ("between", "real"), ("between", "fake"), ("real", "real"), ("fake", "fake"), ("noisy", "real"),
])  # fmt: skip
def test_samples_that_points_needs(points: str, missing: str) -> None:
    failure(TypeError, rf"{missing} is None; points='{points}' needs it", points=points, **{missing: None})
    if points == "between":
        failure(TypeError, "is None", real=None, fake=None)


@pytest.mark.parametrize("points", ["betwen", "", None, ["real"]])
def test_unknown_points(points: object) -> None:
    failure(
        ValueError,
        r"points is .*expected a Tensor \[B, ...\] or one of 'between', 'real', 'fake', 'both', 'noisy'",
        points=points,
    )


@pytest.mark.parametrize(("points", "error"), [
    (torch.tensor(1.0), ValueError), (torch.ones(4, 3, dtype=torch.int32), TypeError), (torch.ones(0, 3), ValueError),
])  # fmt: skip
def test_bad_points(points: Tensor, error: type[Exception]) -> None:
    failure(error, "points (is|has)", points=points)


# --- alpha and generator


@pytest.mark.parametrize("alpha", [
    torch.rand(3), torch.rand(1), torch.rand(()), torch.rand(4, 1), torch.rand(4, 3), torch.rand(4, 1, 1, 1),
])  # fmt: skip
def test_alpha_of_the_wrong_shape(alpha: Tensor) -> None:
    failure(ValueError, r"alpha has shape .*expected \(4,\)", alpha=alpha)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_alpha_out_of_range(bad: float) -> None:
    alpha = torch.tensor([0.0, 1.0, 0.5, bad])
    failure(ValueError, r"alpha runs from .*expected numbers in \[0, 1\]", alpha=alpha)


@pytest.mark.parametrize(
    "alpha", [torch.ones(4, dtype=torch.int64), torch.ones(4, dtype=torch.complex64), 0.5, [0.5] * 4]
)
def test_alpha_of_the_wrong_type(alpha: object) -> None:
    failure(TypeError, "alpha (is|has)", alpha=alpha)


def test_alpha_on_another_device() -> None:
    failure(ValueError, "alpha is on meta and the samples are on cpu", alpha=torch.rand(4, device="meta"))


def test_alpha_of_another_floating_dtype_is_fine(impl: str) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        alpha = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype)
        ours = gradient_penalty(quadratic, X, -X, alpha=alpha, impl=impl)
        assert torch.equal(ours, gradient_penalty(quadratic, X, -X, alpha=alpha.float(), impl=impl))


def test_generator_on_another_device() -> None:
    # The only other device of a machine without a GPU, and one that holds no samples.
    with pytest.raises(ValueError, match="generator is on cpu and the samples are on meta"):
        draw_points(gpgan.ops.reference, "noisy", X.to("meta"), None, None, torch.Generator())


@pytest.mark.parametrize("generator", [0, "cpu"])
def test_generator_of_the_wrong_type(generator: object) -> None:
    failure(TypeError, "generator", generator=generator)


# --- the critic and its arguments


def test_critic_that_is_no_callable() -> None:
    failure(TypeError, "critic is a Tensor", critic=X)


@pytest.mark.parametrize(("output", "named"), [
    (lambda s: (s, s), "tuple.*out.0."),
    (lambda s: [s], "list.*out.0."),
    (lambda s: {"score": s}, "dict.*out.'score'."),
    (lambda s: None, "NoneType"),
    (lambda s: 1.0, "float"),
])  # fmt: skip
def test_output_that_is_no_tensor_says_how_to_select(output: Callable[[Tensor], object], named: str) -> None:
    failure(TypeError, rf"critic returned a {named}", critic=lambda x: output(quadratic(x)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_output_of_a_dtype_that_is_no_score(dtype: torch.dtype) -> None:
    failure(TypeError, f"critic returned {dtype}", critic=lambda x: quadratic(x).to(dtype))


@pytest.mark.parametrize("output", [lambda s: s.sum(), lambda s: s[:3], lambda s: s[None], lambda s: s.repeat(2)])
def test_output_without_one_row_a_sample(output: Callable[[Tensor], Tensor]) -> None:
    failure(ValueError, r"critic returned shape \(.*\) for 4 samples", critic=lambda x: output(quadratic(x)))


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_labels_that_would_broadcast(rows: int) -> None:
    labels = torch.zeros(rows, 3)

    def critic(x: Tensor, y: Tensor) -> Tensor:
        return quadratic(x)

    failure(ValueError, r"critic_args\[0\] has shape", critic=critic, critic_args=(labels,))
    failure(ValueError, r"critic_kwargs\['y'\] has shape", critic=critic, critic_kwargs={"y": labels})


def test_critic_args_that_is_a_tensor() -> None:
    # Unpacked, each row would be an argument.
    failure(TypeError, "critic_args", critic=lambda x, *y: quadratic(x), critic_args=torch.zeros(4))


# --- numbers and names


@pytest.mark.parametrize("name", ["weight", "target"])
@pytest.mark.parametrize(("value", "error"), [
    (-1.0, ValueError), (math.nan, ValueError), (math.inf, ValueError),
    ("10", TypeError), (None, TypeError), (True, TypeError), (torch.tensor(10.0), TypeError),
])  # fmt: skip
def test_bad_weight_and_target(name: str, value: object, error: type[Exception]) -> None:
    failure(error, f"{name} is", **{name: value})


@pytest.mark.parametrize(("name", "value"), [
    ("reduction", "avg"), ("reduction", None), ("method", "approximate"), ("second_order", "full"), ("impl", "cuda"),
])  # fmt: skip
def test_unknown_name(name: str, value: object) -> None:
    failure(ValueError, f"{name} is {value!r}; expected one of ", **{name: value})


# --- implementations


def library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpgan.ops._native, "_architectures", ())
    monkeypatch.setattr(gpgan.ops._native, "_failure", "the native library was not built; run `make`")


def test_native_without_the_library_raises_and_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    library_is_missing(monkeypatch)
    failure(
        RuntimeError, 'impl="native" cannot run on cpu: the native library was not built; run `make`', impl="native"
    )
    assert not ops.native_available("cpu")


def test_auto_without_the_library_falls_back_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    library_is_missing(monkeypatch)
    alpha = torch.rand(4)
    with pytest.warns(UserWarning, match="reference.*not built") as caught:
        values = [gradient_penalty(quadratic, X, -X, alpha=alpha) for _ in range(3)]
    assert len(caught) == 1
    assert caught[0].filename == str(Path(__file__))
    assert torch.equal(values[0], gradient_penalty(quadratic, X, -X, alpha=alpha, impl="reference"))


def test_auto_with_the_library_is_native_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the reference ran")

    critic = smooth(3, torch.float32)
    alpha = torch.rand(4)
    monkeypatch.setattr(ops.reference, "gradient_norm_penalty", forbidden)
    monkeypatch.setattr(ops.reference, "interpolate", forbidden)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto, native = (gradient_penalty(critic, X, -X, alpha=alpha, impl=impl) for impl in ("auto", "native"))
    assert torch.equal(auto, native)


def test_reference_never_calls_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library_is_missing(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(smooth(3, torch.float32), X, -X, impl="reference").backward()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 10**400], ids=["nan", "inf", "negative", "huge"])
@pytest.mark.parametrize("name", ["weight", "target"])
def test_numbers_that_are_not_finite_or_negative(name: str, value: float) -> None:
    failure(ValueError, f"{name} is .*; expected a finite number, zero or above", **{name: value})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"critic_args": X}, "critic_args is a Tensor; expected a tuple"),
        ({"critic_args": 3}, "critic_args is a int; expected a tuple"),
        ({"critic_args": "y"}, "critic_args is a str; expected a tuple"),
        ({"critic_kwargs": "y"}, "critic_kwargs is 'y'; expected a dict"),
        ({"critic_kwargs": [3]}, r"critic_kwargs is \[3\]; expected a dict"),
        ({"critic_kwargs": []}, r"critic_kwargs is \[\]; expected a dict"),
        ({"critic_kwargs": {1: 2}}, "critic_kwargs is {1: 2}; expected a dict from names"),
    ],
)
def test_arguments_of_the_critic_that_are_none(options: dict[str, object], match: str) -> None:
    failure(TypeError, match, **options)


# --- calls that cannot work


TRANSFORMS: dict[str, Callable[[Callable[..., Tensor], dict[str, Tensor]], object]] = {
    "grad": lambda call, weights: torch.func.grad(call)(weights),
    "jacrev": lambda call, weights: torch.func.jacrev(call)(weights),
    "vjp": lambda call, weights: torch.func.vjp(call, weights),
    "jvp": lambda call, weights: torch.func.jvp(call, (weights,), (weights,)),
    "vmap": lambda call, weights: torch.func.vmap(call)({name: value[None] for name, value in weights.items()}),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_torch_func_is_named(transform: str) -> None:
    net = nn.Linear(3, 1)
    weights = {name: value.detach() for name, value in net.named_parameters()}
    step = gpgan.CriticStep(net, torch.optim.SGD(net.parameters(), 0.1))

    def penalty(weights: dict[str, Tensor]) -> Tensor:
        return gradient_penalty(lambda x: torch.func.functional_call(net, weights, (x,)), X, X)

    def update(weights: dict[str, Tensor]) -> Tensor:
        return step(X, X).loss

    for name, call in (("gradient_penalty", penalty), ("CriticStep", update)):
        with pytest.raises(RuntimeError, match=f"{name} was called inside a torch.func transform.*backward"):
            TRANSFORMS[transform](call, weights)
    assert gradient_penalty(lambda x: torch.func.functional_call(net, weights, (x,)), X, X).isfinite()


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_a_squeezed_score_of_one_sample(method: str) -> None:
    net = nn.Linear(3, 1)
    squeezed = lambda x: net(x).squeeze()  # noqa: E731
    assert gradient_penalty(squeezed, X, X, method=method).isfinite()
    with pytest.raises(ValueError, match=r"critic returned shape \(\) for 1 sample; .*squeeze\(1\)"):
        gradient_penalty(squeezed, X[:1], X[:1], method=method)

    class Squeezed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    critic = Squeezed(3, 1)
    with pytest.raises(ValueError, match=r"for 1 sample; .*squeeze\(1\)"):
        gpgan.CriticStep(critic, torch.optim.SGD(critic.parameters(), 0.1))(X[:1], X[:1])
