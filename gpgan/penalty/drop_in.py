"""``gradient_penalty``, a drop-in replacement for a script's own ``compute_gradient_penalty``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from gpgan.ops._checks import check_reduction
from gpgan.ops.backend import backend_for
from gpgan.penalty.checks import check_grad_mode, check_rows, twice, warn_if_compiled
from gpgan.penalty.penalty import Critic, Penalty
from gpgan.penalty.points import check_points, draw_points
from gpgan.penalty.value import penalty_at
from gpgan.torch_private import outside_of_compiled_graphs


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


@outside_of_compiled_graphs
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

    ``weight * reduce((|grad f(x)| - target)^2)`` with one norm per sample, over all its elements. Call ``backward`` on
    the result (or on a loss that contains it) to get its gradient with respect to the critic's parameters. ``real`` and
    ``fake`` are detached: nothing flows into the generator.

    Args:
        critic: Any callable from ``[B, ...]`` to scores of any shape ``[B, ...]``. The scores are summed, never
            averaged, so that each sample's gradient is its own.
        real: Samples ``[B, ...]`` of any number of dimensions.
        fake: Samples of the same shape, dtype and device. ``real`` or ``fake`` may be None if ``points`` does not use
            it.
        weight: The lambda of the paper, zero or above.
        target: The desired norm, zero or above. For R1 and R2 use ``target=0`` and half of gamma as ``weight``.
        one_sided: Penalise only norms above ``target``.
        alpha: ``[B]`` in [0, 1], one number per sample: x = alpha * real + (1 - alpha) * fake. If None, drawn uniformly
            from ``generator``. The range is checked, which on a GPU waits for the device.
        generator: Draws ``alpha`` and the noise of ``points="noisy"``; on the device of the samples.
        points: Where the gradient is taken: ``"between"`` real and fake (WGAN-GP), at ``"real"`` (R1), at ``"fake"``
            (R2), at ``"both"`` (x is real, then fake, ``[2B, ...]``: R1 and R2 with half of gamma each are
            ``weight=gamma, target=0``; Huang et al., arXiv 2501.05441), at ``"noisy"`` real samples (DRAGAN: between
            real and real + 0.5 * std * uniform noise), or a Tensor ``[B, ...]`` of points.
        critic_args: Passed to the critic after x (labels).
        critic_kwargs: Passed to the critic after x. A tensor here or in ``critic_args`` must have B rows; with
            ``"both"`` it is repeated to 2B rows. Tensors inside lists or other containers are not checked.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (``[B]``; ``[2B]`` with ``"both"``), over all points.
        method: ``"exact"`` uses double backward. ``"finite_difference"`` does not: it is for critics without a double
            backward (fused attention, cuDNN RNNs, critics that must run compiled, reentrant checkpoints). Value and
            norms are the same. The gradient is that of a central difference of the scores along each sample's own
            gradient, from two more forwards with the same random numbers and buffers. Its relative error is below 1e-6
            in float64 and 1e-2 in float32 (measured: 1e-9 and 1e-4, more for strongly curved critics), and a few
            percent in bfloat16. The step is 0.1 * eps^(1/3) * |x_i|, where eps is the largest of the samples', scores'
            and autocast's dtypes (TF32 included) and |x_i| is at least the batch's mean. Piecewise-linear activations
            and max pooling are held on the side of their kinks where they are at x. This is not possible in compiled
            critics and checkpoints: there a difference may cross kinks, its error is then as large as the gradient, and
            a warning says so.
        second_order: ``"pruned"`` or ``"stock"`` double backward. Both give the same numbers; ``"pruned"`` skips work
            that is known to give zero. No effect on finite differences.
        impl: ``"native"`` kernels, the ``"reference"`` in plain PyTorch, or ``"auto"``: native if the compiled library
            runs on this device, else the reference, with one warning.
        grad_scale: For float16 under AMP: the ``GradScaler``, or its scale as a float or 0-d Tensor. The critic's
            gradient is computed scaled and unscaled in float32 before its norm is taken. The result itself is not
            scaled: pass the loss through ``scaler.scale`` as usual.
        allow_batch_coupling: Accept a critic whose samples depend on each other, as with BatchNorm in training mode,
            normalisation or attention over the batch, or scores minus their mean. Finite differences are then taken
            along one direction of the whole batch, and ``reduction="none"`` is not possible.
        return_norms: Also return the norms, ``[B]`` or ``[2B]``, detached.

    Returns:
        The penalty, a scalar (one number per point with ``reduction="none"``), float32 for half-precision samples. With
        ``return_norms``, the pair (penalty, norms).

    Raises:
        TypeError, ValueError: An argument has the wrong type, shape, dtype, device or range; the critic's output is not
            a Tensor ``[B, ...]`` or does not depend on its input; the critic couples the samples of a batch.
        RuntimeError: Grad mode is off; ``impl="native"`` without the library; ``method="exact"`` and an operator of the
            critic has no second derivative (the message names it and the cure); ``method="finite_difference"`` with a
            reentrant checkpoint in a critic whose module is not found, with a checkpoint around layers that change
            their buffers, during the capture of a CUDA graph, or with a critic whose backward is not the derivative of
            its forward; a transform of torch.func is active.

    Warns:
        UserWarning, once: Samples are coupled a little; the gradient is zero at all points; a critic's parameters are
            all frozen; it returns several scores per sample. Looked for at a critic's first penalty.

    Source:
        Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, equation 3 and algorithm 1.
    """
    check_reduction(reduction)
    # Its points are x.
    penalty = Penalty(
        weight, target, one_sided, "between", method, second_order, impl, allow_batch_coupling=allow_batch_coupling
    )
    exact = method == "exact"
    if not callable(critic):
        raise TypeError(f"critic is a {type(critic).__name__}; expected a callable from [B, ...] to scores [B, ...]")
    check_grad_mode("gradient_penalty")
    samples = check_points(points, real, fake)
    kwargs = {} if critic_kwargs is None else critic_kwargs
    check_rows(critic_args, kwargs, len(samples))
    backend = backend_for(impl, samples)
    x = draw_points(backend, points, real, fake, alpha, generator)
    if isinstance(points, str) and points == "both":
        critic_args, kwargs = twice(critic_args, kwargs)
    if exact:
        warn_if_compiled(critic)
    value, norms = penalty_at(
        critic, x, critic_args, kwargs, penalty, backend, reduction, _scale_tensor(grad_scale, x.device)
    )
    return (value, norms.detach()) if return_norms else value


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
