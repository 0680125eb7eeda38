"""The gradient penalty as a drop-in: one call in place of a script's own ``compute_gradient_penalty``."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, overload

import torch
from torch import Tensor

# As torch.compiler.disable, which would import all of torch.compile with this package: what is compiled has no double
# backward, so a compiled training step leaves its graph here and comes back to it after.
from torch._compile import _disable_dynamo

from gpgan import ops
from gpgan.critic_checks import check_rows, check_scores, is_compiled, refuse_batch_statistics, twice
from gpgan.ops import reference
from gpgan.ops._checks import accumulate_dtype, check_alpha, check_penalty, check_same, check_samples
from gpgan.second_order import graph
from gpgan.second_order.exact import Exact
from gpgan.second_order.finite_difference import FiniteDifference

Critic = Callable[..., Tensor]

# What each kind of points is made of.
NEEDS = {
    "between": ("real", "fake"),
    "real": ("real",),
    "fake": ("fake",),
    "both": ("real", "fake"),
    "noisy": ("real",),
}
CHOICES = {
    "points": tuple(NEEDS),
    "method": ("exact", "finite_difference"),
    "second_order": ("pruned", "stock"),
    "impl": ("auto", "native", "reference"),
}
# Half the standard deviation of the data, after Kodali et al., arXiv 1705.07215, and its authors' code.
NOISE_SCALE = 0.5
# The largest power of two that float16 holds with room for one doubling.
FLOAT16_SEED_MAX = 2.0**14

_told: set[str] = set()


@dataclass(frozen=True)
class Penalty:
    """What a penalty is, for ``CriticStep``: arguments of ``gradient_penalty``, which says what each one means."""

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    points: str = "between"
    method: str = "exact"
    second_order: str = "pruned"
    impl: str = "auto"
    allow_batch_coupling: bool = False

    def __post_init__(self) -> None:
        check_penalty(self.weight, self.target, "mean")
        check_choices(points=self.points, method=self.method, second_order=self.second_order, impl=self.impl)

    @property
    def batches(self) -> int:
        """How many batches of points it is taken at."""
        return 2 if self.points == "both" else 1


@overload
def gradient_penalty(
    critic: Critic,
    real: Tensor | None,
    fake: Tensor | None,
    *,
    weight: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    alpha: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    points: str | Tensor = ...,
    critic_args: Sequence[Any] = ...,
    critic_kwargs: Mapping[str, Any] | None = ...,
    reduction: str = ...,
    method: str = ...,
    second_order: str = ...,
    impl: str = ...,
    grad_scale: float | Tensor | torch.amp.GradScaler | None = ...,
    allow_batch_coupling: bool = ...,
    return_norms: Literal[False] = ...,
) -> Tensor: ...


@overload
def gradient_penalty(
    critic: Critic,
    real: Tensor | None,
    fake: Tensor | None,
    *,
    weight: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    alpha: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    points: str | Tensor = ...,
    critic_args: Sequence[Any] = ...,
    critic_kwargs: Mapping[str, Any] | None = ...,
    reduction: str = ...,
    method: str = ...,
    second_order: str = ...,
    impl: str = ...,
    grad_scale: float | Tensor | torch.amp.GradScaler | None = ...,
    allow_batch_coupling: bool = ...,
    return_norms: Literal[True],
) -> tuple[Tensor, Tensor]: ...


@_disable_dynamo
def gradient_penalty(
    critic: Critic,
    real: Tensor | None,
    fake: Tensor | None,
    *,
    weight: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    alpha: Tensor | None = None,
    generator: torch.Generator | None = None,
    points: str | Tensor = "between",
    critic_args: Sequence[Any] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    reduction: str = "mean",
    method: str = "exact",
    second_order: str = "pruned",
    impl: str = "auto",
    grad_scale: float | Tensor | torch.amp.GradScaler | None = None,
    allow_batch_coupling: bool = False,
    return_norms: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Penalty on the norm of the critic's gradient with respect to its input.

    ``weight * reduce((|grad f(x)| - target)^2)`` with one norm a sample, over all its elements. Call ``backward`` on
    the result (or on a loss it is part of) for its gradient with respect to the critic's parameters. ``real`` and
    ``fake`` are detached: nothing flows into the generator.

    Args:
        critic: Any callable from ``[B, ...]`` to scores of any shape ``[B, ...]``. The scores are summed, never
            averaged, so that each sample's gradient is its own.
        real: Samples ``[B, ...]`` of any number of dimensions.
        fake: Samples of the same shape, dtype and device. Of ``real`` and ``fake``, one that ``points`` does not use
            may be None.
        weight: The lambda of the paper, zero or above.
        target: The wanted norm, zero or above. R1 and R2 are ``target=0`` with half of gamma as ``weight``.
        one_sided: Penalise only norms above ``target``.
        alpha: ``[B]`` in [0, 1], one number a sample: x = alpha * real + (1 - alpha) * fake. Drawn uniformly from
            ``generator`` where None. The range is checked, which on a GPU waits for the device.
        generator: For ``alpha`` and for the noise of ``points="noisy"``; on the device of the samples.
        points: Where the gradient is taken: ``"between"`` real and fake (WGAN-GP), at ``"real"`` (R1), at ``"fake"``
            (R2), at ``"both"`` (x is real, then fake, ``[2B, ...]``: R1 and R2 with half of gamma each are
            ``weight=gamma, target=0``; Huang et al., arXiv 2501.05441), at ``"noisy"`` real samples (DRAGAN: between
            real and real + 0.5 * std * uniform noise), or a Tensor ``[B, ...]`` of points.
        critic_args: Passed on after x (labels).
        critic_kwargs: Passed on after x. A tensor here or in ``critic_args`` must have B rows; at ``"both"`` they are
            passed on twice, one copy behind the other. Lists and the like are not looked into.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (``[B]``), over all points: ``[2B]`` at ``"both"``.
        method: ``"exact"``, by double backward, or ``"finite_difference"``, without: for critics that have none (fused
            attention, cuDNN RNNs, compiled as they are, reentrant checkpoints). Value and norms are the same; the
            gradient is that of a central difference of the scores along each sample's own gradient, over two more
            forwards with the same random numbers and buffers. Its error over its norm is below 1e-6 in float64 and 1e-2
            in float32 (measured: 1e-9 and 1e-4, more where a critic bends strongly), and some percent in bfloat16. The
            step is 0.1 * eps^(1/3) * |x_i|, with the coarsest eps of the dtypes of samples, scores and autocast (TF32
            counts) and |x_i| not less than the batch's mean. Piecewise-linear activations and max pooling stay on the
            side of their kinks where they are at x, except in compiled critics and checkpoints: there a difference may
            cross kinks, its error is then as large as the gradient, and a warning says so.
        second_order: ``"pruned"`` or ``"stock"`` double backward: the same numbers, of which the first leaves out the
            work that is known to give zero. Of no effect on finite differences.
        impl: ``"native"`` kernels, the ``"reference"`` in plain PyTorch, or ``"auto"``: native where the compiled
            library runs on this device, else the reference, said once.
        grad_scale: For float16 under AMP: the ``GradScaler``, or its scale as a float or 0-d Tensor. The critic's
            gradient is computed scaled and unscaled in float32 before its norm is taken. The result itself is not
            scaled: pass the loss through ``scaler.scale`` as usual.
        allow_batch_coupling: Let a critic pass whose BatchNorm uses the statistics of the batch. Finite differences
            are then taken along one direction of the whole batch, so that ``reduction="none"`` is not possible.
        return_norms: Also return the norms, ``[B]`` or ``[2B]``, detached.

    Returns:
        The penalty, a scalar (one a point where ``reduction="none"``), float32 for half-precision samples. With
        ``return_norms`` the pair (penalty, norms).

    Raises:
        TypeError, ValueError: An argument is of the wrong type, shape, dtype, device or range; the critic's output is
            no Tensor ``[B, ...]`` or does not depend on its input; the critic couples the samples of a batch.
        RuntimeError: Grad mode is off, so there would be no gradient; ``impl="native"`` without the library;
            ``method="exact"`` and an operator of the critic has no second derivative (it is named, with the cure);
            ``method="finite_difference"`` and a reentrant checkpoint in a critic whose module is not found, a checkpoint
            around layers that change their buffers, or a CUDA graph under capture.

    Source:
        Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, equation 3 and algorithm 1.
    """
    check_penalty(weight, target, reduction)
    check_choices(method=method, second_order=second_order, impl=impl)
    exact = method == "exact"
    if not exact and allow_batch_coupling and reduction == "none":
        raise ValueError(
            'reduction is "none" with method="finite_difference" and allow_batch_coupling=True, where one difference is '
            'taken of the whole batch; wanted "mean" or "sum", or method="exact"'
        )
    if not callable(critic):
        raise TypeError(f"critic is a {type(critic).__name__}; wanted a callable from [B, ...] to scores [B, ...]")
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        mode, cure = (
            ("torch.inference_mode", "call it outside")
            if torch.is_inference_mode_enabled()
            else ("torch.no_grad", "call it outside, or inside torch.enable_grad()")
        )
        raise RuntimeError(
            f"gradient_penalty was called with grad mode off ({mode}), where the critic has no gradient to penalise; {cure}"
        )

    given = points if isinstance(points, Tensor) else real if real is not None else fake
    backend = backend_for(impl, given)
    x = draw_points(backend, real, fake, points, alpha, generator)
    kwargs = critic_kwargs or {}
    if isinstance(points, str) and points == "both":
        check_rows(critic_args, kwargs, len(x) // 2)
        critic_args, kwargs = twice(critic_args, kwargs)
    else:
        check_rows(critic_args, kwargs, len(x))

    def run(points: Tensor) -> Tensor:
        return check_scores(critic(points, *critic_args, **kwargs), len(points))

    way: Exact | FiniteDifference
    if exact:
        if is_compiled(critic):
            _tell_once(
                "gradient_penalty runs the module underneath a torch.compile'd critic: a compiled graph has no double "
                "backward (pytorch#91469)",
                frames=1,
            )
        way = Exact(run, x, pruned=second_order == "pruned")
    else:
        way = FiniteDifference(run, x, critic, coupled=allow_batch_coupling)
    scores = way.scores()
    if isinstance(way, FiniteDifference) and way.may_cross_kinks():
        _tell_once(
            "gradient_penalty by finite differences cannot hold piecewise-linear activations at their kinks inside of "
            "torch.compile or torch.utils.checkpoint: a difference that crosses kinks has an error as large as the "
            'gradient. Use smooth activations there, or method="exact"',
            frames=1,
        )
    behind = [] if scores.grad_fn is None else graph.nodes(scores.grad_fn)
    if not allow_batch_coupling:
        refuse_batch_statistics(critic, behind, x)
    grads = _input_gradient(way, scores, behind, _scale_tensor(grad_scale, x.device))
    value = functools.partial(
        backend.gradient_norm_penalty, weight=weight, target=target, one_sided=one_sided, reduction=reduction
    )
    penalty, norms = value(grads)
    penalty = way.finish(penalty, norms, grads, behind, value)
    return (penalty, norms.detach()) if return_norms else penalty


def check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; wanted one of {', '.join(map(repr, CHOICES[name]))}")


def _tell_once(message: str, frames: int = 2) -> None:
    """Warns the caller of gradient_penalty, itself that many frames up from here."""
    if message not in _told:
        _told.add(message)
        warnings.warn(message, stacklevel=frames + 4)  # this frame, two of _disable_dynamo, the caller


def backend_for(impl: str, samples: Tensor | None) -> ModuleType:
    """The module whose operators are to run."""
    if impl == "reference" or not isinstance(samples, Tensor):
        return reference
    if ops.native_available(samples.device):
        return ops
    if impl == "native":
        raise RuntimeError(f'impl="native" cannot run on {samples.device}: {ops.why_not_native(samples.device)}')
    _tell_once(f"gpgan runs its reference in plain PyTorch on {samples.device}: {ops.why_not_native(samples.device)}")
    return reference


def draw_points(
    backend: ModuleType,
    real: Tensor | None,
    fake: Tensor | None,
    points: str | Tensor,
    alpha: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """The points x [B, ...], or [2B, ...] of both, at which the gradient is taken: a fresh leaf that requires grad."""
    kind = "points" if isinstance(points, Tensor) else points
    if isinstance(points, Tensor):
        samples = {kind: points}
    elif isinstance(kind, str) and kind in NEEDS:
        needs = NEEDS[kind]
        came = {"real": real, "fake": fake}
        missing = [name for name in needs if came[name] is None]
        if missing:
            raise TypeError(f"{missing[0]} is None; points={kind!r} needs it, a Tensor [B, ...]")
        samples = {name: value for name, value in came.items() if value is not None}
    else:
        raise ValueError(f"points is {points!r}; wanted a Tensor [B, ...] or one of {', '.join(map(repr, NEEDS))}")

    (first_name, first), *others = samples.items()
    check_samples(first_name, first)
    for name, value in others:
        check_same(name, value, first_name, first)
    if first.shape[0] == 0:
        raise ValueError(f"{first_name} has shape {tuple(first.shape)}: an empty batch has no penalty; skip the step")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a {type(generator).__name__}; wanted a torch.Generator, e.g. torch.Generator().manual_seed(0)"
        )
    if generator is not None and generator.device.type != first.device.type:
        raise ValueError(
            f"generator is on {generator.device} and the samples are on {first.device}; wanted the same device"
        )
    if alpha is not None:
        _check_alpha_range(alpha, first)

    with torch.no_grad():
        if kind in ("between", "noisy"):
            if alpha is None:
                alpha = torch.rand(
                    first.shape[0], dtype=accumulate_dtype(first.dtype), device=first.device, generator=generator
                )
            other = samples["fake"] if kind == "between" else _noisy(first, generator)
            x: Tensor = backend.interpolate(first, other, alpha)
        elif kind == "both":
            x = torch.cat([first, samples["fake"]])
        else:
            # clone, not detach: the leaf must be its own tensor, and a normal one where an inference tensor came in.
            x = samples[kind].clone()
    return x.requires_grad_()


def _noisy(real: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.rand(real.shape, dtype=real.dtype, device=real.device, generator=generator)
    return real + NOISE_SCALE * real.std(correction=0) * noise


def _check_alpha_range(alpha: Tensor, samples: Tensor) -> None:
    check_alpha(alpha, samples)
    if alpha.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    # A NaN does not equal itself.
    if not torch.equal(alpha, alpha.clamp(0, 1)):
        low, high = alpha.min().item(), alpha.max().item()
        raise ValueError(f"alpha runs from {low} to {high}; wanted numbers in [0, 1], e.g. torch.rand({len(alpha)})")


def _scale_tensor(grad_scale: float | Tensor | torch.amp.GradScaler | None, device: torch.device) -> Tensor | None:
    """The scale as a 0-d float32 Tensor, without waiting for the device."""
    if grad_scale is None:
        return None
    if isinstance(grad_scale, torch.amp.GradScaler):
        scaled: Tensor = grad_scale.scale(torch.ones((), device=device))
        return scaled
    if isinstance(grad_scale, Tensor):
        if grad_scale.dim() != 0 or not grad_scale.dtype.is_floating_point:
            raise ValueError(
                f"grad_scale has shape {tuple(grad_scale.shape)} and dtype {grad_scale.dtype}; wanted a 0-d floating point Tensor"
            )
        return grad_scale.detach().to(device, torch.float32)
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, (int, float)):
        raise TypeError(f"grad_scale is a {type(grad_scale).__name__}; wanted a float, a 0-d Tensor or a GradScaler")
    if not 0 < grad_scale < float("inf"):
        raise ValueError(f"grad_scale is {grad_scale}; wanted a finite number above zero")
    return torch.full((), float(grad_scale), device=device)


def _input_gradient(way: Exact | FiniteDifference, scores: Tensor, behind: list[Any], scale: Tensor | None) -> Tensor:
    """d sum(scores) / dx ``[B, ...]``; computed scaled where a scale is given."""
    seed = torch.ones_like(scores)
    if scale is not None:
        # One score's share of the scaled loss must be finite in float16, which may lie anywhere behind float32 scores;
        # any power of two unscales to the same number.
        scale = scale.clamp(max=FLOAT16_SEED_MAX)
        seed = seed * scale.to(scores.dtype)
    grads = way.gradient(scores, seed, behind) if scores.requires_grad else None
    if grads is None:
        raise ValueError(
            "critic's scores do not depend on its input (is it computed under no_grad, detached, or of another tensor?); "
            "wanted a critic that is differentiable in its first argument"
        )
    if scale is not None:
        grads = grads.to(accumulate_dtype(grads.dtype)) / scale
    return grads
