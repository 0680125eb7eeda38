"""A feature network of the user's own."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.util.errors import first_line
from gpgan.util.imports import find_attribute, own_module

# How far a sample's features may depend on the batch that it is in, of the largest feature.
TOLERANCE = 1e-4
# Samples, drawn uniformly from -1 to 1, that a network is tried on.
TRIED = 4


class Own:
    """The feature network at module:attribute: see ``FeatureNetwork``.

    Args:
        where: module:attribute, a callable that is called with ``shape=`` and returns an nn.Module, which maps samples
            ``[n, *shape]``, images from -1 to 1, to features ``[n, d]``. It is used in evaluation mode.
        shape: Of one sample.
        device: Where it runs.

    Raises:
        ValueError: There is no such callable; or its features have another shape, are not finite, or depend on the batch.
    """

    classes: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __init__(self, where: str, shape: Sequence[int], device: str = "cpu") -> None:
        network = own_module("features", where, {"shape": tuple(shape)})
        self.name, self.device = where, device
        self._network = network.eval().requires_grad_(False).to(device)
        self.dimension = self._try(tuple(shape))
        self.about = f"{where}, {self.dimension} features"
        self.identity = _identity(where, network)

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        try:
            features: Any = self._network(samples.to(self.device, torch.float32))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"features is {self.name!r}, which failed on samples {tuple(samples.shape)}: {first_line(error)}"
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(samples):
            came = tuple(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
            raise ValueError(
                f"features is {self.name!r}, which returned {came} for samples {tuple(samples.shape)}; expected a Tensor "
                f"[{len(samples)}, d]"
            )
        if not features.isfinite().all() and samples.isfinite().all():
            raise ValueError(
                f"features is {self.name!r}, which returned values that are not finite for finite samples; expected finite "
                "features"
            )
        return features.to("cpu", torch.float32)

    def probabilities(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def _try(self, shape: tuple[int, ...]) -> int:
        """The number of features, from samples that go through the network at once and in two parts."""
        samples = torch.rand(TRIED, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        whole = self.features(samples)
        parts = [self.features(part) for part in torch.split(samples, TRIED // 2)]
        if {part.shape[1] for part in parts} != {whole.shape[1]} or not torch.allclose(
            torch.cat(parts), whole, rtol=0, atol=TOLERANCE * float(whole.abs().max())
        ):
            raise ValueError(
                f"features is {self.name!r}, whose features of a sample depend on the other samples of its batch, or on "
                "chance; expected the same features in any batch: no BatchNorm with the batch's statistics, no dropout"
            )
        return whole.shape[1]


def _identity(where: str, network: nn.Module) -> str:
    """SHA-256 of the network's weights and of the files that define it and what makes it."""
    made_by = find_attribute("features", where, "")
    digest = hashlib.sha256(f"{where} {network}".encode())
    for file in sorted({_source(made_by), *(_source(type(module)) for module in network.modules())} - {""}):
        digest.update(Path(file).read_bytes())
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _source(made: Any) -> str:
    """The file that a function or class is written in; "" if there is none, or if it is torch's."""
    try:
        file = inspect.getsourcefile(made) or ""
    except (TypeError, OSError):
        return ""
    return "" if made.__module__.partition(".")[0] == "torch" else file
