"""``gpgan sample``."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_best, add_json
from gpgan.cli.progress import loading
from gpgan.training.saved import open_run
from gpgan.util.errors import reason
from gpgan.util.files import write
from gpgan.util.words import counted, shown

DESCRIPTION = """\
Draw samples from RUN, a run's folder, with its newest intact checkpoint.

Examples:
  gpgan sample runs/clothes                              64 samples, as RUN/sample.png
  gpgan sample runs/clothes -n 1000 --seed 7 --out x.npy an array, with the values of the data
  gpgan sample runs/clothes --truncation 1               more typical, less varied
  gpgan sample runs/sharper --input photos/              super-resolution: enlarge these pictures
"""
LARGEST = 1_000_000
# In a picture of more samples nothing can be seen.
PICTURED = 10_000


def run(arguments: Sequence[str]) -> int:
    """Writes samples; returns 0, or 2 on bad input."""
    parser = Parser("gpgan sample", DESCRIPTION, run=True)
    parser.add_argument("-n", type=int, default=64, metavar="N", help="number of samples (64)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed; same seed, same samples (0)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .png, or a float32 .npy (RUN/sample.png); with --input a folder"
    )
    parser.add_argument(
        "--truncation", type=float, metavar="T", help="truncate the latents' normal distribution at T (none)"
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="superresolve: enlarge the images in this folder into RUN/enlarged or --out",
    )
    add_json(parser)
    add_best(parser)
    try:
        given = parser.given(arguments)
        if given.input is not None:
            if (given.n, given.seed, given.truncation) != (64, 0, None):
                raise ValueError(
                    "--input is given with -n, --seed or --truncation, which apply to samples that are drawn; expected one "
                    "or the other"
                )
            return _convert(given)
        out = given.out or given.run / "sample.png"
        most = PICTURED if out.suffix == ".png" else LARGEST
        if out.suffix not in (".png", ".npy"):
            raise ValueError(f"out is {str(out)!r}; expected a file that ends in .png or .npy")
        if not 1 <= given.n <= most:
            raise ValueError(f"n is {given.n}; expected a whole number from 1 to {most} for a {out.suffix} file")
        if not 0 <= given.seed < 2**63:
            raise ValueError(f"seed is {given.seed}; expected a whole number from 0 to {2**63 - 1}")
        if given.truncation is not None and not 0 < given.truncation < math.inf:
            raise ValueError(f"truncation is {given.truncation}; expected a finite number above 0, e.g. 1")
        saved = open_run(given.run, given.trust_code, best=given.best)
        rng = torch.Generator().manual_seed(given.seed)
        inputs, samples = saved.task.sample(given.n, rng, saved.dataset, given.truncation)
        if out.suffix == ".png":
            saved.task.draw(out, inputs, samples, f"Samples at step {saved.state['step']}")
        else:
            content = io.BytesIO()
            np.save(content, saved.original(samples).numpy())
            write(out, lambda file: file.write(content.getvalue()))
    except (ValueError, OSError) as error:
        return complain(reason(error))
    for problem in saved.problems:
        sys.stderr.write(f"gpgan: {shown(problem)}; an older checkpoint is used\n")
    if saved.task.note():
        sys.stdout.write(f"{shown(saved.task.note())}\n")
    sys.stdout.write(f"{counted(len(samples), 'sample')} at step {saved.state['step']}: {shown(out)}\n")
    if given.json:
        sys.stdout.write(json.dumps({"run": str(given.run.resolve()), "out": str(out.resolve())}) + "\n")
    return 0


def _convert(given: argparse.Namespace) -> int:
    """Writes the run's outputs for a folder of inputs."""
    saved, out = open_run(given.run, given.trust_code, best=given.best), given.out or given.run / "enlarged"
    with loading("images") as tell:
        skipped = saved.task.convert(given.input, out, tell)
    for problem in saved.problems:
        sys.stderr.write(f"gpgan: {shown(problem)}; an older checkpoint is used\n")
    for line in skipped:
        sys.stderr.write(f"skipped: {shown(line)}\n")
    sys.stdout.write(
        f"the images of {shown(given.input)}, by the network of step {saved.state['step']}: {shown(out)}\n"
    )
    if given.json:
        sys.stdout.write(json.dumps({"run": str(given.run.resolve()), "out": str(out.resolve())}) + "\n")
    return 0
