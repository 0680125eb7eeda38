"""Shared by ``gpgan train`` and ``gpgan resume``: runs a trainer and reports on the console."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

from rich.console import Console

from gpgan import ops
from gpgan.cli import complain
from gpgan.cli.console import make_console
from gpgan.cli.progress import ProgressLine
from gpgan.records.lock import LockedError
from gpgan.training.interrupt import hang_up
from gpgan.training.trainer import DivergedError, Result, Trainer
from gpgan.util.errors import reason
from gpgan.util.processes import ProcessLostError
from gpgan.util.words import duration, shown

LOOK = """\
  report.html        the whole run on one page
  samples.png        generated samples; reals.png shows real ones
  curves.png         the statistics of stats.jsonl over the steps
  fakes_*.png        samples from the same inputs, from the first step to the last
  config.json        settings, data and versions
  generator.safetensors, checkpoints/   gpgan sample {run}, gpgan resume {run} --steps N"""


def run_trainer(make: Callable[[], Trainer], as_json: bool, asked_impl: str = "auto") -> int:
    """Makes and runs a trainer. Returns 0 when done, 1 if training failed, 2 on bad input, 128 + n after signal n."""
    console = make_console()
    first = os.environ.get("RANK", "0") == "0"  # only one process prints what all would
    trainer = None
    progress = ProgressLine(console)
    begun = time.monotonic()
    # A second SIGTERM, or a signal before there is anything to save, exits the process with cleanup.
    numbers = (signal.SIGTERM, *hang_up()) if _main_thread() else ()
    before = {number: signal.signal(number, lambda number, frame: sys.exit(128 + number)) for number in numbers}
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            trainer = make()
        if first:
            _introduce(trainer, console, asked_impl)
            for warning in caught:
                console.print(f"warning: {shown(warning.message)}")
            trainer.callbacks.append(progress)
        result = trainer.fit()
    except LockedError as error:
        return complain(str(error))
    except (ValueError, TypeError) as error:
        if trainer is not None and trainer.run is not None:  # an error in gpgan or the user's code, not bad input
            raise
        return complain(str(error))
    except DivergedError as error:
        return complain(f"training diverged: {error}. The run is in {_folder(trainer)}", status=1)
    except ProcessLostError as error:
        return complain(
            f"another process of this run is lost ({error}). The last checkpoint in {_folder(trainer)} is intact: continue with gpgan resume",
            status=1,
            all_processes=True,
        )
    except (OSError, UnicodeEncodeError) as error:
        return complain(f"the run failed: {reason(error)}. Its records are in {_folder(trainer)}", status=1)
    finally:
        progress.stop()
        if trainer is not None:
            trainer.processes.leave()
        for number, handler in before.items():
            signal.signal(number, handler)
    if first:
        _conclude(result, console, time.monotonic() - begun, as_json)
    return 128 + result.signal if result.reason == "signal" else 0


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _introduce(trainer: Trainer, console: Console, asked_impl: str) -> None:
    config, data = trainer.config, trainer.dataset
    shape = " x ".join(map(str, data.shape))
    held_out = "" if data.held_out is None else f" and {len(data.held_out)} held out"
    if data.selection is not None:
        held_out += f", {len(data.selection)} set aside to choose a checkpoint by"
    several = f", {trainer.processes.size} processes" if trainer.processes.size > 1 else ""
    console.print(
        f"{shown(config.data)}: {len(data)} {data.kind.name} of {shape}{held_out}; {trainer.task.title()} on {config.device}{several}"
    )
    for line in data.skipped[:10]:
        console.print(f"skipped: {shown(line)}")
    if len(data.skipped) > 10:
        console.print(f"skipped: {len(data.skipped) - 10} more, see log.txt")
    why = f", because {ops.why_not_native(config.device)}" if (asked_impl, config.impl) == ("auto", "reference") else ""
    penalised = trainer.task.penalised
    console.print(f"penalty: {config.impl} operators{why}" if penalised else "penalty: none")
    for problem in trainer.problems:
        console.print(f"{shown(problem)}; an older checkpoint is used")
    if trainer.run is not None:
        done = ", its last one: the last files are written again" if trainer.step >= config.steps else ""
        console.print(f"resuming {shown(trainer.run)} at step {trainer.step}{done}")


def _conclude(result: Result, console: Console, seconds: float, as_json: bool) -> None:
    words = {"done": "Done", "minutes": "Time limit reached; saved", "stopped": "Stopped and saved"}
    word = words.get(result.reason, "Interrupted and saved")
    console.print(f"{word} at step {result.step}, after {duration(seconds)}. Results are in {shown(result.run)}:")
    console.print(LOOK.format(run=shown(shlex.quote(str(result.run)))))
    if as_json:
        summary = {"run": str(result.run.resolve()), "step": result.step, "reason": result.reason}
        console.print(json.dumps(summary))


def _folder(trainer: Trainer | None) -> str:
    return str(trainer.run) if trainer is not None and trainer.run is not None else "no folder yet"
