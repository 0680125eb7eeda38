"""Results kept on disk: read back whole, never those of anything else, and never in the way."""

import hashlib
import os

import pytest
import torch

from gpgan.metrics.features import store
from gpgan.metrics.features.store import Store


class Counted:
    """Computes a value, and counts how often."""

    def __init__(self, value):
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return self.value


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gpgan" / "metrics"


def files(folder):
    return sorted(folder.glob("*"))


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(5, 3),
        torch.randn(4).double(),
        torch.arange(6),
        torch.zeros(0, 3),
        torch.tensor(2.5),
        torch.randn(3, 5).T,
    ],
)
def test_kept_and_read_back(value, folder):
    compute = Counted(value)
    for _ in range(3):
        found = Store("data", "network").get("features", compute)
        assert torch.equal(found, value)
        assert found.dtype == value.dtype
    assert compute.calls == 1
    assert len(files(folder)) == 1


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("other data", "network"), "features"),
        (("data", "other network"), "features"),
        (("network", "data"), "features"),
        (("datanetwork",), "features"),
        (("data", "network", ""), "features"),
        (("data", "network"), "squared radius, k 5"),
    ],
)
def test_other_parts_or_names_are_something_else(parts, name):
    Store("data", "network").get("features", Counted(torch.zeros(2)))
    other = Counted(torch.ones(2))
    assert torch.equal(Store(*parts).get(name, other), torch.ones(2))
    assert other.calls == 1


def test_another_version_is_something_else(monkeypatch):
    Store("data").get("features", Counted(torch.zeros(2)))
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert torch.equal(Store("data").get("features", Counted(torch.ones(2))), torch.ones(2))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "text", "folder", "longer"])
def test_damaged_results_are_computed_again_and_replaced(damage, folder):
    value = torch.randn(50, 4)
    Store("data").get("features", Counted(value))
    (path,) = files(folder)
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no tensor", "utf-8")
    elif damage == "longer":
        path.write_bytes(content + b"\0" * 16)
    else:
        path.mkdir()
    compute = Counted(value)
    assert torch.equal(Store("data").get("features", compute), value)
    assert compute.calls == 1
    if damage != "folder":
        assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "gpgan").write_text("in the way", "utf-8")
    compute = Counted(torch.ones(2))
    for _ in range(2):
        assert torch.equal(Store("data").get("features", compute), torch.ones(2))
    assert compute.calls == 2


def test_a_user_without_a_home_is_no_error(monkeypatch):
    def nowhere():
        raise OSError("no home")

    monkeypatch.setattr(store.cache, "folder", nowhere)
    assert torch.equal(Store("data").get("features", Counted(torch.ones(2))), torch.ones(2))


def test_an_error_while_computing_is_passed_on(folder):
    def fail():
        raise ValueError("3 of 5 samples are not finite")

    with pytest.raises(ValueError, match="3 of 5"):
        Store("data").get("features", fail)
    assert not files(folder)


def test_the_oldest_results_make_room(folder, monkeypatch):
    value = torch.randn(1000)
    names = [f"result {index}" for index in range(4)]
    made = []
    for index, name in enumerate(names):
        Store("data").get(name, Counted(value))
        (path,) = set(files(folder)) - set(made)
        os.utime(path, (index, index))
        made.append(path)
    monkeypatch.setattr(store, "MOST_BYTES", 3 * made[0].stat().st_size)
    Store("data").get("another", Counted(value))
    assert [path.exists() for path in made] == [False, False, True, True]
    assert len(files(folder)) == 3


def test_checksums_are_of_the_values():
    """So a file of the right form with other values is not taken."""
    assert store._checksum(torch.ones(3)) == hashlib.sha256(torch.ones(3).numpy().tobytes()).hexdigest()
