"""STAR files of particles and tomograms, as RELION 5 reads and writes them.

Hall, J. Chem. Inf. Comput. Sci. 31 (1991) 326; the columns are RELION's (Burt et al., doi 10.1002/2211-5463.13873).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpgan.data.paths import check_file
from gpgan.util.errors import first_line
from gpgan.util.files import replacing
from gpgan.util.words import counted

WANTED = "a STAR file of particles or tomograms, as RELION writes it"
VERSION = "# version 50001"
# Columns of the files of a row: a volume, or its two halves.
VOLUME = ("rlnImageName", "rlnTomoReconstructedTomogram")
HALVES = (
    ("rlnUnfilteredMapHalf1", "rlnUnfilteredMapHalf2"),
    ("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2"),
)


@dataclass(frozen=True)
class Rows:
    """The files that a STAR file lists, in its order.

    Attributes:
        files: One path per row, or two: of the even and the odd half.
        columns: All columns by name.
    """

    files: Sequence[tuple[Path, ...]]
    columns: Mapping[str, Sequence[str]]

    @property
    def halved(self) -> bool:
        return len(self.files[0]) == 2


def read_star(path: Path) -> Rows:
    """The files of a STAR file; relative ones are looked for beside it, in its parents, and in the current folder.

    Raises:
        ValueError: It cannot be read, lists no files, or one of these does not exist.
        ModuleNotFoundError: gemmi is not installed.
    """
    from gemmi import cif

    check_file(path, WANTED)
    try:
        blocks = list(cif.read(str(path)))
    except (OSError, RuntimeError, ValueError) as error:  # gemmi's own errors
        raise ValueError(f"{path} cannot be read ({first_line(error)}); expected {WANTED}") from error
    for block in blocks:
        for loop in (item.loop for item in block if item.loop is not None):
            tags = [tag.removeprefix("_") for tag in loop.tags]
            known: list[tuple[str, ...]] = [*HALVES, *((name,) for name in VOLUME)]
            wanted = next((names for names in known if set(names) <= set(tags)), None)
            if wanted is None:
                continue
            width = loop.width()
            values = [cif.as_string(value) for value in loop.values]
            columns = {tag: values[place::width] for place, tag in enumerate(tags)}
            rows = zip(*(columns[name] for name in wanted), strict=True)
            found = [tuple(_find(path, each, name) for each, name in zip(row, wanted, strict=True)) for row in rows]
            return Rows(found, columns)
    raise ValueError(
        f"{path} has {counted(len(blocks), 'table')} and none with a column {' or '.join(VOLUME)}, or {' and '.join(HALVES[0])}; "
        f"expected {WANTED}"
    )


def _find(star: Path, name: str, column: str) -> Path:
    if name in ("", "None", "."):
        raise ValueError(f"{star} has a row without {column}; expected a file in every row")
    given = Path(name)
    folders = [Path()] if given.is_absolute() else [star.parent, *star.resolve().parents, Path()]
    for folder in folders:
        if (folder / given).is_file():
            return folder / given
    raise ValueError(
        f"{star} lists {name}, which does not exist; expected it beside {star.name} or in one of its parents"
    )


def write_star(
    path: Path, tables: Mapping[str, Mapping[str, Sequence[Any]]], general: Mapping[str, Any] | None = None
) -> None:
    """Writes tables with columns of equal length, by name; and single values as a block ``general``.

    Raises:
        OSError: The file cannot be written.
        ModuleNotFoundError: gemmi is not installed.
    """
    from gemmi import cif

    blocks = []
    if general:
        block = cif.Block("general")
        for name, value in general.items():
            block.set_pair(f"_{name}", str(value))
        blocks.append(block)
    for table, columns in tables.items():
        block = cif.Block(table)
        loop = block.init_loop("_", list(columns))
        for row in zip(*columns.values(), strict=True):
            loop.add_row([f"{value:.6f}" if isinstance(value, float) else cif.quote(str(value)) for value in row])
        blocks.append(block)
    text = "".join(f"\n{VERSION}\n\n{each.as_string()}" for each in blocks)
    with replacing(path) as file:
        file.write(text.encode())
