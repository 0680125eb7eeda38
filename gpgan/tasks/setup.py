"""From a configuration to what the trainer needs, with every check made before anything is written."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gpgan import nn as networks
from gpgan import ops
from gpgan.data import Dataset
from gpgan.nn.packing import pack
from gpgan.nn.spectral import is_normalised, spectral_norm
from gpgan.settings.config import Config, PenaltyConfig
from gpgan.settings.defaults import SMALL
from gpgan.util import random_states
from gpgan.util.imports import find_attribute
from gpgan.util.processes import Processes

WIDTHS = {"conv": 16, "mlp": 256, "resnet": 64}


def resolve(config: Config, dataset: Dataset, processes: Processes) -> Config:
    """The configuration with nothing left open.

    Raises:
        ValueError: The device, the operators, the labels or the batch cannot be had as configured.
    """
    count = len(dataset)
    if config.batch > count:
        raise ValueError(
            f"batch is {config.batch} and {config.data} has {count} samples to train on; expected a batch from 2 to {count}"
        )
    # A BatchNorm cannot normalise one sample.
    if config.batch % processes.size or config.batch < 2 * processes.size:
        raise ValueError(
            f"batch is {config.batch} and there are {processes.size} processes; expected a multiple of {processes.size}, "
            f"{2 * processes.size} or more"
        )
    if config.batch % (config.pack * processes.size):
        raise ValueError(
            f"pack is {config.pack} and each of {processes.size} processes has {config.batch // processes.size} samples of "
            f"the batch; expected a batch of {config.pack * processes.size} or a multiple of it"
        )
    if config.network.norm == "batch" and config.batch == config.pack * processes.size:
        raise ValueError(
            f"network.norm is 'batch' and the batch of {config.batch} is one pack of {config.pack} for each of "
            f"{processes.size} processes, which a BatchNorm cannot normalise; expected a batch of {2 * config.batch} or more, "
            "or --network.norm layer"
        )
    processors = os.cpu_count() or 1
    if config.threads > processors:
        raise ValueError(f"threads is {config.threads}; expected a whole number from 0 to {processors}")
    if config.conditional and dataset.labels is None:
        raise ValueError(
            f"conditional is True and {config.data} has no labels; expected data with labels, or leave it out"
        )
    device = _device(config.device)
    net = config.network
    # In very few pixels a perceptron learns more in the same time than convolutions do.
    suits_conv = len(dataset.shape) > 1 and math.prod(dataset.shape) > SMALL
    kind: Literal["mlp", "conv", "resnet"] = net.kind if net.kind != "auto" else "conv" if suits_conv else "mlp"
    return replace(
        config,
        device=str(device),
        impl=_impl(config.impl, device),
        threads=config.threads or torch.get_num_threads(),
        network=replace(net, kind=kind, width=net.width or WIDTHS[kind]),
    )


def build_networks(
    config: Config,
    shape: Sequence[int],
    classes: int,
    generator: nn.Module | None = None,
    critic: nn.Module | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Generator and critic of a resolved configuration, on its device.

    Args:
        config: ``network.generator`` and ``network.critic`` name callables ``(latent=, shape=)`` and ``(shape=)`` that
            return modules; conditional runs also give ``classes=``. With ``pack`` the critic's shape is that of a pack.
        shape: Of a sample.
        classes: How many there are; 0 for unconditional networks.
        generator, critic: Modules that there are already, taken in place of what the configuration names; the critic is
            changed in place where spectral normalisation is asked for.

    Raises:
        ValueError: A network cannot be built so.
    """
    net = config.network
    if critic is not None and (net.norm != "none" or net.critic_depth):
        raise ValueError(
            f"network.norm is {net.norm!r} and network.critic-depth is {net.critic_depth}, which are of gpgan's own critics, "
            "and a critic is given; expected one of them"
        )
    pair = [generator, critic]
    extra = {"classes": classes} if classes else {}
    # Networks of a user's own draw their first weights from the process's states, as torch's constructors do.
    with random_states.borrowed():
        random_states.seed(config.seed)
        if generator is None and net.generator:
            pair[0] = _own("network.generator", net.generator, {"latent": net.latent, "shape": tuple(shape), **extra})
        if critic is None and net.critic:
            packed = (config.pack * shape[0], *shape[1:])
            pair[1] = _own("network.critic", net.critic, {"shape": packed, **extra})
        if pair[1] is not None and net.spectral_norm:
            _normalise(pair[1])
        if None in pair:
            rng = torch.Generator().manual_seed(config.seed)
            built = networks.build(
                net.kind,
                shape,
                latent=net.latent,
                width=net.width,
                depth=net.depth,
                critic_depth=net.critic_depth,
                norm=net.norm,
                spectral_norm=net.spectral_norm,
                pack=config.pack,
                classes=classes,
                rng=rng,
            )
            pair = [ours if own is None else own for own, ours in zip(pair, built, strict=True)]
    made, judge = (module.to(config.device) for module in pair if module is not None)
    return made, judge


def _normalise(critic: nn.Module) -> None:
    try:
        spectral_norm(critic)
    except ValueError as error:
        raise ValueError(f"network.spectral-norm is on: {error}") from error


def check_networks(config: Config, generator: nn.Module, critic: nn.Module, shape: Sequence[int], classes: int) -> None:
    """Runs both networks on a few samples.

    Raises:
        ValueError: The generator does not make samples of the data's shape, or the critic no scores of them.
    """
    labels = (torch.arange(2, device=config.device) % classes,) if classes else ()
    was = generator.training, critic.training
    try:
        with torch.no_grad(), random_states.borrowed():
            fake = generator.eval()(torch.randn(2, config.network.latent, device=config.device), *labels)
            _check_output("generator", fake, (2, *shape))
            packs = pack(fake.repeat_interleave(config.pack, 0), config.pack)
            _check_output("critic", critic.eval()(packs, *labels), (2,))
    finally:
        generator.train(was[0])
        critic.train(was[1])


def known_problems(config: Config, critic: nn.Module) -> list[str]:
    """What is known to go wrong with such a configuration and critic, a sentence each."""
    kinds = [type(module) for module in critic.modules()]
    penalised = config.penalty.weight > 0
    problems = []
    if penalised and any(issubclass(kind, _BatchNorm) for kind in kinds):
        problems.append(
            "the critic has BatchNorm and a gradient penalty: its samples depend on one another, so that no sample's "
            "gradient is its own (arXiv 1704.00028, section 4); take --network.norm layer or none"
        )
    if penalised and nn.ELU in kinds:
        problems.append(
            "the critic has ELU activations, with which gradient penalties are reported not to converge "
            "(igul222/improved_wgan_training#16); take LeakyReLU, or a lower --optimizer.lr"
        )
    own, usual = config.penalty, PenaltyConfig()
    idle = [name for name in ("points", "target", "one_sided") if getattr(own, name) != getattr(usual, name)]
    if not penalised and idle:
        names = " and ".join(f"penalty.{name.replace('_', '-')}" for name in idle)
        problems.append(
            f"penalty.weight is 0, which leaves {names} without effect; take a weight above 0, or leave that out"
        )
    held = penalised or config.weight_clip or any(map(is_normalised, critic.modules()))
    if config.objective == "wasserstein" and not held:
        problems.append(
            "the Wasserstein objective has nothing that holds its critic to a slope, so that its loss has no lower bound; "
            "take --penalty.weight 10, --weight-clip 0.01 or --network.spectral-norm"
        )
    if config.weight_clip and config.optimizer.kind != "rmsprop" and config.optimizer.beta1 > 0:
        problems.append(
            "a critic with clipped weights trains unstably by an optimizer with momentum (arXiv 1701.07875, section 4); "
            "take --optimizer.kind rmsprop, or --optimizer.beta1 0"
        )
    return problems


def _check_output(name: str, output: Any, wanted: tuple[int, ...]) -> None:
    came = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    if came != wanted and not (name == "critic" and came == (*wanted, 1)):
        raise ValueError(f"{name} gave {came} for two samples; expected a Tensor {wanted}")


def _own(name: str, where: str, arguments: dict[str, Any]) -> nn.Module:
    make = find_attribute(name, where, "a class or function that gives an nn.Module")
    try:
        module = make(**arguments)
    except TypeError as error:
        wanted = ", ".join(f"{key}=" for key in arguments)
        raise ValueError(f"{name} is {where!r}, which cannot be called with {wanted} ({error})") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} is {where!r}, which returned a {type(module).__name__}; expected an nn.Module")
    return module


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:  # torchrun gives each process of a machine its number
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
            raise RuntimeError("gpgan trains on no such device")
        if device.type == "cpu":  # and not cpu:0, which is the same
            device = torch.device("cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device is {name!r}, which this torch cannot use ({reason}); expected auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _impl(impl: Literal["auto", "native", "reference"], device: torch.device) -> Literal["native", "reference"]:
    reason = ops.why_not_native(device)
    if impl == "native" and reason:
        raise ValueError(f"impl is 'native', which cannot run on {device}: {reason}; or take --impl reference")
    if impl == "auto":
        return "reference" if reason else "native"
    return impl
