"""Tables in documents, between two markers."""

from __future__ import annotations

from pathlib import Path


def write_into(document: Path, begin: str, end: str, text: str) -> None:
    """Replaces the text between the document's two markers.

    Raises:
        ValueError: The document lacks one of the markers, or has them in another order.
    """
    before, _, after = _parts(document, begin, end)
    document.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", "utf-8")


def read_from(document: Path, begin: str, end: str) -> str:
    """The text that ``write_into`` wrote.

    Raises:
        ValueError: As for ``write_into``.
    """
    return _parts(document, begin, end)[1].removeprefix("\n\n").removesuffix("\n")


def _parts(document: Path, begin: str, end: str) -> tuple[str, str, str]:
    before, first, rest = document.read_text("utf-8").partition(begin)
    within, second, after = rest.partition(end)
    if not (first and second):
        raise ValueError(f"{document} lacks {begin!r} or, after it, {end!r}; add both lines where the table belongs")
    return before, within, after
