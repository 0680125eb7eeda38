"""The resources of the compiled CUDA kernels, as reported by ptxas."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "host"


@pytest.fixture(scope="module")
def kernels() -> list[dict[str, str]]:
    cache = BUILD / "CMakeCache.txt"
    if not cache.exists():
        pytest.fail(f"{cache} is missing: build it with `make native`", pytrace=False)
    if "GPGAN_NVCC:FILEPATH=GPGAN_NVCC-NOTFOUND" in cache.read_text():
        pytest.skip("no nvcc was found when build/host was configured")
    cmake = [str(Path(sys.executable).parent / "cmake"), "--build", str(BUILD), "--target", "resources"]
    done = subprocess.run(cmake, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = (re.split(r"\s{2,}", line) for line in (BUILD / "resources.txt").read_text().splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_source_has_kernels(kernels: list[dict[str, str]]) -> None:
    names = " ".join(row["kernel"] for row in kernels)
    for kernel in ("Interpolate<", "InterpolateBackward<", "penalty_kernel<", "Backward<", "finish_rows_kernel<"):
        assert kernel in names
    (wanted,) = re.findall(
        r"^GPGAN_RESOURCE_ARCHITECTURES:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE
    )
    assert {row["arch"] for row in kernels} == set(wanted.split(";"))


def test_nothing_spills(kernels: list[dict[str, str]]) -> None:
    spilling = [row for row in kernels if (row["spill stores"], row["spill loads"]) != ("0", "0")]
    assert not spilling


def test_nothing_lies_on_the_stack(kernels: list[dict[str, str]]) -> None:
    assert not [row for row in kernels if row["stack"] != "0"]
