"""STAR files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpgan.data.star import read_star, write_star

RELION = """
# version 50001

data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
 1 12.420000

# version 50001

data_particles

loop_
_rlnTomoName #1
_rlnImageName #2
_rlnTomoVisibleFrames #3
TS_01\tExtract/job1/TS.01/1_data.mrc\t[0,1,1]
TS_01\tExtract/job1/TS.01/2_data.mrc\t[1,1,1]

"""


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_file_of_relion_is_read_and_its_paths_are_found(tmp_path: Path):
    """They are relative to the project, above the file."""
    found = [touch(tmp_path / "Extract" / "job1" / "TS.01" / f"{number}_data.mrc") for number in (1, 2)]
    star = touch(tmp_path / "Refine" / "job2" / "run_data.star")
    star.write_text(RELION)
    rows = read_star(star)
    assert [each[0].resolve() for each in rows.files] == [each.resolve() for each in found]
    assert not rows.halved
    assert rows.columns["rlnTomoVisibleFrames"] == ["[0,1,1]", "[1,1,1]"]


def test_halves_come_first(tmp_path: Path):
    """IsoNet2's columns; a volume beside them is not read."""
    names = ("even.mrc", "odd.mrc", "both.mrc")
    for name in names:
        touch(tmp_path / name)
    table = dict(
        zip(
            ("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2", "rlnTomoReconstructedTomogram"),
            ([name] for name in names),
            strict=True,
        )
    )
    write_star(tmp_path / "a.star", {"": table})
    rows = read_star(tmp_path / "a.star")
    assert rows.halved
    assert [path.name for path in rows.files[0]] == ["even.mrc", "odd.mrc"]


def test_what_is_written_is_as_relion_writes_it(tmp_path: Path):
    write_star(
        tmp_path / "a.star",
        {"optics": {"rlnOpticsGroup": [1]}, "particles": {"rlnImageName": ["a.mrc"], "rlnAngleRot": [-1.25]}},
        {"rlnTomoSubTomosAre2DStacks": 0},
    )
    text = (tmp_path / "a.star").read_text()
    assert text.count("\n# version 50001\n") == 3
    assert "data_general\n" in text
    assert "_rlnTomoSubTomosAre2DStacks 0\n" in text
    assert "data_particles\n" in text
    assert "_rlnImageName\n_rlnAngleRot\na.mrc -1.250000\n" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data_\nloop_\n_rlnMicrographName #1\na\n", "has 1 table and none with a column rlnImageName or"),
        ("data_\nloop_\n_rlnImageName #1\nmissing.mrc\n", "lists missing.mrc, which does not exist"),
        ("data_\nloop_\n_rlnImageName #1\nNone\n", "has a row without rlnImageName"),
        ("loop_ nonsense", "cannot be read"),
        ("", "is empty"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, expected: str):
    (tmp_path / "a.star").write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_star(tmp_path / "a.star")
