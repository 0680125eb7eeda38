"""What PyTorch requires of an operator: opcheck, compile, vmap, fakes, complete writes, and errors instead of crashes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from layouts import randn, strides_kept
from tolerances import assert_near
from torch import Tensor

import gpgan.ops._native
from gpgan import ops

gp = torch.ops.gpgan
SPEC = (10.0, 1.0, False, "mean")
SPECS = [SPEC, (2.0, 0.5, True, "sum"), (0.5, 0.0, False, "none")]
# Dense and not dense, for the samples and for incoming gradients.
CHECKED = ("points", "channels_last", "sliced", "expanded batch", "one image")


def close_to_one(g: Tensor) -> Tensor:
    return g / math.sqrt(max(1, g[0].numel()))


def interpolation(layout: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    real, fake = randn(layout, dtype, device), randn(layout, dtype, device)
    alpha = torch.rand(len(real), dtype=torch.float64 if dtype == torch.float64 else torch.float32).to(device)
    return real, fake, alpha


def requiring(values: tuple[object, ...], wanted: bool) -> tuple[object, ...]:
    return tuple(v.detach().requires_grad_(wanted) if isinstance(v, Tensor) else v for v in values)


# --- opcheck


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("layout", CHECKED)
def test_opcheck_interpolate(layout: str, requires_grad: bool, device: torch.device) -> None:
    values = requiring(interpolation(layout, torch.float32, device), requires_grad)
    torch.library.opcheck(gp.interpolate.default, values)
    up = requiring((randn(layout, torch.float32, device),), requires_grad)
    masks = ([True] * 3, [True, False, True]) if layout == "channels_last" else ([True] * 3,)
    for mask in masks:
        torch.library.opcheck(gp.interpolate_backward.default, (*up, *values, mask))


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("layout", CHECKED)
def test_opcheck_penalty(layout: str, requires_grad: bool, device: torch.device) -> None:
    spec = SPECS[CHECKED.index(layout) % 3]
    (g,) = requiring((close_to_one(randn(layout, torch.float32, device)),), requires_grad)
    torch.library.opcheck(gp.gradient_norm_penalty.default, (g, *spec))
    penalty, norms = (value.detach() for value in gp.gradient_norm_penalty(g, *spec))
    ups = [(torch.randn_like(penalty), torch.randn_like(norms))]
    if layout == "points":
        ups += [(None, torch.randn_like(norms)), (torch.randn_like(penalty), None)]
    for up in ups:
        values = requiring((*up, g, norms), requires_grad)
        torch.library.opcheck(gp.gradient_norm_penalty_backward.default, (*values, *spec))


@pytest.mark.parametrize("layout", CHECKED)
def test_opcheck_with_direction(layout: str, device: torch.device) -> None:
    g = close_to_one(randn(layout, torch.float16, device))
    for spec in SPECS:
        torch.library.opcheck(gp.gradient_norm_penalty_with_direction.default, (g, *spec))


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "transposed", "numbers", "batch last"])
def test_meta_tensors_give_shapes_and_strides(layout: str) -> None:
    real, fake, alpha = interpolation(layout, torch.float16)
    meta = [value.to("meta") for value in (real, fake, alpha)]
    assert meta[0].stride() == real.stride() or not strides_kept(layout)
    for ours, shape in (
        (gp.interpolate(*meta), gp.interpolate(real, fake, alpha)),
        (gp.gradient_norm_penalty(meta[0], *SPEC)[1], gp.gradient_norm_penalty(real, *SPEC)[1]),
        (
            gp.gradient_norm_penalty_with_direction(meta[0], *SPEC)[2],
            gp.gradient_norm_penalty_with_direction(real, *SPEC)[2],
        ),
    ):
        assert (ours.shape, ours.dtype, ours.device.type) == (shape.shape, shape.dtype, "meta")
        assert ours.stride() == shape.stride()


# --- compile


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32])
def test_inductor_equals_eager_forward_and_backward(
    form: torch.memory_format, dtype: torch.dtype, device: torch.device
) -> None:
    def loss(real: Tensor, fake: Tensor, alpha: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        x = ops.interpolate(real, fake, alpha)
        penalty, norms = ops.gradient_norm_penalty(torch.tanh(x) * w, weight=3.0)
        value, _, direction = ops.gradient_norm_penalty_with_direction(x)
        return penalty + value + norms.sum() + direction.sum(), norms

    real, fake = (
        torch.randn(4, 3, 6, 6).to(device, dtype).contiguous(memory_format=form).requires_grad_() for _ in range(2)
    )
    w = torch.randn(3, 6, 6).to(device, dtype).requires_grad_()
    alpha = torch.rand(4).to(device).requires_grad_()
    values = (real, fake, alpha, w)
    torch._dynamo.reset()
    for eager, ours in zip(
        (lambda out: (*out, *torch.autograd.grad(out[0], values)))(loss(*values)),
        (lambda out: (*out, *torch.autograd.grad(out[0], values)))(torch.compile(loss, fullgraph=True)(*values)),
        strict=True,
    ):
        assert_near(ours, eager)
        assert ours.stride() == eager.stride()


def test_compile_with_a_changing_batch_size() -> None:
    def penalty(g: Tensor) -> Tensor:
        return ops.gradient_norm_penalty(g * 2, reduction="sum", one_sided=True)[0]

    torch._dynamo.reset()
    compiled = torch.compile(penalty, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (4, 5, 9):
        g = torch.randn(batch, 3, requires_grad=True)
        assert_near(compiled(g), penalty(g))
        assert_near(torch.autograd.grad(compiled(g), g)[0], torch.autograd.grad(penalty(g), g)[0])


# --- vmap


def looped(
    function: Callable[..., object], in_dims: tuple[int | None, ...], values: tuple[object, ...]
) -> list[Tensor]:
    count = next(v.shape[d] for v, d in zip(values, in_dims, strict=True) if d is not None)
    rows = [
        function(*(v.select(d, i) if d is not None else v for v, d in zip(values, in_dims, strict=True)))
        for i in range(count)
    ]
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


def same_as_loop(function: Callable[..., object], in_dims: tuple[int | None, ...], values: tuple[object, ...]) -> None:
    ours = torch.func.vmap(function, in_dims)(*values)
    loop = looped(function, in_dims, values)
    for mine, theirs in zip(ours if isinstance(ours, tuple) else (ours,), loop, strict=True):
        assert mine.shape == theirs.shape
        assert_near(mine, theirs.double())


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (0, None, 0), (1, 0, None), (None, None, 0), (-1, 2, 1)])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4,), (0, 3), (4, 0)])
def test_vmap_interpolate(in_dims: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    dims = tuple(None if d is None else min(d, len(shape)) for d in in_dims)
    real, fake = (
        torch.randn(shape) if d is None else torch.randn(5, *shape).movedim(0, d).contiguous() for d in dims[:2]
    )
    dims = (*dims[:2], None if dims[2] is None else min(dims[2], 1))
    alpha = torch.rand(shape[:1]) if dims[2] is None else torch.rand(5, shape[0]).movedim(0, dims[2]).contiguous()
    same_as_loop(gp.interpolate, dims, (real, fake, alpha))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4,), (4, 0), (0, 3)])
def test_vmap_penalty(spec: tuple[object, ...], shape: tuple[int, ...]) -> None:
    g = torch.randn(*shape, 5)
    same_as_loop(lambda g: gp.gradient_norm_penalty(g, *spec), (-1,), (g,))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
def test_vmap_of_the_gradients(spec: tuple[object, ...], given: tuple[bool, bool]) -> None:
    g = torch.randn(5, 4, 3)

    def gradient(g: Tensor, up_penalty: Tensor, up_norms: Tensor) -> Tensor:
        _, norms = gp.gradient_norm_penalty(g, *spec)
        ups = [up if has else None for up, has in zip((up_penalty, up_norms), given, strict=True)]
        return gp.gradient_norm_penalty_backward(*ups, g, norms, *spec)

    up_penalty = torch.randn(5, 4) if spec[3] == "none" else torch.randn(5)
    same_as_loop(gradient, (0, 0, 1), (g, up_penalty, torch.randn(4, 5)))
    same_as_loop(gradient, (0, None, None), (g, up_penalty[0], torch.randn(4)))


@pytest.mark.parametrize("mask", [[True, True, True], [True, False, False], [False, False, True]])
def test_vmap_interpolate_backward(mask: list[bool]) -> None:
    values = (torch.randn(5, 4, 3), torch.randn(4, 5, 3), torch.randn(4, 3), torch.rand(5, 4))

    def wanted(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(g for g, m in zip(gp.interpolate_backward(*values, mask), mask, strict=True) if m)

    same_as_loop(wanted, (0, 1, None, 0), values)


# --- complete writes, no reads or writes outside


@pytest.mark.parametrize("layout", ["points", "rows", "long rows", "channels_last", "sliced", "offset", "volumes"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_element_is_written(layout: str, dtype: torch.dtype, device: torch.device) -> None:
    # In this mode torch fills new memory with NaN.
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    real, fake, alpha = interpolation(layout, dtype, device)
    g = close_to_one(real)
    penalty, norms, direction = gp.gradient_norm_penalty_with_direction(g, *SPEC)
    results = [
        gp.interpolate(real, fake, alpha),
        *gp.interpolate_backward(fake, real, fake, alpha, [True, True, True]),
        *(penalty, norms, direction),
        *gp.gradient_norm_penalty(g, 1.0, 1.0, True, "none"),
        gp.gradient_norm_penalty_backward(penalty, norms, g, norms, *SPEC),
    ]
    assert not any(value.isnan().any() for value in results)


@pytest.mark.parametrize("layout", ["rows", "offset", "sliced"])
def test_arguments_are_not_written(layout: str) -> None:
    real, fake, alpha = interpolation(layout, torch.float32)
    before = [value.clone() for value in (real, fake, alpha)]
    gp.interpolate_backward(real, real, fake, alpha, [True, True, True])
    gp.interpolate(real, fake, alpha)
    norms = gp.gradient_norm_penalty_with_direction(real, *SPEC)[1]
    gp.gradient_norm_penalty_backward(norms.sum(), norms, real, norms, *SPEC)
    assert all(torch.equal(a, b) for a, b in zip(before, (real, fake, alpha), strict=True))


# --- errors instead of crashes

X, A = torch.ones(4, 3), torch.ones(4)
BAD_CALLS: dict[str, Callable[[], object]] = {
    "fake is shorter": lambda: gp.interpolate(X, X[:2], A),
    "fake has another rank": lambda: gp.interpolate(X, torch.ones(12), A),
    "fake has another dtype": lambda: gp.interpolate(X, X.half(), A),
    "samples are integers": lambda: gp.interpolate(X.int(), X.int(), A),
    "samples are complex": lambda: gp.gradient_norm_penalty(X.cfloat(), *SPEC),
    "samples are sparse": lambda: gp.gradient_norm_penalty(X.to_sparse(), *SPEC),
    "samples are a scalar": lambda: gp.gradient_norm_penalty(torch.tensor(1.0), *SPEC),
    "scalars to interpolate": lambda: gp.interpolate(A[0], A[0], A[0]),
    "alpha is shorter": lambda: gp.interpolate(X, X, A[:3]),
    "alpha is an element's": lambda: gp.interpolate(X, X, X),
    "alpha is half": lambda: gp.interpolate(X.half(), X.half(), A.half()),
    "alpha is float32 for float64": lambda: gp.interpolate(X.double(), X.double(), A),
    "reduction is unknown": lambda: gp.gradient_norm_penalty(X, 1.0, 1.0, False, "max"),
    "reduction is unknown, direction": lambda: gp.gradient_norm_penalty_with_direction(X, 1.0, 1.0, False, ""),
    "mask is short": lambda: gp.interpolate_backward(X, X, X, A, [True]),
    "grad is shorter": lambda: gp.interpolate_backward(X[:2], X, X, A, [True] * 3),
    "real is shorter": lambda: gp.interpolate_backward(X, X[:2], X, A, [True] * 3),
    "alpha is shorter, backward": lambda: gp.interpolate_backward(X, X, X, A[:3], [True] * 3),
    "norms are shorter": lambda: gp.gradient_norm_penalty_backward(A[0], A, X, A[:3], *SPEC),
    "norms are float64": lambda: gp.gradient_norm_penalty_backward(A[0], A, X, A.double(), *SPEC),
    "grad_norms is shorter": lambda: gp.gradient_norm_penalty_backward(None, A[:3], X, A, *SPEC),
    "grad_penalty is a row": lambda: gp.gradient_norm_penalty_backward(A, None, X, A, *SPEC),
    "grad_penalty is float64": lambda: gp.gradient_norm_penalty_backward(A[0].double(), None, X, A, *SPEC),
    "grad_penalty is one number": lambda: gp.gradient_norm_penalty_backward(A[0], None, X, A, 1.0, 1.0, False, "none"),
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_raw_operator_raises_on_what_it_cannot_read(call: str) -> None:
    assert ops.native_available("cpu"), ops.why_not_native("cpu")
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        BAD_CALLS[call]()
    assert "Could not run" not in str(caught.value) or "sparse" in call


# --- what is available


def test_native_available() -> None:
    assert ops.native_available("cpu"), ops.why_not_native("cpu")
    assert ops.why_not_native("cpu") == ""
    assert ops.native_available(torch.device("cpu", 0))
    for device in ("meta", torch.device("meta")):
        assert not ops.native_available(device)
        assert "meta" in ops.why_not_native(device)
    assert ops.native_available("cuda") == bool(ops.cuda_architectures())
    assert ops.native_available("cuda") or "GPGAN_CUDA=1" in ops.why_not_native("cuda")


def test_operator_on_a_device_without_kernels_names_the_reference() -> None:
    meta = X.to("meta")
    for call in (
        lambda: ops.interpolate(meta, meta, A.to("meta")),
        lambda: ops.gradient_norm_penalty(meta),
        lambda: ops.gradient_norm_penalty_with_direction(meta),
    ):
        with pytest.raises(RuntimeError, match=r"cannot run on meta: .*gpgan\.ops\.reference"):
            call()


def test_missing_library_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(gpgan.ops._native, "LIBRARY", tmp_path / "_C.abi3.so")
    architectures, why = gpgan.ops._native._load()
    assert architectures == ()
    assert "make" in why
    assert "pip install" in why
    (tmp_path / "_C.abi3.so").write_bytes(b"not a library")
    architectures, why = gpgan.ops._native._load()
    assert architectures == ()
    assert "does not load" in why
    assert torch.__version__ in why
    monkeypatch.setattr(gpgan.ops._native, "_architectures", ())
    assert ops.cuda_architectures() == ()
