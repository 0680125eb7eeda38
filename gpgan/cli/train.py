"""``gpgan train``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch import nn

from gpgan import ops
from gpgan.cli import complain
from gpgan.cli.arguments import parse
from gpgan.cli.progress import ProgressLine
from gpgan.data import Dataset
from gpgan.training.config import Config
from gpgan.training.files import create_run
from gpgan.training.loop import train
from gpgan.training.recorder import Recorder
from gpgan.training.setup import prepare

LOOK = """\
  samples.png  new samples of the generator; reals.png has real ones beside
  fakes_*.png  the same latents from the first step to the last
  stats.jsonl  one line every {tick} steps: losses, Wasserstein estimate, penalty, gradient norms
  config.json  what this run was made of
  generator.pt the generator's weights"""


def run(arguments: Sequence[str]) -> int:
    """Trains as the arguments say; 0 when done, 1 where training broke off, 2 on bad input, 130 when interrupted."""
    try:
        config, dataset = parse(arguments)
        asked = config.impl
        config, generator, critic = prepare(config, dataset)
        folder = create_run(config.out, config.name, dataset.name)
    except SystemExit as end:
        return int(end.code or 0)
    except (ValueError, OSError) as error:
        return complain(str(error))
    try:
        return _train(config, dataset, generator, critic, folder, asked)
    except FloatingPointError as error:
        return complain(f"training diverged: {error}. What was recorded lies in {folder}", status=1)
    except (OSError, UnicodeEncodeError) as error:
        return complain(f"the run broke off: {error}. What was recorded lies in {folder}", status=1)


def _train(config: Config, dataset: Dataset, generator: nn.Module, critic: nn.Module, folder: Path, asked: str) -> int:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    shape = " x ".join(map(str, dataset.shape))
    console.print(
        f"{config.data}: {len(dataset.samples)} samples of {shape}; {config.network.kind} networks on {config.device}"
    )
    console.print(f"penalty: {config.impl} operators{_why(asked, config.impl, config.device)}")
    console.print(f"run: {folder}")
    begun = time.monotonic()
    with ProgressLine(console, config.steps) as progress:
        finished = train(config, dataset, generator, critic, Recorder(folder, config, dataset), progress)
    word = "Done" if finished else "Interrupted and saved"
    console.print(f"{word} after {time.monotonic() - begun:.0f} s. The run lies in {folder}; look at")
    console.print(LOOK.format(tick=config.tick))
    return 0 if finished else 130


def _why(asked: str, used: str, device: str) -> str:
    return f", because {ops.why_not_native(device)}" if asked == "auto" and used == "reference" else ""
