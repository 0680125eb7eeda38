"""``gpgan export``."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from gpgan.cli import complain
from gpgan.cli.arguments import Parser, add_best
from gpgan.records.recorder import as_safetensors
from gpgan.training.saved import Saved, open_run
from gpgan.util.errors import first_line, reason
from gpgan.util.files import write
from gpgan.util.words import shown

DESCRIPTION = """\
Write the generator of RUN, a run's folder, for use without gpgan: its weights as
generator.safetensors, and a torch.export program as generator.pt2, for any batch size. Both are
read back and compared.

Examples:
  gpgan export runs/clothes                  into runs/clothes/export
  gpgan export runs/clothes --out /srv/model

Elsewhere:
  generator = torch.export.load("generator.pt2").module()
  images = generator(torch.randn(16, latent))
"""
# The batch sizes for comparing the program.
BATCHES = (2, 5)


def run(arguments: Sequence[str]) -> int:
    """Writes both files; returns 0, 1 if a file read back does not match the generator, or 2 on bad input."""
    parser = Parser("gpgan export", DESCRIPTION, run=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (RUN/export)")
    add_best(parser)
    try:
        given = parser.given(arguments)
        saved = open_run(given.run, given.trust_code, best=given.best)
        out = given.out or saved.run / "export"
        sampler = saved.task.sampler
        out.mkdir(parents=True, exist_ok=True)
        weights, program = out / "generator.safetensors", out / "generator.pt2"
        write(weights, lambda file: file.write(as_safetensors(saved.task, saved.facts)))
        try:
            exported = export(sampler, _example(saved), saved.task.free_axes)
        except Exception as error:  # whatever torch.export raises for the user's own network
            raise ValueError(
                f"torch.export cannot export the generator of {saved.run} ({first_line(error)}); only its weights were written, to "
                f"{weights}"
            ) from error
        content = io.BytesIO()
        torch.export.save(exported, content)
        write(program, lambda file: file.write(content.getvalue()))
    except (ValueError, OSError) as error:
        return complain(reason(error))
    for problem in saved.problems:
        sys.stderr.write(f"gpgan: {shown(problem)}; an older checkpoint is used\n")
    difference = _compare(saved, sampler, weights, program)
    if difference is None:
        return complain(f"{out} was written, but does not reproduce the generator's samples; do not use it", status=1)
    sys.stdout.write(f"generator of step {saved.state['step']}: {shown(weights)}\n")
    sys.stdout.write(
        f"the same as a program: {shown(program)}; its samples differ from the generator's by at most {difference:.1e}\n"
    )
    return 0


def export(
    generator: nn.Module, inputs: tuple[Tensor, ...], free_axes: Sequence[int] = ()
) -> torch.export.ExportedProgram:
    """The program of a generator, for inputs of any batch size, and of any length along the free axes."""
    free = {0: torch.export.Dim("batch", min=1)}
    free |= {axis: torch.export.Dim(f"length{axis}", min=1) for axis in free_axes}
    return torch.export.export(generator, inputs, dynamic_shapes=tuple(free for _ in inputs))


def _example(saved: Saved) -> tuple[Tensor, ...]:
    """Inputs whose free lengths differ from every other length: torch.export would identify equal ones."""
    task = saved.task
    taken = {length for value in task.sampler.state_dict().values() for length in value.shape}
    taken |= {*saved.facts.shape, *(length for each in task.inputs(2, torch.Generator()) for length in each.shape[1:])}
    free = (count for count in itertools.count(2) if count not in taken)
    inputs = _inputs(saved, next(free))
    for axis in task.free_axes:
        length = next(free)
        inputs = tuple(each.narrow(axis, 0, 1).repeat_interleave(length, axis) for each in inputs)
    return inputs


def _inputs(saved: Saved, count: int) -> tuple[Tensor, ...]:
    return saved.task.inputs(count, torch.Generator().manual_seed(count))


@torch.no_grad()
def _compare(saved: Saved, generator: nn.Module, weights: Path, program: Path) -> float | None:
    """The largest difference between the samples of the written files and of the generator; None if beyond rounding."""
    state = generator.state_dict()
    again = load(weights.read_bytes())  # by its content: the path may not be UTF-8
    if again.keys() != state.keys() or not all(torch.equal(again[name], value) for name, value in state.items()):
        return None
    module = torch.export.load(io.BytesIO(program.read_bytes())).module()
    pairs = [(module(*inputs), generator(*inputs)) for inputs in (_inputs(saved, count) for count in BATCHES)]
    close = all(torch.allclose(mine, its, rtol=1e-4, atol=1e-5) for mine, its in pairs)
    return max(float((mine - its).abs().max()) for mine, its in pairs) if close else None
