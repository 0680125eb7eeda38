"""The trainer: ``Trainer(config).fit()``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gpgan.data import Dataset, load, split
from gpgan.data.facts import Facts, seeds
from gpgan.records import checkpoint, identity, trust
from gpgan.records.lock import LockedError, RunLock, check_free, was_cut_short
from gpgan.records.recorder import Recorder
from gpgan.records.run_folder import create_run
from gpgan.records.stats import Meter, NotFiniteError, Stats, memory
from gpgan.settings.config import RunConfig
from gpgan.settings.merging import apply, flatten, settings_of
from gpgan.tasks.configure import from_settings
from gpgan.tasks.registry import task_class
from gpgan.tasks.resolve import resolve
from gpgan.tasks.task import Task
from gpgan.training.best import Best
from gpgan.training.callbacks import Callback
from gpgan.training.content import FORMAT, check_content, reading
from gpgan.training.interrupt import Interrupt
from gpgan.util import random_states
from gpgan.util.errors import NotFiniteSamplesError
from gpgan.util.nearest import nearest
from gpgan.util.processes import Processes
from gpgan.util.threads import cpu_threads

# What each process of a run may set for its own machine: where data and runs are, and what computes.
OWN = ("data", "out", "device", "impl", "threads")
Stop = Literal["", "minutes", "stopped", "signal"]


class DivergedError(FloatingPointError):
    """A loss or a weight is no longer finite."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        run: Its folder.
        step: Total generator steps.
        reason: ``"done"``, ``"minutes"`` (time limit reached), ``"stopped"`` (by a callback) or ``"signal"``.
        signal: The number of the signal, or 0.
    """

    run: Path
    step: int
    reason: Literal["done", "minutes", "stopped", "signal"]
    signal: int = 0


class Trainer:
    """Trains a task, records the run and saves it, so that it can be resumed.

    The constructor checks everything; nothing is written before ``fit``.

    Args:
        config: From ``gpgan.configure`` (defaults for the data), or the task's own configuration, e.g.
            ``gpgan.Config``.
        dataset: Your own data set, instead of ``config.data``.
        callbacks: Called during the run.
        modules: Your own networks, by the task's names for them. Generation has ``generator``, from latents
            ``[B, latent]`` (and labels ``[B]`` if the run is conditional) to samples ``[B, ...]``, and ``critic``, from
            samples (and labels) to scores ``[B]`` or ``[B, 1]``; the critic is changed in place if the configuration
            sets spectral normalisation.

    Attributes:
        config: The resolved configuration.
        task: What is trained; its networks are also attributes of the trainer, e.g. ``trainer.generator``.
        step: Steps done.
        run: The run's folder; None before ``fit`` of a new run.
        problems: What is wrong with checkpoints newer than the one that was resumed.
        warnings: Known problems of such a configuration; each is also given as a UserWarning.

    Raises:
        ValueError, TypeError: The configuration, the data or a network is not as expected.
        ModuleNotFoundError: The data set needs a package that is not installed.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        dataset: Dataset | None = None,
        callbacks: Sequence[Callback] = (),
        **modules: nn.Module | None,
    ) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks holds a {type(callback).__name__}; expected gpgan.Callback objects")
        expected = {"config": RunConfig, "dataset": Dataset, **dict.fromkeys(modules, nn.Module)}
        for name, value in {"config": config, "dataset": dataset, **modules}.items():
            if value is not None and not isinstance(value, expected[name]):
                raise TypeError(f"{name} is a {type(value).__name__}; expected a {expected[name].__name__}")
        self.processes = Processes()
        try:
            with self.processes.watching():
                self._set_up(config, dataset, {name: each for name, each in modules.items() if each is not None})
        except BaseException:
            self.processes.leave()
            raise
        self.meter = Meter()
        self.callbacks = list(callbacks)
        self.step = 0
        self.run: Path | None = None
        self._seconds, self._cpu_seconds, self._saved = 0.0, 0.0, 0
        self._best = Best(self.task.score_rises)
        self._stop: Stop = ""
        self._asked = False
        self.problems: list[str] = []
        self._states: dict[str, Any] | None = None
        self._lock = RunLock()
        self._untrusted: Sequence[str] = ()  # settings that name code which was neither checked nor imported
        self._recorder = Recorder(self.config, self.dataset, self.facts, self.task)

    def _set_up(self, config: RunConfig, dataset: Dataset | None, modules: Mapping[str, nn.Module]) -> None:
        with self.processes.watching():
            shared = {name: value for name, value in flatten(settings_of(config)).items() if name not in OWN}
            self.processes.agree_on("settings", {"task.name": config.task.name, **shared})
        cls = task_class(config.task.name)
        if not isinstance(config, cls.config_class):
            raise TypeError(
                f"config is a {type(config).__module__}.{type(config).__name__} and task.name is {config.task.name!r}; expected "
                f"a {cls.config_class.__module__}.{cls.config_class.__name__}: gpgan.configure makes one"
            )
        whole = dataset if dataset is not None else load(config.data, size=config.size or None)
        whole = whole.whole or whole
        self.dataset = split(whole, cls.set_aside(config, whole))
        self.config = config = resolve(config, self.dataset, self.processes)
        self.facts = Facts.of(self.dataset)
        self.task: Task = cls(config, self.facts, modules)
        for name in modules.keys() - self.task.modules.keys():
            raise TypeError(
                f"{name} is not a network of the task {config.task.name}; expected {' or '.join(self.task.modules)}"
                f"{nearest(name, self.task.modules)}"
            )
        self.processes.agree("data", self.facts.fingerprint)
        self.task.prepare(self.dataset, self.processes)
        self.warnings = self.task.warnings
        for problem in self.warnings:
            warnings.warn(problem, stacklevel=3)

    def __getattr__(self, name: str) -> Any:
        task = self.__dict__.get("task")
        if task is not None and name in task.modules:
            return task.modules[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def sampler(self) -> nn.Module:
        """The network that makes samples: for generation the averaged generator, or the generator without averaging."""
        return self.task.sampler

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        steps: int | None = None,
        minutes: float | None = None,
        device: str | None = None,
        trust_code: bool = False,
        dataset: Dataset | None = None,
        callbacks: Sequence[Callback] = (),
        **modules: nn.Module | None,
    ) -> Trainer:
        """A trainer that continues from a run's newest intact checkpoint.

        If the run has reached its last step, but was killed before its last files were written, ``fit`` writes those.

        Args:
            run: The run's folder.
            steps: Total steps; None for the number the run was started with.
            minutes: Time limit in minutes, counted from the start of ``fit``; None for none.
            device: A different device; None for the same.
            trust_code: Import the code that the run's settings name as module:attribute, even if there is no record
                that you trained the run with it.
            dataset, modules: As for ``Trainer``, if the run was started with them.
            callbacks: As for ``Trainer``.

        Raises:
            ValueError: There is no intact checkpoint, the data changed, the run has already reached ``steps``, another
                process is training it, or its settings name code that is not trusted.
        """
        run = Path(run)
        check_free(run)
        stamp = checkpoint.stamp(run)
        state, path, problems = checkpoint.newest(run)
        for folder in (run, path.parent):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ValueError(
                    f"{folder} is not writable; expected a run in a writable folder: copy the run to one and resume the copy"
                )
        check_content(state, path)
        given = {"steps": steps, "device": device}
        with reading(path):
            _, saved = from_settings(json.loads(state["config"]))
        config = apply(
            saved,
            {"minutes": minutes or 0.0, **{name: value for name, value in given.items() if value is not None}},
        )
        if config.steps < state["step"] or (config.steps == state["step"] and not was_cut_short(run)):
            raise ValueError(
                f"steps is {config.steps} and {run} is already at step {state['step']}; expected more, counted from the run's "
                f"start, e.g. --steps {2 * state['step']}"
            )
        passed = [f"network.{name}" for name, module in modules.items() if module is not None]
        if dataset is not None:
            passed.append("data")
        if not trust_code:
            trust.check(run, state.get("id"), trust.code_of(config, without=passed))
        trainer = cls(config, dataset=dataset, callbacks=callbacks, **modules)
        try:
            trainer._resume(state, path, run)
        except BaseException:
            trainer.processes.leave()
            raise
        trainer.problems, trainer._stamp = problems, stamp
        trainer._untrusted = () if trust_code else passed
        return trainer

    def _resume(self, state: dict[str, Any], path: Path, run: Path) -> None:
        now = self.facts.fingerprint
        if now != state["data"]["fingerprint"]:
            raise ValueError(
                f"the data of {run} changed since it was saved: {self.config.data} has the hash {now[:12]}..., the data in the checkpoint "
                f"{state['data']['fingerprint'][:12]}...; expected the same data; for other data start a new run"
                f"{seeds(self.config.data)}"
            )
        with self.processes.watching():
            self.processes.agree("checkpoint's step", state["step"])
        with reading(path):
            self.task.load_state_dict(state)
            self.meter.load_state_dict(state["meter"])
            self._best.load_state_dict(state["best"])
            with random_states.borrowed():
                random_states.restore(state["random"])
        self._states, self._checkpoint = state["random"], path.name
        self._names = state.get("names", {"best": False, "keep": False})
        self.run, self.step, self._saved, self._seconds = run, state["step"], state["step"], state["seconds"]
        self._cpu_seconds = state.get("cpu_seconds", 0.0)  # older checkpoints do not have it
        self._recorder.id = state.get("id") or identity.of(run) or self._recorder.id

    def stop(self) -> None:
        """Ends the run after the current step and saves it. For callbacks."""
        self._asked = True

    def fit(self) -> Result:
        """Trains up to ``config.steps``, or until it is stopped, and returns how it ended.

        SIGINT, SIGTERM and SIGHUP end the run after the current step and save it; a second signal ends it at once.

        Raises:
            LockedError: Another process trains the run, or has trained it since this trainer read or saved it.
            DivergedError: A loss or weight is no longer finite; the last checkpoint is kept.
            ProcessLostError: Another process of the run has died.
            OSError: A file cannot be written; the last checkpoint is kept.
            ValueError: The run's folder cannot be created.
        """
        with (
            Interrupt() as interrupt,
            cpu_threads(self.config.threads),
            _deterministic(self.config.deterministic),
            random_states.borrowed(),
            self.processes.watching(),
            self._lock,
        ):
            self._begin()
            try:
                self._loop(interrupt)
            except NotFiniteSamplesError as error:
                self._check()  # says more, if a network is why
                raise DivergedError(self._diverged(str(error))) from error
            finally:  # fit may be called again
                self._states = random_states.capture()
            return self._end(interrupt.asked)

    def _loop(self, interrupt: Interrupt) -> None:
        begun, before = time.monotonic(), self._seconds
        cpu_begun, cpu_before = time.process_time(), self._cpu_seconds
        told, shown = before, self.step
        while self.step < self.config.steps and not self._stop:
            step = self.step + 1
            self.meter.add(step, self.task.step(step))
            self.step = step
            self._call("on_step")
            self._seconds = before + time.monotonic() - begun
            self._cpu_seconds = cpu_before + time.process_time() - cpu_begun
            self._stop = self._agreed(interrupt.asked, time.monotonic() - begun)
            last = step == self.config.steps or bool(self._stop)
            due = last or self._is_regular(step)
            if last or step % self.config.tick == 0:
                stats = self._stats(step - shown, self._seconds - told)
                told, shown = self._seconds, step
                self._tell(stats, last)
            elif due:
                self._check()
            if due:
                self._save()
            if self.processes.first and (last or step % self.config.snapshot == 0):
                self._recorder.snapshot(step)

    def _is_regular(self, step: int) -> bool:
        """Whether a run that is not interrupted saves a checkpoint after this step."""
        return step % self.config.checkpoint == 0 or self.task.evaluates(step)

    def _begin(self) -> None:
        if self.run is None:
            # Each process has its own random numbers, should its networks draw any.
            random_states.seed(self.config.seed + self.processes.rank)
            self.run = self.processes.by_first(
                lambda: create_run(self.config.out, self.config.name, self.dataset.name, self._fill)
            )
            self._lock.run = self._recorder.run = self.run
        else:
            try:
                warning = self.processes.by_first(self._take)
            except ValueError as error:  # from the first process, with only its text
                raise LockedError(str(error)) from None
            if self.processes.first:
                self._continue(self.run, warning)
            else:
                random_states.seed(self.config.seed + self.processes.rank + self.step)
        self._call("on_begin")

    def _fill(self, run: Path) -> None:
        """Locks the folder of a new run and writes its first files."""
        warning = self._lock.take(run)
        self._recorder.begin(run)
        self._log_start(warning)
        self._write(run)

    def _take(self) -> str:
        """Locks a run that exists; returns a warning or ""."""
        assert self.run is not None
        warning = self._lock.take(self.run)
        if checkpoint.stamp(self.run) != self._stamp:
            raise LockedError(
                f"{self.run} was trained by another process after its checkpoint of step {self._saved} was read here; "
                f"expected no other process: resume it again, from its newest checkpoint"
            )
        return warning

    def _continue(self, run: Path, warning: str) -> None:
        """Sets the random states and the files of a run to where its training continues."""
        assert self._states is not None
        random_states.restore(self._states)
        checkpoint.restore(run, self._checkpoint, self._saved, **self._names)
        self._stamp = checkpoint.stamp(run)
        done = self.step >= self.config.steps
        self._recorder.resume(run, self.step, done)
        for problem in self.problems:
            self._recorder.log(f"{problem}; an older checkpoint is used")
        what = "the last files are written again" if done else f"to step {self.config.steps}"
        self._recorder.log(f"resumed at step {self.step}, {what}")
        self._log_start(warning)
        # Pictures are drawn after the save, so this one may be missing.
        if self.step and (done or self.step % self.config.snapshot == 0):
            self._recorder.snapshot(self.step)

    def _log_start(self, warning: str) -> None:
        """Logs the warnings, and records the run as the user's own."""
        for problem in [*self.warnings, *([warning] if warning else ())]:
            self._recorder.log(f"warning: {problem}")
        try:
            trust.remember(self._recorder.id, self.config, self._untrusted)
        except OSError as error:
            self._recorder.log(f"warning: other commands will need --trust-code for this run: {error}")

    def _agreed(self, asked: int, seconds: float) -> Stop:
        """Why all processes end after this step, the strongest reason of any of them; "" to continue."""
        minutes = self.config.minutes
        reasons: list[Stop] = ["", "minutes", "stopped", "signal"]
        mine = 3 if asked else 2 if self._asked else 1 if minutes and seconds >= 60 * minutes else 0
        return reasons[self.processes.largest(mine)]

    def _stats(self, steps: int, seconds: float) -> Stats:
        self._check()
        images = self.task.samples_per_step
        # A line written early, at the end of a run, is written again at its tick if the run is resumed.
        means = self.meter.read(self.processes, keep=self.step % self.config.tick != 0)
        return Stats(
            step=self.step,
            images=self.step * images,
            seconds=self._seconds,
            cpu_seconds=self._cpu_seconds,
            images_per_second=steps * images / max(seconds, 1e-9),
            memory=memory(torch.device(self.config.device)),
            numbers={**self.task.summarise(means), **self.task.held_out(self.step)},
        )

    def _check(self) -> None:
        """Raises DivergedError, in all processes, if a loss or a weight of any of them is not finite."""
        problem = ""
        try:
            self.meter.check()
        except NotFiniteError as error:
            problem = str(error)
        where = _first_not_finite(self.task.modules)
        if where and not problem:
            problem = f"{where} is not finite at step {self.step}, although the losses are"
        elif where:
            problem += f"; {where} is not finite either"
        if self.processes.largest(int(bool(problem))):
            raise DivergedError(self._diverged(problem or "a loss of another process is not finite"))

    def _diverged(self, problem: str) -> str:
        return f"{problem}. The checkpoint of step {self._saved} is intact. {self.task.cure()}"

    def _tell(self, stats: Stats, last: bool) -> None:
        score = self.task.score(stats.numbers) if stats.step % self.config.tick == 0 else None
        if score is not None:
            self._best.see(score)
        if self.processes.first:
            self._recorder.tick(stats, last)
            self._call("on_tick", stats)

    def _save(self) -> None:
        if self.processes.first:
            assert self.run is not None
            try:
                path = self._write(self.run)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"the checkpoint of step {self.step} cannot be written ({error.strerror or error}); that of step "
                    f"{self._saved} is intact",
                ) from error
            self._call("on_checkpoint", path)
        self._saved = self.step

    def _write(self, run: Path) -> Path:
        is_best = self._best.is_new()
        if self._is_regular(self.step):
            self._best.keep()
        keep = self.config.keep > 0 and self.step > 0 and self.step % self.config.keep == 0
        names = {"best": is_best, "keep": keep}
        path = checkpoint.save(run, {**self._state(), "names": names}, **names)
        self._checkpoint, self._names = path.name, names
        self._stamp = checkpoint.stamp(run)
        self._recorder.weights()
        return path

    def _state(self) -> dict[str, Any]:
        modes = self.dataset.modes
        return {
            "format": FORMAT,
            "id": self._recorder.id,
            "step": self.step,
            "seconds": self._seconds,
            "cpu_seconds": self._cpu_seconds,
            "config": json.dumps(settings_of(self.config)),
            "data": {
                **self.facts.as_json(),
                "modes": None if modes is None else {"centres": modes.centres, "deviation": modes.deviation},
            },
            **self.task.state_dict(),
            "meter": self.meter.state_dict(),
            "best": self._best.state_dict(),
            "random": random_states.capture(),
        }

    def _end(self, asked: int) -> Result:
        assert self.run is not None
        reason = self._stop if self._stop and self.step < self.config.steps else "done"
        result = Result(self.run, self.step, reason, (asked or signal.SIGTERM) if reason == "signal" else 0)
        if self.processes.first:
            self._recorder.log(f"ended at step {self.step}: {reason}")
            self._recorder.end()
            self._call("on_end", result)
        self._stop, self._asked = "", False
        return result

    def _call(self, event: str, *arguments: Any) -> None:
        if self.processes.first:
            for callback in self.callbacks:
                getattr(callback, event)(self, *arguments)


def _first_not_finite(modules: Mapping[str, nn.Module]) -> str:
    """The name of the first weight or buffer that is not finite; "" if all are. Reads from the device once."""
    tensors = {
        f"{owner}'s {name}": value
        for owner, module in modules.items()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    finite = torch.stack([value.isfinite().all() for value in tensors.values()]).tolist()
    return next((name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite), "")


@contextlib.contextmanager
def _deterministic(required: bool) -> Iterator[None]:
    """Within the block, if ``required``, nondeterministic operators raise an error."""
    before = torch.are_deterministic_algorithms_enabled()
    if required:
        # cuBLAS reads it at its first call.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
