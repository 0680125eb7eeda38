"""Where a configuration's values come from: defaults for the data, then a preset, then a file, then what the user says."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from gpgan import ops
from gpgan.data import BUILT_IN, Dataset, load, split
from gpgan.data.paths import Progress
from gpgan.nearest import nearest
from gpgan.training.config import NAMES, Config, NetworkConfig, OptimizerConfig, PenaltyConfig, options

# A sample of at most so many numbers, 3 x 8 x 8, is small.
SMALL = 192
TREES = {name.partition(".")[0] for name, _, _ in options() if "." in name}

# Each is complete in what its paper calls the method: what one leaves open is as the data's defaults have it.
PRESETS: dict[str, dict[str, Any]] = {
    # Whatever suits the data.
    "auto": {},
    # Goodfellow et al., arXiv 1406.2661; batch and momentum as its published code has them for MNIST. Its rate is 0.1, for
    # much smaller first weights than here, where that diverges, as 0.02 still does on 28x28 images.
    "gan": {
        "objective": "minimax",
        "n_critic": 1,
        "batch": 100,
        "penalty.weight": 0.0,
        "optimizer.kind": "sgd",
        "optimizer.lr": 0.005,
        "optimizer.beta1": 0.5,
    },
    # The same paper's other generator, with the optimizer of Radford et al., arXiv 1511.06434, section 4.
    "nsgan": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 128,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    },
    # Arjovsky et al., arXiv 1701.07875, algorithm 1; beta2 is PyTorch's default, as in its published code.
    "wgan": {
        "objective": "wasserstein",
        "n_critic": 5,
        "batch": 64,
        "weight_clip": 0.01,
        "penalty.weight": 0.0,
        "optimizer.kind": "rmsprop",
        "optimizer.lr": 5e-5,
        "optimizer.beta2": 0.99,
    },
    # Gulrajani et al., arXiv 1704.00028, algorithm 1 and section 5.
    "wgan-gp": {
        "objective": "wasserstein",
        "steps": 100_000,
        "n_critic": 5,
        "batch": 64,
        "network.latent": 128,
        "penalty.weight": 10.0,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
        "optimizer.schedule": "linear",
    },
    # The toy problems of the same paper, with the settings of its published code.
    "wgan-gp-toy": {
        "objective": "wasserstein",
        "steps": 100_000,
        "n_critic": 5,
        "batch": 256,
        "network.kind": "mlp",
        "network.latent": 2,
        "network.width": 512,
        "penalty.weight": 0.1,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.9,
        "optimizer.schedule": "constant",
    },
    # Petzka et al., arXiv 1709.08894: WGAN-GP's penalty, one-sided, with that paper's optimizer.
    "wgan-lp": {
        "objective": "wasserstein",
        "n_critic": 5,
        "batch": 64,
        "penalty.weight": 10.0,
        "penalty.one_sided": True,
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
    # Kodali et al., arXiv 1705.07215, with the settings of its published code.
    "dragan": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 128,
        "penalty.weight": 10.0,
        "penalty.points": "noisy",
        "optimizer.lr": 1e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.9,
    },
    # Mao et al., arXiv 1611.04076, section 4.
    "lsgan": {
        "objective": "least-squares",
        "n_critic": 1,
        "batch": 64,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.5,
        "optimizer.beta2": 0.999,
    },
    # Miyato et al., arXiv 1802.05957, section 4: the hinge loss of its residual networks.
    "sngan": {
        "objective": "hinge",
        "n_critic": 5,
        "batch": 64,
        "network.spectral_norm": True,
        "penalty.weight": 0.0,
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
    # Karras et al., arXiv 1812.04948, appendix C (R1 with gamma 10), lazy as in arXiv 1912.04958, appendix B.
    "stylegan-r1": {
        "objective": "non-saturating",
        "n_critic": 1,
        "batch": 32,
        "penalty.weight": 5.0,
        "penalty.target": 0.0,
        "penalty.points": "real",
        "penalty.lazy": 16,
        "optimizer.lr": 1e-3,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.99,
    },
    # Huang et al., arXiv 2501.05441: R1 and R2, whose gamma the paper sets for each data set anew.
    "r3gan": {
        "objective": "relativistic",
        "n_critic": 1,
        "batch": 256,
        "penalty.weight": 1.0,
        "penalty.target": 0.0,
        "penalty.points": "both",
        "optimizer.lr": 2e-4,
        "optimizer.beta1": 0.0,
        "optimizer.beta2": 0.9,
    },
}


def for_data(data: str, dataset: Dataset) -> Config:
    """The defaults for a data set, after its split: by the shape of its samples, tuned on ring, digits and fashion."""
    count, numbers = len(dataset), math.prod(dataset.shape)
    # A second thread makes such small networks hardly faster, and many times slower where another program has the core.
    threads = 1 if numbers <= SMALL else 0
    config = Config(data, batch=max(2, min(Config.batch, count)), threads=threads)
    if len(dataset.shape) == 1:
        return replace(
            config,
            steps=5000,
            batch=max(2, min(256, count)),
            n_critic=5,
            tick=250,
            snapshot=1000,
            # Few latents: a generator of 64 has to fold far more of its space away to separate modes of a plane.
            network=NetworkConfig(latent=max(2, numbers), width=128),
            # Modes lie close to each other, in units of the critic's slope: with 10 the valleys between them stay shallow.
            penalty=PenaltyConfig(weight=0.1),
        )
    if numbers <= SMALL:
        optimizer = OptimizerConfig(lr=2e-3)
        return replace(config, steps=4500, tick=250, network=NetworkConfig(latent=16), optimizer=optimizer)
    return config


def configure(data: str, dataset: Dataset | None = None, *, file: Path | None = None, **settings: Any) -> Config:
    """The configuration of a run: defaults for the data, then the preset, then the file, then ``settings``.

    Args:
        data: As ``gpgan train`` takes it.
        dataset: The data set, where it is loaded already; its shape decides the defaults.
        file: A TOML file of settings, e.g. ``steps = 1000`` and, under ``[penalty]``, ``weight = 1.0``.
        settings: Any field of ``Config``, e.g. ``preset="wgan-gp", steps=1000, penalty={"weight": 1.0}``.

    Raises:
        ValueError: A name is unknown (the nearest one is named), or a value is not as wanted.
    """
    given = gather(file, {**settings, "data": data})
    dataset = split(load_data(given) if dataset is None else dataset)
    preset = given.get("preset", "auto")
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; wanted {', '.join(PRESETS)}{nearest(preset, PRESETS)}")
    values = {**PRESETS[preset], **given}
    if "batch" not in given and values.get("batch", 0) > len(dataset) >= 2:
        values["batch"] = len(dataset)
    if data not in BUILT_IN and Path(data).exists():  # a run may be resumed from another folder
        values["data"] = str(Path(data).resolve())
    return apply(for_data(data, dataset), values)


def gather(file: Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file and, over these, ``settings``, flat, by dotted name, each of its type.

    Raises:
        ValueError: The file cannot be read, a name is unknown, or a value is of another type.
    """
    written = {} if file is None else _typed(read_file(file), f"{file}: ")
    return {**written, **_typed(_flat(settings))}


def load_data(given: Mapping[str, Any], progress: Progress | None = None) -> Dataset:
    """The data set that gathered settings name.

    Raises:
        ValueError: As ``gpgan.data.load``; or ``size`` is out of range.
    """
    size = Config(size=given.get("size", 0)).size
    return load(given["data"], size=size or None, progress=progress)


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, by dotted name.

    Raises:
        ValueError: It cannot be read, or is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(
            f"config is {str(path)!r}, which cannot be read ({error.strerror}); wanted a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config is {str(path)!r}, which is no TOML ({error}); wanted e.g. steps = 1000") from error
    return {name.replace("-", "_"): value for name, value in _flat(content).items()}


def apply(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with some settings, by dotted name, replaced.

    Raises:
        ValueError: A name is unknown, or a value has the wrong type or range.
    """
    trees: dict[str, dict[str, Any]] = {"": {}}
    for name, value in _typed(settings).items():
        tree, _, leaf = name.rpartition(".")
        trees.setdefault(tree, {})[leaf] = value
    branches = {tree: replace(getattr(config, tree), **values) for tree, values in trees.items() if tree}
    return replace(config, **trees[""], **branches)


def _typed(settings: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    types = {name: type for name, _, type in options()}
    for name in settings:
        if name not in types:
            raise ValueError(f"{source}there is no setting {name!r}{nearest(name, types)}")
    try:
        return {name: convert(name, types[name], value) for name, value in settings.items()}
    except ValueError as error:
        raise ValueError(f"{source}{error}") from None


def convert(name: str, wanted: Any, value: Any) -> Any:
    """A value as the type of a setting wants it: text, as a command line has it, or a value of that type.

    Raises:
        ValueError: It is neither.
    """
    text = isinstance(value, str)
    try:
        if get_origin(wanted) is Literal:
            if value in get_args(wanted):
                return value
        elif wanted is bool:
            if isinstance(value, bool):
                return value
        elif wanted is int:
            if (text or isinstance(value, int)) and not isinstance(value, bool):
                return int(value)
        elif wanted is float:
            if (text or isinstance(value, int | float)) and not isinstance(value, bool):
                return float(value)
        elif wanted is Path:
            if isinstance(value, str | Path):
                return Path(value)
        elif text or (value is None and wanted is not str):
            return value
    except (ValueError, OverflowError):
        pass
    choices = get_args(wanted) if get_origin(wanted) is Literal else ()
    names = " or ".join(choices) or NAMES[wanted]
    raise ValueError(f"{name.replace('_', '-')} is {value!r}; wanted {names}{nearest(str(value), choices)}")


def settings_of(config: Config) -> dict[str, Any]:
    """The configuration as JSON takes it, nested."""
    values: dict[str, Any] = {**asdict(config), "out": str(config.out)}
    return values


def from_settings(settings: Mapping[str, Any]) -> Config:
    """The configuration that ``settings_of`` was given, as far as this machine has what it asks for.

    Raises:
        ValueError: A setting is unknown to this version, or not as wanted.
    """
    config = apply(Config(), _flat(settings))
    impl = "auto" if config.impl == "native" and ops.why_not_native(config.device) else config.impl
    return replace(config, threads=min(config.threads, os.cpu_count() or 1), impl=impl)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and (value or name in TREES):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
