"""Checkpoints: written atomically, verified when read, and loaded without running code from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpgan.records import identity
from gpgan.torch_private import metadata
from gpgan.util.errors import first_line
from gpgan.util.files import clear_partials, partial_of, replacing

FOLDER = "checkpoints"
LATEST, PREVIOUS, BEST = "latest.pt", "previous.pt", "best.pt"
# The key of the checksum of everything else in the file.
CHECKSUM = "sha256"


class CheckpointError(ValueError):
    """A checkpoint is damaged, or there is none."""


class MissingError(CheckpointError):
    """There is no such file."""


def save(run: Path, state: dict[str, Any], *, best: bool, keep: bool) -> Path:
    """Writes ``checkpoints/latest.pt``; the previous one becomes ``previous.pt``.

    Whenever this is interrupted, one of the two is intact.

    Args:
        run: The run's folder.
        state: Tensors and plain values, including ``step``.
        best: Also link it as ``best.pt``.
        keep: Also link it as ``step-NNNNNNN.pt``.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    latest = folder / LATEST
    with replacing(latest, keep=folder / PREVIOUS) as file:
        try:
            torch.save({**state, CHECKSUM: checksum(state)}, file)
        except RuntimeError as error:  # how torch reports a failed write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    _name(latest, state["step"], best, keep)
    return latest


def restore(run: Path, name: str, step: int, *, best: bool, keep: bool) -> None:
    """Makes the checkpoint that a run continues from its latest, and adds the names that a killed save left out.

    A damaged ``latest.pt`` would become ``previous.pt`` at the next save, and no intact one would be left meanwhile.
    """
    clear_partials(run / FOLDER, every=True)
    latest = run / FOLDER / LATEST
    if name != LATEST:
        _link(run / FOLDER / name, latest)
    _name(latest, step, best, keep)


def _name(latest: Path, step: int, best: bool, keep: bool) -> None:
    for name in [BEST] * best + [f"step-{step:07d}.pt"] * keep:
        _link(latest, latest.with_name(name))


def _link(source: Path, target: Path) -> None:
    """Hard-links a file; copies it if the file system has no hard links."""
    partial = partial_of(target)
    try:
        os.link(source, partial)
        partial.replace(target)
    except OSError:
        with replacing(target) as file:
            file.write(source.read_bytes())
    finally:
        partial.unlink(missing_ok=True)  # a rename onto another name of the same file does nothing


def read(path: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU.

    Raises:
        CheckpointError: It is missing, truncated, altered, or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        expected = state.pop(CHECKSUM, None) if isinstance(state, dict) else None
        found = checksum(state)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(f"{path} does not exist") from None
    except Exception as error:  # a damaged archive can raise many errors
        reason = first_line(error)
        raise CheckpointError(f"{path} cannot be read ({reason[:120]})") from error
    if expected is None:
        raise CheckpointError(f"{path} is not a gpgan checkpoint")
    if found != expected:
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    return state  # type: ignore[no-any-return]


def newest(run: Path, best: bool = False) -> tuple[dict[str, Any], Path, list[str]]:
    """The newest intact checkpoint of a run, its path, and what is wrong with newer ones.

    With ``best`` it is best.pt.

    Raises:
        CheckpointError: There is no intact checkpoint.
    """
    for file in [*run.glob("*"), *(run / FOLDER).glob("*")]:
        if os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):  # reading a FIFO waits for ever
            raise CheckpointError(
                f"{file} is not a regular file; expected a run's folder as gpgan writes it: delete the file"
            )
    own = identity.of(run)
    problems: list[str] = []
    kept = sorted((run / FOLDER).glob("step-*.pt"), key=lambda path: (len(path.name), path.name), reverse=True)
    paths = [run / FOLDER / LATEST, run / FOLDER / PREVIOUS, *kept, run / FOLDER / BEST]
    for path in paths[-1:] if best else paths:
        try:
            state = read(path)
        except MissingError:  # as latest.pt between the two renames of a save
            continue
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if own is None or str(state.get("id", own)) == own:
            return state, path, problems
        problems.append(f"{path} is a checkpoint of another run: its id is not the one in {run / identity.FILE}")
    if problems:
        raise CheckpointError(f"{run} has no intact checkpoint: {'; '.join(problems)}")
    if best and paths[0].exists():
        raise CheckpointError(
            f"{run} has no {FOLDER}/{BEST}; expected a run that has chosen a checkpoint: leave --best out for the newest"
        )
    raise CheckpointError(f"{run} has no checkpoint; expected a run's folder: gpgan ls lists them")


def stamp(run: Path) -> list[tuple[int, int]]:
    """What changes whenever the run is saved."""
    found = (run / FOLDER / name for name in (LATEST, PREVIOUS))
    about = [path.stat() for path in found if path.exists()]
    return [(each.st_ino, each.st_mtime_ns) for each in about]


def checksum(value: Any) -> str:
    """SHA-256, in hex, of tensors (dtype, shape, values), containers and plain values."""
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes | memoryview]:
    if isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)} ".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(value, Mapping):
        yield f"map {len(value)} ".encode()
        for key, each in value.items():
            yield f"{key!r} ".encode()
            yield from _parts(each)
        # The versions of a state_dict's modules.
        yield from _parts(metadata(value))
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)} ".encode()
        for each in value:
            yield from _parts(each)
    elif value is None or isinstance(value, bool | int | float | str):
        yield f"{value!r} ".encode()
    else:
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__} ({value!r})")
