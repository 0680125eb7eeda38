"""From a configuration to what the loop needs, with every check made before anything is written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from gpgan import nn as networks
from gpgan import ops
from gpgan.data import Dataset
from gpgan.training.config import SMALL, Config
from gpgan.training.files import check_writable

WIDTHS = {"conv": 32, "mlp": 256}


def prepare(config: Config, dataset: Dataset) -> tuple[Config, nn.Module, nn.Module]:
    """The configuration with nothing left open, the generator and the critic, on their device.

    Raises:
        ValueError: The device, the operators, the batch, the network or the run's folder cannot be had as configured.
    """
    count = len(dataset.samples)
    if config.batch > count:
        raise ValueError(
            f"batch is {config.batch} and {config.data} has {count} samples; wanted a batch from 2 to {count}"
        )
    check_writable(config.out, config.name)
    device = _device(config.device)
    net = config.network
    # In very few pixels a perceptron learns more in the same time than convolutions do.
    suits_conv = len(dataset.shape) == 3 and math.prod(dataset.shape) > SMALL
    kind = net.kind if net.kind != "auto" else "conv" if suits_conv else "mlp"
    net = replace(net, kind=kind, width=net.width or WIDTHS[kind])
    config = replace(
        config,
        device=str(device),
        impl=_impl(config.impl, device),
        threads=config.threads or torch.get_num_threads(),
        network=net,
    )
    rng = torch.Generator().manual_seed(config.seed)
    generator, critic = networks.build(
        kind, dataset.shape, latent=net.latent, width=net.width, depth=net.depth, generator=rng
    )
    return config, generator.to(device), critic.to(device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
            raise RuntimeError("gpgan trains on no such device")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device is {name!r}, which this torch cannot use ({reason}); wanted auto, cpu, cuda or cuda:N"
        ) from error
    return device


def _impl(impl: Literal["auto", "native", "reference"], device: torch.device) -> Literal["native", "reference"]:
    reason = ops.why_not_native(device)
    if impl == "native" and reason:
        raise ValueError(f"impl is 'native', which cannot run on {device}: {reason}; or take --impl reference")
    if impl == "auto":
        return "reference" if reason else "native"
    return impl
