"""Damaged and forged files as data, settings and runs: a result, or one line that refuses them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import random
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import torch
from PIL import Image
from small_runs import without_pictures

from gpgan.cli import main
from gpgan.data import load

QUICK = ["--steps", "2", "--batch", "4", "--n-critic", "1", "--network.width", "4", "--network.latent", "2"]
QUICK += ["--tick", "1", "--checkpoint", "1", "--threads", "1", "--network.kind", "mlp", "--network.depth", "1"]


def pixels(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def image(form: str, picture: Image.Image, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.copy().save(content, form, **options)
    return content.getvalue()


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def mrc() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with mrcfile.new(Path(folder, "a.mrc")) as file:
            file.set_data(np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
        return Path(folder, "a.mrc").read_bytes()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.png", GOOD["a.png"])
    return content.getvalue()


RGB, GREY = Image.fromarray(pixels(12, 10, 3)), Image.fromarray(pixels(9, 9))
DEEP = Image.fromarray(pixels(8, 8).astype(np.uint16) * 257)
IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", 6, 5, 5) + pixels(6, 5, 5).tobytes()
TOML = (
    b"steps = 1\nn_critic = 2\nseed = 3\n[network]\nwidth = 4\nlatent = 2\n[optimizer]\nbetas = [0.0, 0.9]\nlr = 1e-4\n"
)
POINTS = np.random.default_rng(0).normal(size=(20, 2))
# Names and contents that load; a name's suffix decides who reads it.
GOOD: dict[str, bytes] = {
    "a.png": image("PNG", RGB),
    "grey.png": image("PNG", GREY),
    "deep.png": image("PNG", DEEP),
    "palette.png": image("PNG", RGB.quantize(16), transparency=0),
    "a.jpg": image("JPEG", RGB),
    "a.gif": image("GIF", RGB.quantize(16), save_all=True, append_images=[GREY]),
    "a.tif": image("TIFF", RGB, save_all=True, append_images=[GREY]),
    "a.bmp": image("BMP", RGB),
    "a.webp": image("WEBP", RGB),
    "a.ppm": image("PPM", RGB),
    "a.npy": saved(lambda file: np.save(file, POINTS)),
    "bytes.npy": saved(lambda file: np.save(file, pixels(10, 8, 8))),
    "a.npz": saved(lambda file: np.savez(file, x=pixels(12, 8, 8), y=np.arange(12) % 3)),
    "packed.npz": saved(lambda file: np.savez_compressed(file, x=POINTS)),
    "a-idx3-ubyte": IDX,
    "a-idx3-ubyte.gz": gzip.compress(IDX, mtime=0),
    "a.mrc": mrc(),
    "a.toml": TOML,
}
GOOD["a.zip"] = zipped()
# Numbers at which readers of files stumble.
NUMBERS = [0, 1, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutant(rng: random.Random, content: bytes) -> bytes:
    """The content, changed at one or a few places."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        length = max(len(changed), 1)
        # Half of the changes are in the first bytes, where headers are.
        at = rng.randrange(min(length, 128) if rng.random() < 0.5 else length)
        how = rng.randrange(8)
        if how == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
        elif how == 2:
            del changed[at:]
        elif how == 3:
            size, order = rng.choice([(1, "big"), (2, "big"), (2, "little"), (4, "big"), (4, "little"), (8, "little")])
            value = rng.choice(NUMBERS) % 256**size
            changed[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]
        elif how == 4:
            end = at + rng.randint(1, 64)
            changed[at:at] = changed[at:end] * rng.choice([1, 2, 100])
        elif how == 5:
            del changed[at : at + rng.randint(1, 64)]
        elif how == 6:
            other = rng.choice(list(GOOD.values()))
            start = rng.randrange(len(other))
            changed[at:at] = other[start : start + rng.randint(1, 64)]
        elif rng.random() < 0.1:
            changed[:] = rng.choice([b"", b"\0", b"\0" * 4096, b"[" * 3000, "\ufeff{}".encode(), b"\xff" * 100])
        else:  # a number in a text
            digits = [i for i, byte in enumerate(changed) if chr(byte).isdigit()]
            if digits:
                i = rng.choice(digits)
                new = [b"-", b"9" * 30, b"1e400", b"nan", b"null", b'"x"', b"[]", b"{}", b"0", b"true", b"\x1b[2J"]
                changed[i : i + 1] = rng.choice(new)
    return bytes(changed)


@functools.cache
def run() -> Path:
    """A finished run of two steps."""
    import pytest

    without_pictures(pytest.MonkeyPatch())
    out = Path(tempfile.mkdtemp(dir="."))
    (out / "points.npy").write_bytes(GOOD["a.npy"])
    assert command("train", str(out / "points.npy"), *QUICK, "--out", str(out), "--name", "run")[0] == 0
    return out / "run"


def command(*arguments: str) -> tuple[int, str, str]:
    """The exit status of a command line, and what it wrote to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def judged(status: int, out: str, err: str) -> str:
    """ "done" or "refused"; a fault otherwise."""
    if "Traceback" in out + err or "\x1b" in out + err:
        return f"!{out}{err}"
    if status == 0:
        return "done"
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]  # of the data, before it is refused
    one_line = len(lines) == 1 and lines[0].startswith("gpgan: ")
    return "refused" if status in (1, 2) and one_line else f"!exit status {status}: {out}{err}"


def of_data(rng: random.Random, folder: Path) -> str:
    name = rng.choice([name for name in GOOD if not name.endswith(".toml")])
    path = folder / name
    path.write_bytes(mutant(rng, GOOD[name]))
    if path.suffix in (".png", ".jpg", ".gif", ".tif", ".bmp", ".webp", ".ppm"):
        (folder / "whole.png").write_bytes(GOOD["a.png"])
        path = folder
    try:
        data = load(str(path))
    except ValueError as error:
        return "refused" if str(folder) in str(error) and "\x1b" not in str(error) else f"!{name}: {error}"
    finite = bool(torch.isfinite(data.scaled(data.stored[:4])).all())
    return "done" if finite else f"!{name}: samples that are not finite"


def of_settings(rng: random.Random, folder: Path) -> str:
    (folder / "a.toml").write_bytes(mutant(rng, TOML))
    (folder / "points.npy").write_bytes(GOOD["a.npy"])
    # On the command line come only the settings that bound the size of a run.
    return judged(*command("train", str(folder / "points.npy"), "--config", str(folder / "a.toml"), "--dry-run"))


def of_a_run(rng: random.Random, folder: Path) -> str:
    copy = folder / "run"
    shutil.copytree(run(), copy)
    names = ["config.json", "stats.jsonl", "checkpoints/latest.pt", "checkpoints/previous.pt", "log.txt"]
    path = copy / rng.choice(names)
    path.write_bytes(mutant(rng, path.read_bytes()))
    if rng.random() < 0.3:  # a checkpoint that is whole, and has an odd content
        forged(rng, copy / "checkpoints" / "latest.pt")
        (copy / "checkpoints" / "previous.pt").unlink(missing_ok=True)
    arguments = rng.choice(
        [
            ["ls", str(folder)],
            ["sample", str(copy), "-n", "4", "--out", str(folder / "a.npy")],
            ["eval", str(copy), "-n", "10"],
            ["resume", str(copy), "--steps", "4"],
        ]
    )
    return judged(*command(*arguments))


def forged(rng: random.Random, path: Path) -> None:
    """Changes one entry of a checkpoint, somewhere in its tree, and makes its checksum right again."""
    from gpgan.records import checkpoint

    state = torch.load(run() / "checkpoints" / "latest.pt", weights_only=True)
    at = state
    while True:
        keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = rng.choice(keys)
        inner = at[key]
        if isinstance(inner, dict | list) and len(inner) and rng.random() < 0.8:
            at = inner
            continue
        break
    odd = [None, -1, 10**30, float("nan"), "", "x", [], {}, True, torch.zeros(3), torch.full((2, 2), float("nan"))]
    if key == "config":
        settings = json.loads(state["config"])
        name = rng.choice(list(settings))
        settings[name] = rng.choice([None, -1, 10**30, "", [], {}, True])
        at[key] = json.dumps(settings)
    elif rng.random() < 0.3 and isinstance(at, dict):
        del at[key]
    else:
        at[key] = rng.choice(odd)
    state.pop(checkpoint.CHECKSUM, None)
    torch.save({**state, checkpoint.CHECKSUM: checkpoint.checksum(state)}, path)


def outcome(number: int) -> str:
    rng = random.Random(f"file {number}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        what = rng.choice([of_data, of_data, of_data, of_data, of_settings, of_a_run])
        return what(rng, Path(folder))


def test_file_mutants(tally: Any) -> None:
    tally.in_children("test_file_mutants", few=60, many=1000)
