"""The gradient penalty as a drop-in: one call in place of a script's own ``compute_gradient_penalty``."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

# As torch.compiler.disable, which would import all of torch.compile with this package: what is compiled has no double
# backward, so a compiled training step leaves its graph here and comes back to it after.
from torch._compile import _disable_dynamo

from gpgan import ops
from gpgan.ops import reference
from gpgan.ops._checks import accumulate_dtype, check_alpha, check_penalty, check_same, check_samples
from gpgan.second_order import Pruning, graph

Critic = Callable[..., Tensor]

# What each kind of points is made of.
NEEDS = {"between": ("real", "fake"), "real": ("real",), "fake": ("fake",), "noisy": ("real",)}
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
            (R2), at ``"noisy"`` real samples (DRAGAN: between real and real + 0.5 * std * uniform noise), or a Tensor
            ``[B, ...]`` of points.
        critic_args: Passed on after x (labels).
        critic_kwargs: Passed on after x. A tensor here or in ``critic_args`` must have B rows.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (``[B]``).
        method: ``"exact"``, by double backward.
        second_order: ``"pruned"`` or ``"stock"`` double backward: the same numbers, of which the first leaves out the
            work that is known to give zero.
        impl: ``"native"`` kernels, the ``"reference"`` in plain PyTorch, or ``"auto"``: native where the compiled
            library runs on this device, else the reference, said once.
        grad_scale: For float16 under AMP: the ``GradScaler``, or its scale as a float or 0-d Tensor. The critic's
            gradient is computed scaled and unscaled in float32 before its norm is taken. The result itself is not
            scaled: pass the loss through ``scaler.scale`` as usual.
        allow_batch_coupling: Let a critic pass whose BatchNorm uses the statistics of the batch.
        return_norms: Also return the norms ``[B]``, detached.

    Returns:
        The penalty, a scalar (``[B]`` where ``reduction="none"``), float32 for half-precision samples. With
        ``return_norms`` the pair (penalty, norms).

    Raises:
        TypeError, ValueError: An argument is of the wrong type, shape, dtype, device or range; the critic's output is
            no Tensor ``[B, ...]`` or does not depend on its input; the critic couples the samples of a batch.
        RuntimeError: Grad mode is off, so there would be no gradient; or ``impl="native"`` without the library.
        NotImplementedError: ``method="finite_difference"``.

    Source:
        Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, equation 3 and algorithm 1.
    """
    check_penalty(weight, target, reduction)
    check_choices(method=method, second_order=second_order, impl=impl)
    if method == "finite_difference":
        raise NotImplementedError('method="finite_difference" is not there yet; use method="exact"')
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
    backend = _backend(impl, given)
    x = _points(backend, real, fake, points, alpha, generator)
    kwargs = dict(critic_kwargs or {})
    _check_rows(critic_args, kwargs, x.shape[0])

    with Pruning() if second_order == "pruned" else contextlib.nullcontext():
        scores = _scores(critic, x, critic_args, kwargs)
    behind = [] if scores.grad_fn is None else graph.nodes(scores.grad_fn)
    if not allow_batch_coupling:
        _refuse_batch_statistics(behind, x)
    grads = _input_gradient(scores, x, _scale_tensor(grad_scale, x.device))
    penalty, norms = backend.gradient_norm_penalty(
        grads, weight=weight, target=target, one_sided=one_sided, reduction=reduction
    )
    if second_order == "pruned":
        penalty = graph.reach_every_leaf(penalty, behind, x)
    return (penalty, norms.detach()) if return_norms else penalty


def check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; wanted one of {', '.join(map(repr, CHOICES[name]))}")


def _tell_once(message: str) -> None:
    if message not in _told:
        _told.add(message)
        warnings.warn(message, stacklevel=6)  # the caller: three frames here, two of _disable_dynamo


def _backend(impl: str, samples: Tensor | None) -> ModuleType:
    """The module whose operators are to run."""
    if impl == "reference" or not isinstance(samples, Tensor):
        return reference
    if ops.native_available(samples.device):
        return ops
    if impl == "native":
        raise RuntimeError(f'impl="native" cannot run on {samples.device}: {ops.why_not_native(samples.device)}')
    _tell_once(f"gpgan runs its reference in plain PyTorch on {samples.device}: {ops.why_not_native(samples.device)}")
    return reference


def _points(
    backend: ModuleType,
    real: Tensor | None,
    fake: Tensor | None,
    points: str | Tensor,
    alpha: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """The points x [B, ...] at which the gradient is taken: a fresh leaf that requires grad."""
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


def _check_rows(critic_args: Sequence[Any], critic_kwargs: Mapping[str, Any], batch: int) -> None:
    """Raises where a tensor handed to the critic has not one row a sample, so that it would broadcast."""
    if isinstance(critic_args, Tensor):
        raise TypeError("critic_args is a Tensor; wanted a tuple of arguments, e.g. critic_args=(labels,)")
    named = [(f"critic_args[{i}]", value) for i, value in enumerate(critic_args)]
    named += [(f"critic_kwargs[{name!r}]", value) for name, value in critic_kwargs.items()]
    for name, value in named:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] != batch:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} and would broadcast over a batch of {batch}; wanted {batch} rows. "
                "Bind a tensor that all samples share with functools.partial"
            )


# Autograd's nodes of a batch_norm. All but the last save whether they took the statistics of the batch; it always does.
SYNC_BATCH_NORM_NODE = "SyncBatchNormBackward"
BATCH_NORM_NODES = frozenset(
    {"NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0", SYNC_BATCH_NORM_NODE}
)


def _couples(node: Any) -> bool:
    if type(node).__name__ == SYNC_BATCH_NORM_NODE:
        return True
    # InstanceNorm is a batch_norm too, of one sample that holds all samples' channels. The shape is asked of the graph's
    # edge: a saved tensor may have to be recomputed or fetched.
    return bool(node._saved_training) and node._input_metadata[0].shape[0] > 1


def _refuse_batch_statistics(behind: list[Any], x: Tensor) -> None:
    """Raises where x is normalised by the statistics of its batch on the way to scores, whoever called batch_norm."""
    norms = [node for node in behind if type(node).__name__ in BATCH_NORM_NODES]
    for node in norms:
        if _couples(node) and torch.autograd.graph.get_gradient_edge(x).node in graph.nodes(node):
            raise ValueError(
                "critic has a BatchNorm in training mode: it couples the samples of a batch, so that no sample's "
                "gradient is its own. Use LayerNorm, InstanceNorm or GroupNorm, call critic.eval(), or pass "
                "allow_batch_coupling=True"
            )


def _is_compiled(critic: Critic) -> bool:
    if not isinstance(critic, nn.Module):
        return hasattr(critic, "_torchdynamo_orig_callable")
    # As any(... for m in critic.modules()), in a tenth of the time: this runs on every call.
    waiting: list[nn.Module | None] = [critic]
    while waiting:
        module = waiting.pop()
        if module is not None:
            if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
                return True
            waiting.extend(module._modules.values())
    return False


def _scores(critic: Critic, x: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The critic's scores [B, ...] at x, checked."""
    if _is_compiled(critic):
        _tell_once(
            "gradient_penalty runs the module underneath a torch.compile'd critic: a compiled graph has no double "
            "backward (pytorch#91469)"
        )
    # Also where no compiled critic is seen: it may hide in a partial or a closure.
    with torch.compiler.set_stance("force_eager"):
        scores = critic(x, *args, **kwargs)
    if not isinstance(scores, Tensor):
        how = {tuple: "out[0]", list: "out[0]"}.get(
            type(scores), "out['score']" if isinstance(scores, dict) else "the scores"
        )
        raise TypeError(
            f"critic returned a {type(scores).__name__}; wanted a Tensor [B, ...]. Select the scores: wrap the critic "
            f"in a function that returns {how}"
        )
    if not scores.dtype.is_floating_point:
        raise TypeError(f"critic returned {scores.dtype}; wanted real floating point scores")
    if scores.dim() == 0 or scores.shape[0] != x.shape[0]:
        raise ValueError(
            f"critic returned shape {tuple(scores.shape)} for {x.shape[0]} samples; wanted [{x.shape[0]}, ...], not averaged or "
            "summed over the batch"
        )
    return scores


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


def _input_gradient(scores: Tensor, x: Tensor, scale: Tensor | None) -> Tensor:
    """d sum(scores) / dx [B, ...], with a graph of its own; computed scaled where a scale is given."""
    seed = torch.ones_like(scores)
    if scale is not None:
        # One score's share of the scaled loss must be finite in float16, which may lie anywhere behind float32 scores;
        # any power of two unscales to the same number.
        scale = scale.clamp(max=FLOAT16_SEED_MAX)
        seed = seed * scale.to(scores.dtype)
    grads: Tensor | None = None
    if scores.requires_grad:
        (grads,) = torch.autograd.grad(scores, x, seed, create_graph=True, allow_unused=True)
    if grads is None:
        raise ValueError(
            "critic's scores do not depend on its input (is it computed under no_grad, detached, or of another tensor?); "
            "wanted a critic that is differentiable in its first argument"
        )
    if scale is not None:
        grads = grads.to(accumulate_dtype(grads.dtype)) / scale
    return grads
