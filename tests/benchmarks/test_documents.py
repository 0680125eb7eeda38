"""README.md and docs/: results stand between markers, and what stands there is what the committed results say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import blocks
from benchmarks.documents import read_from, write_into
from benchmarks.runs import __main__ as runs
from gpgan.data import fashion

ROOT = blocks.ROOT
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"<!-- ([\w ]+): written by [^\n]* -->\n.*?<!-- \1: end -->", re.DOTALL)
# Column names of measured quantities.
MEASURED = re.compile(
    r"\b(time|seconds|minutes|ms|MB|MiB|GB|peak|memory|memories|faster|speed|KD|FD|W1|W2|precision|recall|coverage|density|"
    r"vendi|modes|KL|PSNR|SSIM|detail|accuracy|loss|score|floor|copied|share|estimate|quality|measured|cases|passed|failed|"
    r"error|difference|diverged)\b",
    re.IGNORECASE,
)
# Tables with such a column that show no results of a benchmark, or results that no benchmark writes, and why.
ALLOWED = {
    ("docs/building.md", "| torch | passed | failed | skipped, for want of a GPU |"): "counts of make torch-versions",
    ("docs/toy.md", "| grid | steps | seconds | modes / high quality % / reverse KL |"): "the search for settings",
    ("docs/toy.md", "| ring | steps | seconds | modes / high quality % / reverse KL |"): "the search for settings",
    ("docs/penalty.md", "| | relative error of the gradient |"): "bounds that tests hold",
    ("docs/objectives.md", "| objective | optimal critic | its loss | `estimate` |"): "formulas",
}


@pytest.mark.parametrize("block", blocks.BLOCKS, ids=lambda block: f"{block.document} {block.begin.split(':')[0][5:]}")
def test_a_block_is_what_the_committed_results_say(block: blocks.Block) -> None:
    if "superresolve" in block.begin and not fashion.FOLDER.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    assert read_from(ROOT / block.document, block.begin, block.end) == block.text(blocks.RESULTS)


def test_every_marked_part_is_a_block() -> None:
    marked = {
        (str(path.relative_to(ROOT)), name) for path in DOCUMENTS for name in MARKED.findall(path.read_text("utf-8"))
    }
    assert marked == {(block.document, block.begin.split(":")[0].removeprefix("<!-- ")) for block in blocks.BLOCKS}


def tables(text: str) -> list[list[str]]:
    """The Markdown tables of a text, as lines."""
    return [part.strip().splitlines() for part in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_results_stand_between_markers(path: Path) -> None:
    assert bad_tables(str(path.relative_to(ROOT)), path.read_text("utf-8")) == []


def bad_tables(name: str, text: str) -> list[str]:
    """The headers of result tables with digits outside markers."""
    return [
        lines[0]
        for lines in tables(MARKED.sub("", text))
        if MEASURED.search(lines[0]) and re.search(r"\d", "".join(lines[1:])) and (name, lines[0]) not in ALLOWED
    ]


def test_a_digit_outside_markers_is_found() -> None:
    table = "| preset | KD | coverage |\n|---|---|---|\n| `wgan` | 11782 | .02 |\n"
    assert bad_tables("docs/presets.md", f"text\n\n{table}\nmore") == ["| preset | KD | coverage |"]
    inside = f"<!-- runs presets: written by x -->\n\n{table}\n<!-- runs presets: end -->\n"
    assert bad_tables("docs/presets.md", inside) == []
    assert bad_tables("docs/presets.md", "| preset | objective |\n|---|---|\n| `r1` | 2018 |\n") == []


def test_every_allowed_table_is_there() -> None:
    for name, header in ALLOWED:
        assert header in (ROOT / name).read_text("utf-8")


def test_one_command_writes_all_blocks(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images", "*.html"))
    shutil.copy(ROOT / "README.md", tmp_path)
    for block in blocks.BLOCKS:
        write_into(tmp_path / block.document, block.begin, block.end, "old")
    assert runs.main(["--documents", "--root", str(tmp_path)]) == 0
    for path in DOCUMENTS:
        assert (tmp_path / path.relative_to(ROOT)).read_text("utf-8") == path.read_text("utf-8")


def test_a_document_without_the_markers_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- end --><!-- begin -->")
    with pytest.raises(ValueError, match=r"page.md lacks '<!-- begin -->' or, after it, '<!-- end -->'"):
        read_from(tmp_path / "page.md", "<!-- begin -->", "<!-- end -->")
