"""Whose code a run may run: its settings can name Python code as module:attribute.

A run folder may come from anywhere, and its names would be imported from the current folder. So a run whose settings
name code leaves a record in the user's state folder when the user trains it: its id, the names, and the files they
were imported from. Without that record the names are not imported unless the user asks for it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path

from gpgan.data.loading import names_code
from gpgan.settings.config import RunConfig, options
from gpgan.util.files import write_json
from gpgan.util.imports import origin

# The metavar of every setting that is a module:attribute, except data, which may be one.
METAVAR = "M:A"


def code_of(config: RunConfig, without: Collection[str] = ()) -> dict[str, str]:
    """The settings that name code to import, by dotted name; those in ``without`` are left out."""
    found = {"data": config.data} if names_code(config.data) else {}
    for name, field, _ in options(type(config)):
        if field.metadata.get("metavar") == METAVAR:
            tree, _, leaf = name.rpartition(".")
            found[name] = getattr(getattr(config, tree) if tree else config, leaf)
    return {name: value for name, value in found.items() if value and name not in without}


def remember(identity: str, config: RunConfig, without: Collection[str] = ()) -> None:
    """Records that the user trains a run; nothing if its settings, but for those in ``without``, name no code.

    Raises:
        OSError: The record cannot be written.
    """
    code = code_of(config, without)
    if code:
        path = _record(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**_known(identity), **{name: [value, _file(value)] for name, value in code.items()}})


def check(run: Path, identity: object, code: dict[str, str]) -> None:
    """Raises ValueError unless the user has trained the run with this code; see ``code_of``."""
    known = _known(identity)
    for name, value in code.items():
        recorded = known.get(name)
        if recorded is None or recorded[0] != value:
            raise ValueError(
                f"{run} names Python code that it would run, {name} {value!r}, and there is no record that you trained it "
                f"here; expected a run of your own, or --trust-code (in Python trust_code=True) if you trust the code"
            )
        file = _file(value)
        if file and file != recorded[1]:
            raise ValueError(
                f"{run} was trained with {name} {value!r} from {recorded[1]}, and here it is {file}; expected the same "
                f"file, or --trust-code (in Python trust_code=True) if you trust that one"
            )


def _known(identity: object) -> dict[str, list[str]]:
    # Checked, as it comes from the checkpoint and becomes a file name.
    if not isinstance(identity, str) or not re.fullmatch(r"[0-9a-f]{32}", identity):
        return {}
    try:
        record = json.loads(_record(identity).read_bytes())
        return {str(name): [str(value), str(file)] for name, (value, file) in record.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _record(identity: str) -> Path:
    """``$XDG_STATE_HOME/gpgan/runs``, or ``~/.local/state/gpgan/runs``."""
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return home / "gpgan" / "runs" / f"{identity}.json"


def _file(value: str) -> str:
    found = origin(value)
    return os.path.realpath(found) if found else ""
