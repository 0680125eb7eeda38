"""Two processes with half the batch each train like one process with all of it, and either can resume the other's run."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from worker import Together

import gpgan
from gpgan.cli import main
from gpgan.critic import step as critic_step
from gpgan.data.kinds import Kind
from gpgan.nn import SyncedBatchNorm
from gpgan.records import checkpoint, recorder
from gpgan.tasks import adversarial, superresolve, updates
from gpgan.util.processes import Processes, ProcessLostError

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
STEPS, TICK = 50, 10
# Relative to how far a run's weights moved, two trainings that differ only by rounding are 1e-7 to 1e-6 apart. They are 1e-3 to
# 5e-3 apart if rounding decides a LeakyReLU's sign, or if a bias has a gradient of 0 up to rounding, which Adam scales up. That
# happens to some of CASES after some steps; which ones depends on the processor. The smallest of FAULTS gives 4e-2 after TICK
# steps.
ROUNDING, UNLUCKY, FAULT = 1e-5, 1e-2, 3e-2
# Numbers that depend on the clock and the machine, not on the training.
TIMES = ("seconds", "cpu_seconds", "images_per_second", "memory")
SMALL: dict[str, Any] = {
    "steps": STEPS, "tick": TICK, "checkpoint": TICK, "keep": TICK, "snapshot": STEPS, "batch": 16, "n_critic": 2, "threads": 1,
    "network": {"latent": 4, "width": 8, "depth": 2},
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "points": ("ring", {"optimizer": {"clip": 1.0}}),
    "convolutions": ("digits", {"eval": 0, "network": {"kind": "conv", "latent": 4, "width": 4}}),
    "lazy": ("digits", {"eval": 0, "penalty": {"lazy": 3}}),
    "super-resolution": ("digits", {"task": "superresolve", "network": {"width": 4, "depth": 1, "critic_width": 4}}),
    "conditional": (
        "digits",
        {
            "eval": 0,
            "network": {"kind": "conv", "latent": 4, "width": 4},
            "conditional": True,
            "optimizer": {"schedule": "linear"},
        },
    ),
}
FAULTS = ("same share", "unaveraged critic", "unaveraged generator", "unsynced batch norm", "other random numbers")
MIDDLE = 30


def fit(out: Path, case: str, name: str, **changes: Any) -> None:
    data, settings = CASES[case]
    trainer = gpgan.Trainer(gpgan.configure(data, **{**SMALL, **settings, **changes}, out=out, name=name))
    if trainer.processes.first:
        torch.save(trainer.task.state_dict(), out / f"start of {name}")
    trainer.fit()


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Without pictures, which take most of the time of such short runs; their samples are still made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_report", "write_animation"):
            patch.setattr(recorder, name, lambda *_: None)
        patch.setattr(Kind, "draw", lambda *_: None)
        patch.setattr(superresolve, "image_groups", lambda *_: None)
        patch.setattr(recorder.Curves, "draw", lambda *_: None)
        patch.setattr(recorder.Board, "add_image", lambda *_: None)
        yield


def state_of(run: Path, step: int = STEPS) -> dict[str, Any]:
    return checkpoint.read(run / "checkpoints" / f"step-{step:07d}.pt")


def apart(run: Path, other: Path, step: int = STEPS) -> float:
    """The distance between two runs at a step, relative to how far the other one moved: the largest over both networks and
    the average, each with its running statistics."""
    states = state_of(run, step), state_of(other, step), torch.load(other.with_name(f"start of {other.name}"))
    distances = []
    for part in ("generator", "critic", "average"):
        assert all(list(state[part]) == list(states[0][part]) for state in states)
        ours, theirs, first = (
            torch.cat([value.double().flatten() for value in state[part].values() if value.is_floating_point()])
            for state in states
        )
        distances.append(float((ours - theirs).norm() / (theirs - first).norm()))
    return max(distances)


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def differences(run: Path, other: Path) -> list[float]:
    """The largest difference of a number in each line of two runs."""
    ours, theirs = lines(run), lines(other)
    assert [(line["step"], line["images"]) for line in ours] == [(line["step"], line["images"]) for line in theirs]
    names = [name for name in ours[0] if name not in TIMES]
    assert len(names) > 8
    return [max(abs(a[name] - b[name]) for name in names) for a, b in zip(ours, theirs, strict=True)]


def rewind(run: Path, to: Path) -> Path:
    """A copy of a run as it was at step MIDDLE."""
    shutil.copytree(run, to)
    for path in (to / "checkpoints").glob("*"):
        if path.name != f"step-{MIDDLE:07d}.pt":
            path.unlink()
    return to


def spoil(fault: str, patch: pytest.MonkeyPatch, rank: int) -> None:
    if fault == "same share":
        patch.setattr(
            Processes, "share", lambda self, batch, dim=0: batch.narrow(dim, 0, batch.shape[dim] // self.size)
        )
    elif fault == "unaveraged critic":
        patch.setattr(critic_step, "average_gradients", lambda *_: None)
    elif fault == "unaveraged generator":
        patch.setattr(updates, "average_gradients", lambda *_: None)
    elif fault == "own statistics":
        patch.setattr(Processes, "mean", lambda _, values: values)
    elif fault == "unsynced batch norm":
        patch.setattr(SyncedBatchNorm, "forward", nn.modules.batchnorm._BatchNorm.forward)
    else:
        right = adversarial.Adversarial.prepare_round

        def wrong(self: adversarial.Adversarial, *arguments: Any) -> None:
            right(self, *arguments)
            self.rng.manual_seed(rank)

        patch.setattr(adversarial.Adversarial, "prepare_round", wrong)


def try_functions(rank: int) -> dict[str, Any]:
    """The results of the functions of Processes in this process."""
    group = Processes()
    batch = torch.arange(12).view(6, 2)

    def refuse() -> int:
        raise ValueError(f"refused by {rank}")

    try:
        group.by_first(refuse)
        refused = ""
    except ValueError as error:
        refused = str(error)
    torch.manual_seed(rank)
    module = nn.BatchNorm1d(3)
    nn.init.normal_(module.weight)
    module(torch.randn(5, 3))
    own = {name: value.clone() for name, value in module.state_dict().items()}
    group.align([module])
    return {
        "place": [group.rank, group.size, int(group.first), int(group.joined)],
        "share": group.share(batch),
        "largest": [group.largest(rank), group.largest(5 - rank), group.largest(0)],
        "mean": group.mean(torch.tensor([1.0 + rank, 4.0])),
        "maximum": group.maximum(torch.tensor([1.0 + rank, 4.0 - rank])),
        "by_first": group.by_first(lambda: f"from {rank}"),
        "refused": refused,
        "own": own,
        "aligned": module.state_dict(),
    }


def work(rank: int, out: Path) -> None:
    dist.init_process_group("gloo")  # by the user: a trainer uses it and does not destroy it
    torch.save(try_functions(rank), out / f"functions {rank}")
    with undrawn():
        for case in CASES:
            fit(out, case, f"two {case}")
        gpgan.Trainer.resume(out / "one to two").fit()
        for fault in (*FAULTS, "own statistics"):
            with pytest.MonkeyPatch.context() as patch:
                spoil(fault, patch, rank)
                fit(out, "convolutions", fault, steps=TICK)
    trainer = gpgan.Trainer(gpgan.configure("ring", **SMALL, out=out, name="two points"))
    with pytest.raises(ValueError, match="already exists"):
        trainer.fit()
    with pytest.raises(ValueError, match=r"batch is 9 and there are 2 processes; expected a multiple of 2"):
        gpgan.Trainer(gpgan.configure("ring", **{**SMALL, "batch": 9}, out=out))
    dist.barrier()
    (out / f"whole {rank}").touch()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of one process and of two."""
    out = tmp_path_factory.mktemp("runs")
    with undrawn():
        for case in CASES:
            fit(out, case, f"one {case}")
    rewind(out / "one conditional", out / "one to two")
    with Together(out / "told", work, out) as pair:
        assert pair.ended(120) == [0, 0], pair.complained()
    with undrawn():
        gpgan.Trainer.resume(rewind(out / "two conditional", out / "two to one")).fit()
    return out


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(out, case):
    two, one = out / f"two {case}", out / f"one {case}"
    assert apart(two, one, TICK) < UNLUCKY
    assert apart(two, one, STEPS) < UNLUCKY


@pytest.mark.parametrize("case", CASES)
def test_statistics_are_of_all_processes(out, case):
    assert [line["step"] for line in lines(out / f"two {case}")] == list(range(TICK, STEPS + 1, TICK))
    assert max(differences(out / f"two {case}", out / f"one {case}")) < UNLUCKY


def test_only_rounding_is_between_them(out):
    pairs = [(out / f"two {case}", out / f"one {case}") for case in CASES]
    assert sorted(apart(*pair, TICK) for pair in pairs)[1] < ROUNDING
    assert sorted(differences(*pair)[0] for pair in pairs)[1] < ROUNDING


@pytest.mark.parametrize("run", ["one to two", "two to one"])
def test_another_number_of_processes_goes_on_with_the_same_training(out, run):
    assert apart(out / run, out / "one conditional") < UNLUCKY
    assert max(differences(out / run, out / "one conditional")) < UNLUCKY
    assert [line["step"] for line in lines(out / run)] == list(range(TICK, STEPS + 1, TICK))
    log = (out / run / "log.txt").read_text()
    assert log.count(f"resumed at step {MIDDLE}, to step {STEPS}") == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_would_show(out, fault):
    assert apart(out / fault, out / "one convolutions", TICK) > FAULT


def test_statistics_of_one_process_would_show(out):
    assert apart(out / "own statistics", out / "one convolutions", TICK) < UNLUCKY
    own, one = lines(out / "own statistics")[0], lines(out / "one convolutions")[0]
    for name in ("critic_loss", "estimate", "held_out", "penalty", "norm_mean", "norm_std"):
        assert abs(own[name] - one[name]) > 100 * ROUNDING, name


def test_one_writer(out):
    for case in CASES:
        log = (out / f"two {case}" / "log.txt").read_text().splitlines()
        told = [line.split("  ")[1] for line in log]
        assert len(told) == len(set(told)) == 2 + STEPS // TICK
    assert not list(out.glob(".run-*"))


def test_a_group_of_the_users_own_stays(out):
    assert [(out / f"whole {rank}").exists() for rank in (0, 1)] == [True, True]


def test_functions_among_two(out):
    ranks = [torch.load(out / f"functions {rank}", weights_only=True) for rank in (0, 1)]
    assert [r["place"] for r in ranks] == [[0, 2, 1, 0], [1, 2, 0, 0]]
    assert torch.equal(torch.cat([r["share"] for r in ranks]), torch.arange(12).view(6, 2))
    for r in ranks:
        assert len(r["share"]) == 3
        assert r["largest"] == [1, 5, 0]
        assert r["mean"].tolist() == [1.5, 4.0]
        assert r["maximum"].tolist() == [2.0, 4.0]
        assert r["by_first"] == "from 0"
        assert r["refused"] == "refused by 0"
    own, aligned = [r["own"] for r in ranks], [r["aligned"] for r in ranks]
    assert not torch.equal(own[0]["weight"], own[1]["weight"])
    assert not torch.equal(own[0]["running_mean"], own[1]["running_mean"])
    for name, value in own[0].items():
        assert torch.equal(aligned[0][name], value)
        assert torch.equal(aligned[1][name], value)


def test_functions_alone():
    group = Processes()
    batch = torch.arange(6)
    assert (group.rank, group.size, group.first, group.joined, group.group) == (0, 1, True, False, None)
    assert torch.equal(group.share(batch), batch)
    assert group.largest(3) == 3
    assert group.mean(torch.tensor([2.0])).tolist() == [2.0]
    assert group.maximum(torch.tensor([2.0])).tolist() == [2.0]
    assert group.by_first(lambda: 7) == 7
    group.align([nn.Linear(1, 1)])
    group.leave()
    assert not dist.is_initialized()


# What the second process is given instead, and the setting that the error names.
OTHERS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "steps": {"steps": STEPS + 1},
    "optimizer.lr": {"optimizer": {"lr": 0.5}},
    "network.width": {"network": {"latent": 4, "width": 16, "depth": 2}},
    "minutes": {"minutes": 1.0},
    "task.name": {"task": "superresolve", "network": {"width": 4, "depth": 1, "critic_width": 4}},
}


def disagree(rank: int, out: Path) -> int:
    """Starts trainers with other settings in each process; keeps what they say, and ends with a command line."""
    dist.init_process_group("gloo")
    messages = {}
    for name, settings in OTHERS.items():
        with pytest.raises(ValueError, match="expected the same settings") as raised:
            gpgan.Trainer(gpgan.configure("digits", **{**SMALL, **(settings if rank else {})}, out=out))
        messages[name] = str(raised.value)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 4 + rank), nn.Linear(4 + rank, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match="expected the same networks") as raised:
        gpgan.Trainer(gpgan.configure("digits", **SMALL, out=out), critic=critic)
    messages["critic"] = str(raised.value)
    # Its own machine's business.
    gpgan.Trainer(gpgan.configure("digits", **{**SMALL, "impl": ("auto", "reference")[rank]}, out=out / str(rank)))
    (out / f"messages {rank}").write_text(json.dumps(messages))
    return main(["train", "digits", "--seed", str(rank), "--out", str(out)])


def test_processes_of_different_settings_end_with_one_sentence(tmp_path):
    with Together(tmp_path, disagree, tmp_path) as pair:
        assert pair.ended() == [2, 2], pair.complained()
        both = "".join(pair.complained())
    assert both == (
        "gpgan: seed is 0 in process 0 and 1 in process 1; expected the same settings in every process: start all with the "
        "same command\n"
    )
    ours, theirs = (json.loads((tmp_path / f"messages {rank}").read_text()) for rank in (0, 1))
    assert ours == theirs
    for name in OTHERS:
        assert ours[name].startswith(f"{name} is "), ours[name]
    assert ours["critic"].startswith(
        "the shape of 1.weight in network 1 is (4, 64) in process 0 and (5, 64) in process 1"
    )
    assert not list(tmp_path.glob("0*"))


def test_a_port_in_use_is_said_as_such(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in place.items():
            monkeypatch.setenv(name, str(value))
        assert main(["train", "digits", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert (
        f"gpgan: MASTER_PORT is {port}, and another program uses this port on this machine; expected a free one" in said
    )
    assert not dist.is_initialized()


@pytest.mark.parametrize(("error", "is_lost"), [
    (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:9"), True),
    (RuntimeError("[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 6000ms"), True),
    (dist.DistNetworkError("failed to recv, got 0 bytes"), True),
    (RuntimeError("no connection to the database of samples"), False),
    (RuntimeError("gloo is not what this is about"), False),
    (ValueError("Connection closed by peer"), False),
])  # fmt: skip
def test_only_a_collective_s_error_is_a_lost_process(monkeypatch, error, is_lost):
    group = Processes()
    monkeypatch.setattr(group, "size", 2)
    with pytest.raises(ProcessLostError if is_lost else type(error)) as raised, group.watching():
        raise error
    assert isinstance(raised.value, ProcessLostError) == is_lost
