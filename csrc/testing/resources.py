"""Writes a table of each CUDA kernel's registers, stack, spills and shared memory, by architecture.

Runs nvcc for every source and architecture and parses the report of ptxas. Exits with 1 if nvcc fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COLUMNS = ("kernel", "arch", "registers", "stack", "spill stores", "spill loads", "shared")
ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '(?P<arch>sm_\w+)'"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def compile_log(nvcc: str, include: str, source: Path, arch: str) -> str:
    """The report of ptxas on one source compiled for one architecture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++20", "-O3", f"-arch={arch}", "-Xptxas=-v", "-I", include, "-cubin", str(source)]
        done = subprocess.run([*command, "-o", f"{folder}/out.cubin"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def readable(symbols: list[str]) -> list[str]:
    """The C++ names of mangled symbols, without their parameters."""
    done = subprocess.run(["c++filt", "-p"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    hidden = re.compile(r"gpgan::(cuda::)?|\(anonymous namespace\)::|^void ")
    return [hidden.sub("", name) for name in done.stdout.splitlines()]


def rows(log: str) -> list[tuple[str, ...]]:
    """One row per kernel; exits if the log does not describe every kernel that ptxas compiled."""
    found = list(ENTRY.finditer(log))
    if len(found) != log.count("Compiling entry function"):
        sys.exit(f"cannot parse this report of ptxas:\n{log}")
    names = readable([entry["kernel"] for entry in found])
    return [
        (
            name,
            entry["arch"],
            *entry.group("registers", "stack", "stores", "loads"),
            (re.findall(r"(\d+) bytes smem", entry["rest"]) or ["0"])[0],
        )
        for name, entry in zip(names, found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("--arch", action="append", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("sources", type=Path, nargs="+")
    args = parser.parse_args()
    jobs = [(args.nvcc, args.include, source, arch) for source in args.sources for arch in args.arch]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = pool.map(lambda job: compile_log(*job), jobs)
        table = sorted(row for log in logs for row in rows(log))
    widths = [max(len(row[i]) for row in [COLUMNS, *table]) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [COLUMNS, *table]
    ]
    args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
