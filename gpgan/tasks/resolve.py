"""Resolves the settings of any task for this machine, data and number of processes, before any file is written."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal, TypeVar

import torch

from gpgan import ops
from gpgan.data import Dataset
from gpgan.settings.config import RunConfig
from gpgan.tasks.registry import task_class
from gpgan.util.errors import first_line
from gpgan.util.processes import Processes

C = TypeVar("C", bound=RunConfig)


def resolve(config: C, dataset: Dataset, processes: Processes) -> C:
    """The resolved configuration: device, operators, threads, and what its task resolves.

    Raises:
        ValueError: It does not work with this data, this machine or these processes.
    """
    count = len(dataset)
    if config.batch > count:
        raise ValueError(
            f"batch is {config.batch} and {config.data} has {count} samples to train on; expected a batch from 2 to {count}"
        )
    # BatchNorm cannot normalise a single sample.
    if config.batch % processes.size or config.batch < 2 * processes.size:
        raise ValueError(
            f"batch is {config.batch} and there are {processes.size} processes; expected a multiple of {processes.size}, "
            f"{2 * processes.size} or more"
        )
    processors = os.cpu_count() or 1
    if config.threads > processors:
        raise ValueError(f"threads is {config.threads}; expected a whole number from 0 to {processors}")
    device = _device(config.device)
    threads = config.threads or torch.get_num_threads()
    config = replace(config, device=str(device), impl=_impl(config.impl, device), threads=threads)
    resolved: C = task_class(config.task.name).resolve(config, dataset, processes)
    return resolved


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:  # torchrun numbers the processes of a machine
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
            raise RuntimeError("gpgan does not train on it")
        if device.type == "cpu":  # cpu:0 is the same device
            device = torch.device("cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ValueError(
            f"device is {name!r}, which this torch cannot use ({reason}); expected auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _impl(impl: Literal["auto", "native", "reference"], device: torch.device) -> Literal["native", "reference"]:
    reason = ops.why_not_native(device)
    if impl == "native" and reason:
        raise ValueError(f"impl is 'native', which cannot run on {device}: {reason}; or use --impl reference")
    if impl == "auto":
        return "reference" if reason else "native"
    return impl
