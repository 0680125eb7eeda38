"""gpgan prefer: the page it writes for runs, folders and arrays, the score, and bad input."""

import base64
import io
import json
import re
import shlex
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import last_json

from gpgan.preference.page import ANSWERS

RNG = np.random.default_rng(0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with images of 8 x 8 and 4 x 4 pixels, a folder of colour, and points."""
    monkeypatch.chdir(tmp_path)
    for name in "abr":
        np.save(f"{name}.npy", RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    np.save("half.npy", RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8))
    np.save("odd.npy", RNG.integers(0, 256, (40, 6, 6), dtype=np.uint8))
    np.save("sixteen.npy", np.tile(np.float32([-16, 16]), (40, 8, 4)))
    np.save("points.npy", RNG.normal(size=(40, 2)))
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.fromarray(RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(f"photos/{number}.png")
    return tmp_path


PAGE = ["prefer", "a.npy", "b.npy", "--real", "r.npy", "-n", "25", "--attention", "5"]


def participant(of, path, name="p1", prefer="a", attentive=True):
    """Writes the answers of someone who always prefers one side."""
    key = json.loads(of.read_text())
    wish = {"a": prefer, "b": prefer, "real": "real" if attentive else "noise"}
    answers = [
        {"trial": trial, "answer": "tie" if prefer == "tie" and "a" in sides else ["left", "right"][sides.index(wish[max(sides, key=lambda s: s in wish)])], "ms": 900}
        for trial, sides in key["trials"].items()
    ]  # fmt: skip
    path.write_text(json.dumps({"format": ANSWERS, "page": key["page"], "participant": name, "answers": answers}))
    return path


def test_the_page_and_its_key(cli, here):
    status, out, err = cli(*PAGE, "--json")
    assert (status, err) == (0, "")
    assert "prefer.html: 25 pairs of a.npy and b.npy, and 5 attention trials; 0." in out
    assert last_json(out) == {"out": str(here / "prefer.html"), "key": str(here / "prefer.key.json")}
    key = json.loads((here / "prefer.key.json").read_text())
    assert (key["a"], key["b"], key["real"], len(key["trials"])) == ("a.npy", "b.npy", "r.npy", 30)
    page = (here / "prefer.html").read_text()
    assert all(trial in page for trial in key["trials"])
    assert str(key["seed"]) not in page


def test_the_seed_is_random_unless_given(cli, here):
    keys = []
    for number, seed in enumerate([[], [], ["--seed", 4], ["--seed", 4]]):
        assert cli(*PAGE, *seed, "--out", f"{number}.html")[0] == 0
        keys.append(json.loads((here / f"{number}.key.json").read_text()))
    assert keys[0]["seed"] != keys[1]["seed"]
    assert keys[2] == keys[3]
    assert (here / "2.html").read_bytes() == (here / "3.html").read_bytes()


def pictures(page):
    """The images of a page, as data: URIs, by trial."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text())[1])
    return {trial["trial"]: [trial["left"], trial["right"]] for trial in data["trials"]}


def test_no_real_image_is_seen_beside_noise_and_again(cli, here):
    """It would be known as real then."""
    np.save("many.npy", RNG.integers(0, 256, (2000, 8, 8), dtype=np.uint8))
    assert cli("prefer", "a.npy", "many.npy", "--real", "many.npy", "-n", 20, "--attention", 10, "--seed", 1)[0] == 0
    every = [uri for trial in pictures(here / "prefer.html").values() for uri in trial]
    assert len(set(every)) == len(every) == 60


def test_two_runs(cli, trained, here):
    """Their samples, and the data of the first in the attention trials."""
    digits, conv = trained(), trained("conv")
    status, out, err = cli("prefer", digits, conv, "-n", 20, "--attention", 4)
    assert (status, err) == (0, "warning: values from 0 to 16 are shown as black to white\n")
    assert f"20 pairs of {digits} at step 4 and {conv} at step 4, and 4 attention trials" in out
    assert json.loads((here / "prefer.key.json").read_text())["real"] == "digits"


def test_the_samples_of_a_run_are_those_of_gpgan_sample(trained, cli, here):
    """Digits have values from 0 to 16, which are shown as black to white."""
    run = trained()
    assert cli("sample", run, "-n", 5, "--seed", 3, "--out", "x.npy")[0] == 0
    status, _, err = cli("prefer", run, "x.npy", "-n", 5, "--attention", 2, "--seed", 3)
    assert (status, err) == (0, "warning: values from 0 to 16 are shown as black to white\n")
    wanted = (torch.from_numpy(np.load("x.npy")) / 16 * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    key = json.loads((here / "prefer.key.json").read_text())["trials"]
    seen = {
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).tobytes()
        for trial, uris in pictures(here / "prefer.html").items()
        for uri, name in zip(uris, key[trial], strict=True)
        if name == "a"
    }
    assert seen == {each.tobytes() for each in wanted}


CODE = """
from pathlib import Path
import numpy as np
(Path(__file__).parent / "imported").touch()
SAMPLES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
"""


def test_code_that_a_run_names_is_imported_only_when_asked_for(cli, here, monkeypatch, quick, undrawn):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    (here / "mine.py").write_text(CODE)
    assert cli("train", "mine:SAMPLES", *quick, "--name", "run")[0] == 0
    arguments = ["prefer", "runs/run", "b.npy", "-n", 20]
    for flag, status in ((None, 2), ("--trust-code", 0)):
        shutil.rmtree(here / "state", ignore_errors=True)  # now the run is somebody else's
        sys.modules.pop("mine")
        (here / "imported").unlink()
        found, out, err = cli(*arguments, *[flag] * (flag is not None))
        assert found == status, err
        assert (here / "imported").exists() == (status == 0)
        if status:
            assert (out, err.count("\n")) == ("", 1)
            assert "names Python code that it would run" in err
            __import__("mine")
    sys.modules.pop("mine")


def test_other_sizes_and_colours_are_told(cli, here):
    status, _, err = cli("prefer", "a.npy", "half.npy", "--real", "photos", "--size", 16, "-n", 20)
    assert status == 0
    assert err.splitlines() == [
        "warning: a.npy: enlarged 2 times, to 16 x 16, by repeating pixels",
        "warning: a.npy: grey images, beside others in colour",
        "warning: half.npy: enlarged 4 times, to 16 x 16, by repeating pixels",
        "warning: half.npy: grey images, beside others in colour",
    ]


def scored(cli, *arguments):
    status, out, err = cli("prefer", "--score", *arguments, "--json")
    assert (status, err) == (0, "")
    return last_json(out), out


def test_the_score(cli, here):
    cli(*PAGE)
    key = here / "prefer.key.json"
    files = [participant(key, here / f"{name}.json", name, side) for name, side in (("p1", "a"), ("p2", "tie"))]
    score, out = scored(cli, *files, participant(key, here / "p3.json", "p3", "b", attentive=False))
    assert {name: score[name] for name in ("a", "b", "ties", "n", "participants", "dropped")} == {
        "a": 25, "b": 0, "ties": 25, "n": 50, "participants": 2, "dropped": 1,
    }  # fmt: skip
    assert (score["preference"], score["claim"], score["answers_needed"]) == (0.75, None, 200)
    assert (score["low"], score["high"]) == pytest.approx((0.616, 0.850), abs=1e-3)  # 37.5 of 50
    assert out.splitlines()[:-1] == [
        "A  a.npy: preferred in 25 answers",
        "B  b.npy: preferred in 0 answers",
        "ties: 25, half to each",
        "participants: 2, median answer after 0.9 s",
        "left out: 1 participant with less than 90% of the 5 attention trials right",
        "A: 37.5 of 50 is 0.75, with a 95% interval of 0.62 to 0.85: not a claim yet, as it rests on fewer than 200 "
        "answers; about 200 answers would decide at this share",
    ]


def test_a_claim(cli, here):
    cli(*PAGE, "--out", "study.html")
    key = here / "study.key.json"
    files = [participant(key, here / f"{n}.json", f"p{n}", "b" if n else "a") for n in range(8)]
    score, out = scored(cli, *files, "--key", key)
    assert (score["n"], score["claim"]) == (200, "b")
    assert "A: 25 of 200 is 0.12, with a 95% interval of 0.09 to 0.18: B is preferred\n" in out


def test_no_preference(cli, here):
    cli(*PAGE)
    key = here / "prefer.key.json"
    files = [participant(key, here / f"{n}.json", f"p{n}", "ab"[n % 2]) for n in range(8)]
    assert ": not a preference; at an even share no number of answers would decide\n" in scored(cli, *files)[1]
    score, out = scored(cli, *files, participant(key, here / "9.json", "p9"))
    assert score["claim"] is None
    assert ": not a preference; about 634 answers would decide at this share\n" in out


def test_without_attention_trials(cli, here):
    cli("prefer", "a.npy", "b.npy", "-n", 25, "--attention", 0)
    out = scored(cli, participant(here / "prefer.key.json", here / "p.json"))[1]
    assert "left out: nobody, as the page has no attention trials\n" in out


BAD = {
    "no sides": ("", "A is missing; expected two runs, folders of images or .npy files, or --score FILE..."),
    "one side": ("a.npy", "B is missing"),
    "none": ("none/ b.npy --attention 0", "none does not exist; expected"),
    "no real images": ("a.npy b.npy", "attention is 10, and neither A nor B is a run whose data could serve as real"),
    "points": ("points.npy b.npy --attention 0", "A is 'points.npy', with samples of shape (2,); expected images of 1 or"),
    "sizes": ("a.npy odd.npy --attention 0 -n 20", "the images differ in size: a.npy 8 x 8, odd.npy 6 x 6 pixels"),
    "the same": ("a.npy a.npy --attention 0 -n 20", "A, a.npy, and B, a.npy, are the same images; expected two sets"),
    "ranges": ("a.npy sixteen.npy --attention 0 -n 20", "range of values: a.npy 0 to 255, sixteen.npy -16 to 16"),
    "too few": ("a.npy b.npy --attention 0", "A is 'a.npy', with 40 images; expected 100 or more, one per trial: -n or"),
    "too few real": ("a.npy b.npy -n 20 --attention 41 --real r.npy", "real is 'r.npy', with 40 images; expected 41"),
    "no trials": ("a.npy b.npy -n 0", "n is 0; expected a whole number from 1 to 1000"),
    "many trials": ("a.npy b.npy -n 1001", "n is 1001; expected"),
    "attention": ("a.npy b.npy --attention -1", "attention is -1; expected a whole number from 0"),
    "seed": ("a.npy b.npy --seed -1", "seed is -1; expected a whole number from 0 to"),
    "size": ("a.npy b.npy --size 9", "size is 9, and no folder of images is given; expected no --size"),
    "no size": ("photos b.npy --size 0 --attention 0", "size is 0; expected 1 or more"),
    "suffix": ("a.npy b.npy --out x.json", "out is 'x.json'; expected a file that ends in .html"),
    "no folder": ("a.npy b.npy -n 20 --attention 0 --out none/x.html", "none/x.key.json: No such file or directory"),
    "key alone": ("a.npy b.npy --key k.json", "--key is 'k.json' without --score"),
    "both": ("a.npy --score p.json", "a is a.npy with --score; expected only --score, --key and --json"),
    "no files": ("--score", "--score: expected at least one argument"),
    "no key": ("--score p.json", "key is missing, and there is no prefer.key.json; expected --key FILE.key.json"),
    "missing key": ("--score p.json --key x", "x cannot be read (No such file or directory); expected the key that"),
    "wrong key": ("--score p.json --key a.npy", "a.npy cannot be read"),
    "unknown flag": ("a.npy b.npy --attenton 1", "did you mean --attention?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(cli, here, case):
    arguments, message = BAD[case]
    before = sorted(here.rglob("*"))
    status, out, err = cli("prefer", *shlex.split(arguments))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert sorted(here.rglob("*")) == before


def test_a_key_is_never_overwritten(cli, here):
    assert cli(*PAGE)[0] == 0
    before = (here / "prefer.key.json").read_bytes(), (here / "prefer.html").read_bytes()
    status, out, err = cli(*PAGE)
    assert (status, out) == (2, "")
    assert "prefer.key.json exists, and without it answers to its page cannot be scored; expected another --out" in err
    assert ((here / "prefer.key.json").read_bytes(), (here / "prefer.html").read_bytes()) == before


BAD_ANSWERS = {
    "twice": (["p.json", "p.json"], "are of the same participant, p1; expected one file per participant"),
    "another page": (["p.json", "--key", "other.key.json"], "p.json has answers to the page"),
    "inattentive": (["bad.json"], "there are 0 valid answers, after 1 of 1 participants failed the attention trials; "),
    "damaged": (["broken.json"], "broken.json cannot be read ("),
    "the key": (["prefer.key.json"], 'prefer.key.json has no "format": "gpgan prefer answers 1"'),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_bad_answers_are_one_line(cli, here, case):
    cli(*PAGE)
    cli(*PAGE, "--out", "other.html")
    key = here / "prefer.key.json"
    whole = participant(key, here / "p.json").read_text()
    participant(key, here / "bad.json", "p2", attentive=False)
    (here / "broken.json").write_text(whole[:-40])
    arguments, message = BAD_ANSWERS[case]
    status, out, err = cli("prefer", "--score", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
