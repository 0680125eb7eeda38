"""The gradient penalty as a drop-in: one call in place of a script's own ``compute_gradient_penalty``."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

# As torch.compiler.disable, which would import all of torch.compile with this package: what is compiled has no double
# backward, so a compiled training step leaves its graph here and comes back to it after.
from torch._compile import _disable_dynamo

from gpgan.ops._checks import accumulate_dtype, check_penalty
from gpgan.ops.backend import backend_for
from gpgan.penalty import graph
from gpgan.penalty.checks import check_rows, check_scores, is_compiled, refuse_batch_statistics, twice
from gpgan.penalty.exact import Exact
from gpgan.penalty.finite_difference import FiniteDifference
from gpgan.penalty.penalty import Critic, check_choices
from gpgan.penalty.points import draw_points
from gpgan.util.warn import warn_once

# The largest power of two that float16 holds with room for one doubling.
FLOAT16_SEED_MAX = 2.0**14


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
            'taken of the whole batch; expected "mean" or "sum", or method="exact"'
        )
    if not callable(critic):
        raise TypeError(f"critic is a {type(critic).__name__}; expected a callable from [B, ...] to scores [B, ...]")
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
            warn_once(
                "gradient_penalty runs the module underneath a torch.compile'd critic: a compiled graph has no double "
                "backward (pytorch#91469)"
            )
        way = Exact(run, x, pruned=second_order == "pruned")
    else:
        way = FiniteDifference(run, x, critic, coupled=allow_batch_coupling)
    scores = way.scores()
    if isinstance(way, FiniteDifference) and way.may_cross_kinks():
        warn_once(
            "gradient_penalty by finite differences cannot hold piecewise-linear activations at their kinks inside of "
            "torch.compile or torch.utils.checkpoint: a difference that crosses kinks has an error as large as the "
            'gradient. Use smooth activations there, or method="exact"'
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
                f"grad_scale has shape {tuple(grad_scale.shape)} and dtype {grad_scale.dtype}; expected a 0-d floating point Tensor"
            )
        return grad_scale.detach().to(device, torch.float32)
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, (int, float)):
        raise TypeError(f"grad_scale is a {type(grad_scale).__name__}; expected a float, a 0-d Tensor or a GradScaler")
    if not 0 < grad_scale < float("inf"):
        raise ValueError(f"grad_scale is {grad_scale}; expected a finite number above zero")
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
            "expected a critic that is differentiable in its first argument"
        )
    if scale is not None:
        grads = grads.to(accumulate_dtype(grads.dtype)) / scale
    return grads
