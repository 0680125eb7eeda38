"""The same step in JAX, as its users write it: one jitted function with donated buffers, optax.adam, images NHWC."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# By default JAX reserves three quarters of a GPU's memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import Tensor

from benchmarks.critic_step import critics
from benchmarks.critic_step.critics import BETAS, LR, SLOPE, WEIGHT, Problem

Parameters = dict[str, Any]  # named as in torch; linear weights [in, out], kernels [H, W, in, out]
Function = Callable[[Parameters, Any], Any]  # samples [B, ...] to scores [B]


def conv(p: Parameters, name: str, x: Any, stride: int, padding: int) -> Any:
    y = jax.lax.conv_general_dilated(
        x,
        p[f"{name}.weight"],
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + p[f"{name}.bias"]


def linear(p: Parameters, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp(p: Parameters, x: Any) -> Any:
    for i in (0, 2, 4):
        x = jax.nn.leaky_relu(linear(p, f"{i}", x), SLOPE)
    return linear(p, "6", x)[:, 0]


def dcgan(p: Parameters, x: Any) -> Any:
    for i in (0, 2, 4, 6):
        x = jax.nn.leaky_relu(conv(p, f"{i}", x, 2, 1), SLOPE)
    return linear(p, "9", x.reshape(len(x), -1))[:, 0]


def pool(x: Any) -> Any:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def resnet(p: Parameters, x: Any) -> Any:
    y = conv(p, "blocks.0.conv2", jax.nn.relu(conv(p, "blocks.0.conv1", x, 1, 1)), 1, 1)
    x = conv(p, "blocks.0.shortcut", pool(x), 1, 0) + pool(y)
    for i in (1, 2, 3):
        y = jax.nn.relu(conv(p, f"blocks.{i}.conv1", jax.nn.relu(x), 1, 1))
        y = conv(p, f"blocks.{i}.conv2", y, 1, 1)
        x = pool(conv(p, "blocks.1.shortcut", x, 1, 0)) + pool(y) if i == 1 else x + y
    return linear(p, "linear", jax.nn.relu(x).mean((1, 2)))[:, 0]


FUNCTIONS: dict[Any, Function] = {critics.mlp: mlp, critics.dcgan: dcgan, critics.ResNet: resnet}


def _to_jax(value: Tensor, image: tuple[int, int] | None) -> Tensor:
    """A parameter in JAX's layout. image: the sides of what a linear layer's input was flattened from, if it was."""
    if value.dim() == 4:
        return value.permute(2, 3, 1, 0)
    if value.dim() == 2 and image:  # flattened from [C, H, W] there, from [H, W, C] here
        value = value.unflatten(1, (-1, *image)).permute(0, 2, 3, 1).flatten(1)
    return value.t()


def _to_torch(value: Tensor, image: tuple[int, int] | None) -> Tensor:
    """And back."""
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1)
    value = value.t()
    if value.dim() == 2 and image:
        value = value.unflatten(1, (*image, -1)).permute(0, 3, 1, 2).flatten(1)
    return value


def _array(value: Tensor) -> Any:
    return jnp.asarray(value.detach().cpu().contiguous().numpy())


def _samples(value: Tensor) -> Any:
    return _array(value.movedim(1, -1) if value.dim() == 4 else value)


PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}


class JaxStep:
    note: str = ""

    def __init__(self, problem: Problem) -> None:
        if problem.device == "cuda" and jax.default_backend() != "gpu":
            raise ImportError("this JAX has no GPU")
        self.net = problem.net
        self.function = FUNCTIONS[problem.case.make]
        self.half = problem.precision == "bfloat16"
        jax.config.update("jax_default_matmul_precision", PRECISIONS[problem.precision])
        self.data = _samples(problem.real), _samples(problem.fake)
        self.optimizer = optax.adam(LR, b1=BETAS[0], b2=BETAS[1])
        self.image = (4, 4) if problem.case.make is critics.dcgan else None
        parameters = {name: _array(_to_jax(value, self.image)) for name, value in self.net.named_parameters()}
        self.state = parameters, self.optimizer.init(parameters), jax.random.key(0)
        self.jitted = jax.jit(self._step, donate_argnums=(0, 1))

    def critic(self, parameters: Parameters, x: Any) -> Any:
        if self.half:  # float32 parameters, bfloat16 arithmetic
            parameters, x = jax.tree.map(lambda value: value.astype(jnp.bfloat16), (parameters, x))
        return self.function(parameters, x).astype(jnp.float32)

    def _loss(self, parameters: Parameters, real: Any, fake: Any, alpha: Any) -> Any:
        alpha = alpha.reshape(-1, *[1] * (real.ndim - 1))
        x = alpha * real + (1 - alpha) * fake
        grads = jax.grad(lambda x: self.critic(parameters, x).sum())(x)
        norms = jnp.sqrt((grads.reshape(len(grads), -1) ** 2).sum(1))
        wasserstein = self.critic(parameters, fake).mean() - self.critic(parameters, real).mean()
        return wasserstein + WEIGHT * ((norms - 1) ** 2).mean()

    def _step(self, parameters: Parameters, moments: Any, key: Any, real: Any, fake: Any, alpha: Any = None) -> Any:
        key, drawn = jax.random.split(key)
        if alpha is None:
            alpha = jax.random.uniform(drawn, (len(real),))
        loss, grads = jax.value_and_grad(self._loss)(parameters, real, fake, alpha)
        updates, moments = self.optimizer.update(grads, moments, parameters)
        return optax.apply_updates(parameters, updates), moments, key, loss

    def __call__(self, alpha: Tensor | None = None) -> None:
        given = () if alpha is None else (_array(alpha),)
        *state, loss = self.jitted(*self.state, *self.data, *given)
        self.state = tuple(state)
        loss.block_until_ready()

    def gradients(self) -> list[Tensor]:
        first = self.state[1][0].mu
        return [
            _to_torch(torch.from_numpy(np.array(first[name])), self.image) for name, _ in self.net.named_parameters()
        ]

    def own_counts(self) -> dict[str, Any]:
        """The step's operations over those of a forward, as XLA counts them, elementwise ones included; and the memory that it
        allocates for intermediate results. Parameters and moments are updated in place."""
        step = self.jitted.lower(*self.state, *self.data).compile()
        forward = jax.jit(self.critic).lower(self.state[0], self.data[0]).compile()
        flops, of_one = ((compiled.cost_analysis() or {}).get("flops") for compiled in (step, forward))
        memory = step.memory_analysis()
        return {
            "forwards": flops / of_one if flops and of_one else None,
            "peak_bytes": None if memory is None else int(memory.temp_size_in_bytes),
        }
