"""Bad input to gpgan train: one line on stderr that names the problem, exit status 2, and no files written."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpgan.settings.config import options
from gpgan.tasks.generation.config import Config

OPTIONS = {name: (field.metadata, wanted) for name, field, wanted in options(Config)}
RNG = np.random.default_rng(0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with 30 points and images of odd shapes."""
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", RNG.normal(size=(30, 2)))
    np.save("odd.npy", RNG.integers(0, 256, (80, 1, 9, 9), dtype=np.uint8))
    np.save("oblong.npy", RNG.integers(0, 256, (80, 1, 8, 16), dtype=np.uint8))
    return tmp_path


@pytest.fixture
def refused(cli, here):
    """Runs a command line that must be refused and returns its line on stderr."""

    def refused(*arguments):
        before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
        status, out, err = cli(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), (arguments, err)
        assert err.startswith("gpgan: ")
        assert "Traceback" not in err
        assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
        return err

    return refused


def flag(name):
    return f"--{name.replace('_', '-')}"


WHOLE = [name for name, (_, wanted) in OPTIONS.items() if wanted is int]
NUMBERS = [name for name, (_, wanted) in OPTIONS.items() if wanted is float]


@pytest.mark.parametrize("name", WHOLE)
def test_range_of_whole_numbers(refused, name):
    limits = OPTIONS[name][0]
    for value in (limits["least"] - 1, limits["most"] + 1):
        err = refused("train", "points.npy", flag(name), str(value))
        assert f"gpgan: {flag(name)[2:]} is {value}; expected" in err or (name == "size" and f"size is {value}" in err)
    for value in ("many", "1.5", "", "1e3", "true", "nan"):
        err = refused("train", "points.npy", f"{flag(name)}={value}")
        assert f"{flag(name)[2:]} is {value!r}; expected a whole number" in err


@pytest.mark.parametrize("name", NUMBERS)
def test_range_of_numbers(refused, name):
    limits = OPTIONS[name][0]
    low = limits["least"] if limits["above"] else math.nextafter(limits["least"], -math.inf)
    for value in (low, limits["below"], math.nan, math.inf, -math.inf):
        err = refused("train", "points.npy", f"{flag(name)}={value}")
        assert f"gpgan: {flag(name)[2:]} is {float(value)}; expected a finite number" in err
    for value in ("many", "", "1,5"):
        err = refused("train", "points.npy", f"{flag(name)}={value}")
        assert f"{flag(name)[2:]} is {value!r}; expected a number" in err


def test_every_setting_that_has_a_range_was_tried():
    ranged = {name for name, (limits, _) in OPTIONS.items() if {"most", "below"} & set(limits)}
    assert ranged == {*WHOLE, *NUMBERS}


CASES = {
    "unknown command": (["trian"], "unknown command 'trian'; expected train or resume or sample or eval or compare or ladder or prefer or wedge or export or lab or ls or doctor; did you mean train?"),
    "no command like it": (["zzz"], "unknown command 'zzz'; expected train or"),
    "no data": (["train"], "DATA is missing; expected digits, ring"),
    "no data, but flags": (["train", "--steps", "3"], "DATA is missing"),
    "empty data": (["train", ""], "DATA is missing"),
    "unknown data": (["train", "digit"], "data is 'digit'; expected digits, ring, grid, swissroll, mnist5k, fashion, emoji, a folder"),
    "nearest data": (["train", "fashon"], "did you mean fashion?"),
    "two data sets": (["train", "digits", "ring"], "unrecognized arguments: ring"),
    "unknown flag": (["train", "digits", "--stesp", "3"], "unrecognized arguments: --stesp 3; did you mean --steps? (gpgan train --help lists the options)"),
    "unknown nested flag": (["train", "digits", "--penalty.wieght", "3"], "did you mean --penalty.weight?"),
    "flag without its group": (["train", "digits", "--lr=3"], "unrecognized arguments: --lr=3; did you mean --optimizer.lr?"),
    "flag of another task": (["train", "digits", "--task", "superresolve", "--network.latent", "3"], "unrecognized arguments: --network.latent 3 (gpgan train"),
    "words for a number": (["sample", "runs/a", "-n", "many"], "-n is 'many'; expected a whole number (gpgan sample --help"),
    "words for minutes": (["resume", "runs/a", "--minutes", "long"], "--minutes is 'long'; expected a number (gpgan resume"),
    "data that is none": (["train", "math:pi"], "math:pi is a float; expected a Dataset"),
    "escape sequences": (["train", "no\x1b[2J\x07.npy"], r"no\x1b[2J\x07.npy does not exist"),
    "bytes that are no text": (["train", os.fsdecode(b"caf\xe9.npy")], r"caf\xe9.npy does not exist"),
    "flag cut short": (["train", "digits", "--step", "3"], "did you mean --steps?"),
    "no value": (["train", "digits", "--steps"], "--steps: expected one argument"),
    "value for a switch": (["train", "digits", "--conditional=yes"], "--conditional: ignored explicit argument 'yes'"),
    "unknown preset": (["train", "ring", "--preset", "wgan-gpp"], "preset is 'wgan-gpp'; expected auto, gan, nsgan, wgan, wgan-gp, wgan-gp-toy, wgan-lp, dragan, lsgan, sngan, stylegan-r1, r3gan, superresolve; did you mean wgan-gp?"),
    "unknown choice": (["train", "ring", "--impl", "fast"], "impl is 'fast'; expected auto or native or reference"),
    "unknown precision": (["train", "ring", "--precision", "fp8"], "precision is 'fp8'; expected fp32 or bf16 or fp16"),
    "unknown schedule": (["train", "ring", "--optimizer.schedule", "step"], "optimizer.schedule is 'step'; expected constant or inverse-sqrt or linear or cosine"),
    "unknown network": (["train", "ring", "--network.kind", "unet"], "network.kind is 'unet'; expected auto or mlp or conv"),
    "unknown device": (["train", "ring", "--device", "abacus"], "device is 'abacus', which this torch cannot use"),
    "device meta": (["train", "ring", "--device", "meta"], "device is 'meta', which this torch cannot use"),
    "device that is not there": (["train", "ring", "--device", "cuda:99"], "device is 'cuda:99', which this torch cannot use"),
    "threads beyond the processors": (["train", "ring", "--threads", "100000"], "threads is 100000; expected a whole number from 0 to"),
    "digits beyond any integer": (["train", "ring", "--steps", "9" * 400], "expected a whole number from 1 to"),
    "digits beyond any parser": (["train", "ring", "--steps", "9" * 5000], "expected a whole number"),
    "large batch": (["train", "points.npy", "--batch", "28"], "has 27 samples to train on; expected a batch from 2 to 27"),
    "labels that are not there": (["train", "ring", "--conditional"], "conditional is True and ring has no labels; expected data with labels"),
    "convolution of vectors": (["train", "ring", "--network.kind", "conv"], "network.kind is 'conv' and samples have shape (2,)"),
    "size of what has none": (["train", "ring", "--size", "32"], "size is 32 and data is 'ring'; expected no size: only folders of images"),
    "keep without a checkpoint": (["train", "ring", "--keep", "7"], "keep is 7 and checkpoint is 500; expected keep to be a multiple of checkpoint"),
    "slash in the name": (["train", "ring", "--name", "a/b"], "name is 'a/b'; expected a single folder name"),
    "name of two lines": (["train", "ring", "--name", "a\nb"], "expected a single folder name"),
    "long name": (["train", "ring", "--name", "x" * 300], "expected a single folder name"),
    "empty name": (["train", "ring", "--name", ""], "name is ''; expected a single folder name"),
    "file as out": (["train", "ring", "--out", "points.npy"], "points.npy is not a folder, so no run can be created in it; choose another --out"),
    "below a file": (["train", "ring", "--out", "points.npy/runs"], "points.npy is not a folder"),
    "config that is not there": (["train", "ring", "--config", "none.toml"], "config is 'none.toml', which cannot be read (No such file or directory); expected a TOML file"),
    "config that is none": (["train", "ring", "--config", "points.npy"], "which is not valid TOML"),
    "generator that is not there": (["train", "ring", "--network.generator", "no_such:thing"], "network.generator is 'no_such:thing', and module no_such is neither in"),
    "generator without a colon": (["train", "ring", "--network.generator", "thing"], "network.generator is 'thing'; expected module:attribute"),
    "generator that is no module": (["train", "ring", "--network.generator", "builtins:dict"], "network.generator is 'builtins:dict', which returned a dict; expected an nn.Module"),
    "critic that takes something else": (["train", "ring", "--network.critic", "torch.nn:Linear"], "network.critic is 'torch.nn:Linear', which cannot be called with shape="),
    "module that is not there": (["train", "no_such:thing"], "module no_such is neither in"),
    "unknown objective": (["train", "ring", "--objective", "hing"], "objective is 'hing'; expected wasserstein, minimax, non-saturating, least-squares, hinge, relativistic; did you mean hinge?"),
    "objective under another name": (["train", "ring", "--objective", "least_squares"], "did you mean least-squares?"),
    "nearest network": (["train", "digits", "--network.kind", "resnets"], "network.kind is 'resnets'; expected auto or mlp or conv or resnet; did you mean resnet?"),
    "nearest points": (["train", "ring", "--penalty.points", "noise"], "penalty.points is 'noise'; expected between or real or fake or both or noisy; did you mean noisy?"),
    "nearest optimizer": (["train", "ring", "--optimizer.kind", "adamw"], "optimizer.kind is 'adamw'; expected adam or rmsprop or sgd; did you mean adam?"),
    "nearest norm": (["train", "ring", "--network.norm", "layers"], "network.norm is 'layers'; expected none or batch or layer; did you mean layer?"),
    "clipping and a penalty": (["train", "digits", "--weight-clip", "0.01", "--penalty.weight", "5"], "weight-clip is 0.01 and penalty.weight is 5: two ways to regularise the critic; expected one of them, e.g. --penalty.weight 0"),
    "clipping and the default penalty": (["train", "digits", "--weight-clip", "0.01"], "weight-clip is 0.01 and penalty.weight is 10"),
    "clipping and spectral norm": (["train", "ring", "--weight-clip", "0.01", "--penalty.weight", "0", "--network.spectral-norm"], "weight-clip is 0.01 and network.spectral-norm is on"),
    "pack that does not divide the batch": (["train", "ring", "--pack", "3", "--batch", "64"], "pack is 3 and batch is 64; expected a batch that is a multiple of 3"),
    "pack and labels": (["train", "digits", "--pack", "2", "--conditional"], "pack is 2 and conditional is on"),
    "norm of a critic of one's own": (["train", "ring", "--network.critic", "torch.nn:Linear", "--network.norm", "layer"], "network.critic is 'torch.nn:Linear' and network.norm or network.critic-depth is given"),
    "depth of a critic of one's own": (["train", "ring", "--network.critic", "torch.nn:Linear", "--network.critic-depth", "2"], "network.critic is 'torch.nn:Linear' and network.norm or network.critic-depth is given"),
    "critic's depth of a network that has none": (["train", "digits", "--network.kind", "conv", "--network.critic-depth", "2"], "critic_depth is 2 and network.kind is 'conv'"),
    "spectral norm of a critic without layers": (["train", "ring", "--network.critic", "torch.nn:Identity", "--network.spectral-norm", "--penalty.weight", "0"], "network.spectral-norm is on: module is a Identity without a linear"),
    "resnet of points": (["train", "ring", "--network.kind", "resnet"], "network.kind is 'resnet' and samples have shape (2,); expected square images"),
    "resnet of odd images": (["train", "odd.npy", "--network.kind", "resnet"], "network.kind is 'resnet' and samples have shape (1, 9, 9), whose side 9 is not"),
    "resnet of oblong images": (["train", "oblong.npy", "--network.kind", "resnet"], "network.kind is 'resnet' and samples have shape (1, 8, 16); expected square images"),
    "preset and its contradiction": (["train", "ring", "--preset", "wgan", "--penalty.weight", "10"], "weight-clip is 0.01 and penalty.weight is 10"),
    "preset and another clip": (["train", "ring", "--preset", "wgan-gp", "--weight-clip", "0.1"], "weight-clip is 0.1 and penalty.weight is 10"),
    "spectral preset and a clip": (["train", "ring", "--preset", "sngan", "--weight-clip", "0.1"], "weight-clip is 0.1 and network.spectral-norm is on"),
    "preset and a pack": (["train", "ring", "--preset", "gan", "--pack", "3"], "pack is 3 and batch is 100; expected a batch that is a multiple of 3"),
    "arguments to doctor": (["doctor", "digits"], "doctor got 'digits'; expected no arguments"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_command_lines(refused, case):
    arguments, message = CASES[case]
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stesp = 3", "a.toml: unknown setting 'stesp'; did you mean steps?"),
        ("steps = true", "a.toml: steps is True; expected a whole number"),
        ("steps = 1.5", "a.toml: steps is 1.5; expected a whole number"),
        ("[steps]\na = 1", "a.toml: unknown setting 'steps.a'; did you mean steps?"),
        ("steps = [1]", "a.toml: steps is [1]; expected a whole number"),
        ("steps = = 1", "config is 'a.toml', which is not valid TOML"),
        ("steps = 0", "steps is 0; expected a whole number from 1 to"),
        (
            "n-critic = 1\nn_critic = 2",
            "config is 'a.toml', which sets n-critic and n_critic, two spellings of one setting",
        ),
        (
            "[penalty]\none-sided = true\none_sided = true",
            "sets penalty.one-sided and penalty.one_sided, two spellings",
        ),
        ('"penalty.weight" = 1\n[penalty]\nweight = 2', "penalty.weight is given twice, 1 and 2; expected it once"),
        (f"steps = {'[' * 5000}{']' * 5000}", "config is 'a.toml', which is nested too deeply"),
        (f"{'.'.join('a' * 5000)} = 1", "config is 'a.toml', which is nested too deeply"),
        ('name = "a\\u001b[2J"', r"name is 'a\x1b[2J'; expected a single folder name"),
    ],
)
def test_config_files(refused, text, message):
    Path("a.toml").write_text(text)
    assert message in refused("train", "points.npy", "--config", "a.toml")


def image(path, *size, mode="RGB", value=None):
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8) if value is None else np.full((*size, 3), value, np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def header_beyond_memory():
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 2)}\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def corrupt_images():
    image("photos/a.png", 9, 9)
    whole = Path("photos/a.png").read_bytes()
    Path("photos/a.png").write_bytes(whole[:60])
    Path("photos/b.jpg").write_bytes(b"no image")


# A function that creates the data, its name, and words in the error. The loaders' own tests cover the rest.
DATA = {
    "missing file": (lambda: None, "none.npy", ["none.npy does not exist; expected"]),
    "missing folder": (lambda: None, "none/", ["none does not exist; expected"]),
    "empty file": (lambda: Path("a.npy").touch(), "a.npy", ["a.npy is empty"]),
    "unknown kind": (lambda: Path("a.txt").write_text("x"), "a.txt", ["a.txt", "a file of an unknown format"]),
    "numbers alone": (lambda: np.save("a.npy", np.zeros(4)), "a.npy", ["a.npy", "(4,)"]),
    "not finite": (lambda: np.save("a.npy", np.array([[1.0], [np.nan]])), "a.npy", ["a.npy", "NaN"]),
    "pickled": (
        lambda: np.save("a.npy", np.array([{}], dtype=object), allow_pickle=True),
        "a.npy",
        ["a.npy", "cannot be read"],
    ),
    "one sample": (lambda: np.save("a.npy", RNG.normal(size=(1, 3))), "a.npy", ["a.npy", "one sample"]),
    "all equal": (lambda: np.save("a.npy", np.full((9, 1, 8, 8), 7, np.uint8)), "a.npy", ["a.npy", "7"]),
    "range beyond any float": (
        lambda: np.save("a.npy", np.array([[np.longdouble("1e4000")], [0]], dtype=np.longdouble)),
        "a.npy",
        ["a.npy"],
    ),
    "broken archive": (
        lambda: Path("a.npz").write_bytes(b"PK\x03\x04 no archive"),
        "a.npz",
        ["a.npz", "cannot be read"],
    ),
    "header beyond memory": (header_beyond_memory, "a.npy", ["a.npy", "cannot be read"]),
    "broken IDX": (lambda: Path("a-idx3-ubyte").write_bytes(b"\0\0\x08\x03"), "a-idx3-ubyte", ["a-idx3-ubyte"]),
    "broken gzip": (lambda: Path("a.idx.gz").write_bytes(b"no gzip"), "a.idx.gz", ["a.idx.gz"]),
    "broken volume": (lambda: Path("a.mrc").write_bytes(b"no volume"), "a.mrc", ["a.mrc"]),
    "empty folder": (lambda: Path("photos").mkdir(), "photos", ["photos"]),
    "corrupt images alone": (corrupt_images, "photos", ["photos", "b.jpg"]),
    "one image": (lambda: image("photos/a.png", 9, 9), "photos", ["photos"]),
    "images all equal": (
        lambda: [image(f"photos/{n}.png", 9, 9, value=3) for n in range(4)],
        "photos",
        ["photos"],
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data(refused, case):
    make, name, words = DATA[case]
    make()
    err = refused("train", name)
    assert [word for word in words if word not in err] == []


def test_corrupt_images_among_others_are_listed(cli, here, quick, undrawn):
    for number in range(25):
        image(f"photos with Ü & 馬/{number}.png", 12, 12)
    Path("photos with Ü & 馬/broken.png").write_bytes(b"no image")
    status, out, err = cli("train", "photos with Ü & 馬", *quick, "--size", 8, "--name", "mine")
    assert (status, err) == (0, "")
    assert "skipped: broken.png: " in out
    assert "skipped: broken.png: " in Path("runs/mine/log.txt").read_text("utf-8")


def test_many_corrupt_images_do_not_fill_the_screen(cli, here, quick, undrawn):
    for number in range(25):
        image(f"photos/{number}.png", 8, 8)
        Path(f"photos/broken {number}.png").write_bytes(b"no image")
    out = cli("train", "photos", *quick, "--name", "mine")[1]
    assert out.count("skipped: ") == 11
    assert "skipped: 15 more, see log.txt" in out
    assert Path("runs/mine/log.txt").read_text("utf-8").count("skipped: ") == 25


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(refused, here):
    (here / "runs").mkdir(mode=0o500)
    assert "runs is not writable; choose another --out" in refused("train", "points.npy")


def test_a_folder_that_is_said_to_be_read_only(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)
    assert "is not writable; choose another --out" in refused("train", "points.npy", "--out", "runs")


def test_a_file_system_that_refuses(cli, here, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    status, _, err = cli("train", "points.npy", "--out", "runs")
    assert (status, err) == (2, "gpgan: no run can be created in runs (Read-only file system); choose another --out\n")
    assert sorted(os.listdir()) == ["oblong.npy", "odd.npy", "points.npy"]


def test_a_dry_run_refuses_what_a_run_does(refused):
    for arguments in (["--batch", "28"], ["--conditional"], ["--device", "abacus"], ["--out", "points.npy"]):
        assert refused("train", "points.npy", *arguments, "--dry-run") == refused("train", "points.npy", *arguments)


def test_code_that_returns_no_samples_is_one_line(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "returns_none.py").write_text("def data():\n    return None\n")
    status, _, err = cli("train", "returns_none:data", "--dry-run")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("gpgan: returns_none:data is a NoneType; expected a Dataset")
