"""The page of a blind test, used in Chromium by keys, mouse and touch; its answers are then scored."""

import itertools
import json
import re
import time

import numpy as np
import pytest
from browser import CHROMIUM, browser

from gpgan.cli import main
from gpgan.preference.page import build
from gpgan.preference.sources import Images

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install the Debian package chromium")

READY = "!document.querySelector('.waiting') && !document.getElementById('trial').hidden"
ENDED = "!document.getElementById('end').hidden"
POSITION = "document.getElementById('position').textContent"
VISIBLE = "[...document.querySelectorAll('main')].filter(e => !e.hidden).map(e => e.id).join()"
STORED = "JSON.parse(Object.values(localStorage)[0])"
PHONE = 390
# Answers to trials that the page does not have.
STRANGE = '{"participant": "p", "answers": [{"trial": "x", "answer": "left", "ms": 1}]}'
SEEDS = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chromium")
    with browser(folder) as page:
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "saved"))
        page.saved = folder / "saved"
        yield page


@pytest.fixture
def chromium(shared):
    """A browser of usual size whose storage is empty; it has met no error at the end."""
    shared.call("Emulation.setDeviceMetricsOverride", width=1100, height=800, deviceScaleFactor=1, mobile=False)
    shared.call("Emulation.setEmulatedMedia", features=[])
    shared.events.clear()
    yield shared
    assert [event for event in shared.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []


def sets(count, attention, side=28, channels=1):
    rng = np.random.default_rng(0)
    shape = (channels, side, side)
    a, b, real = (rng.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (count, count, attention))
    return Images("a", a), Images("b", b), Images("photos", real) if attention else None


def page_of(folder, count=4, attention=0, **shape):
    """The page's file, and what is on the left and right of each trial, in order."""
    made = build(*sets(count, attention, **shape), next(SEEDS))
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(made.html, "utf-8")
    return folder / "page.html", list(made.key["trials"].values())


def begin(chromium, path):
    chromium.open(path)
    chromium.press("Enter")
    chromium.wait(READY)


def answer(chromium, key):
    chromium.wait(READY)
    chromium.press(key)


def answers(chromium):
    return [each["answer"] for each in chromium.run(f"({STORED}).answers")]


@pytest.fixture(autouse=True)
def _empty(shared, tmp_path):
    (tmp_path / "empty.html").write_text("<!DOCTYPE html>")
    shared.open(tmp_path / "empty.html")
    shared.run("localStorage.clear()")


def test_a_participant_by_keyboard_from_the_command_to_the_score(chromium, tmp_path, capsys):
    """Prefers A in 14 of 24 pairs and B in 6, sees 4 ties, and notices all noise."""
    for name, images in zip("ar", sets(30, 30)[:2], strict=True):
        np.save(tmp_path / f"{name}.npy", images.pixels)
    np.save(tmp_path / "b.npy", 255 - np.load(tmp_path / "a.npy"))
    page, key = tmp_path / "study.html", tmp_path / "study.key.json"
    files = [str(tmp_path / f"{name}.npy") for name in "abr"]
    arguments = ["prefer", *files[:2], "--real", files[2], "-n", "24", "--attention", "4", "--seed", "7"]
    assert main([*arguments, "--out", str(page)]) == 0
    trials = json.loads(key.read_text())["trials"].values()
    chromium.open(page)
    assert chromium.run("document.activeElement.textContent") == "Start"
    chromium.press("Enter")
    keys = itertools.cycle([("ArrowLeft", "ArrowRight"), ("1", "2")])
    ties = itertools.cycle(["ArrowDown", " "])
    wishes = iter("a" * 14 + "b" * 6 + "t" * 4)
    for number, (sides, pressed) in enumerate(zip(trials, keys, strict=False), 1):
        chromium.wait(READY)
        assert chromium.run(POSITION) == f"Pair {number} of 28"
        assert chromium.run("document.getElementById('progress').value") == number - 1
        wish = "real" if "real" in sides else next(wishes)
        right = next(ties) if wish == "t" else pressed[sides.index(wish)]
        if number == 5:  # a slip, corrected
            chromium.press(pressed[1 - pressed.index(right)] if right in pressed else pressed[0])
            chromium.wait(f"{READY} && {POSITION} === 'Pair 6 of 28'")
            chromium.press("Backspace")
            chromium.wait(f"{READY} && {POSITION} === 'Pair 5 of 28'")
        chromium.press(right)
    chromium.wait(ENDED)
    assert chromium.run("document.activeElement.id") == "save"
    chromium.press("Enter")
    name = f"answers-{chromium.run(STORED)['participant']}.json"
    chromium.wait("!document.getElementById('next').hidden")
    for _ in range(1000):
        chromium.run("new Promise(done => setTimeout(done, 10))")
        if (chromium.saved / name).exists():
            break
    saved = chromium.saved / name
    assert saved.read_text() == chromium.run("document.getElementById('text').value")
    content = json.loads(saved.read_text())
    assert set(content) == {"format", "page", "seed_sha256", "participant", "started", "finished", "answers"}
    assert re.fullmatch("[0-9a-f]{16}", content["participant"])
    assert content["started"] < content["finished"]
    assert all(0 <= each["ms"] < 60_000 for each in content["answers"])
    requests = [e["params"]["request"]["url"] for e in chromium.events if e["method"] == "Network.requestWillBeSent"]
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}
    capsys.readouterr()
    assert main(["prefer", "--score", str(saved), "--key", str(key), "--json"]) == 0
    score = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (score["a"], score["b"], score["ties"], score["n"]) == (14, 6, 4, 24)
    assert (score["participants"], score["dropped"], score["claim"]) == (1, 0, None)


def test_it_is_continued_after_a_reload(chromium, tmp_path):
    path, _ = page_of(tmp_path)
    begin(chromium, path)
    for key in ("1", "2"):
        answer(chromium, key)
    chromium.wait(f"{POSITION} === 'Pair 3 of 4'")
    before = chromium.run(STORED)
    chromium.open(path)
    assert chromium.run("document.activeElement.textContent") == "Continue with pair 3"
    assert chromium.run(STORED) == before
    begin(chromium, path)
    for key in ("ArrowDown", "1"):
        answer(chromium, key)
    chromium.wait(ENDED)
    assert answers(chromium) == ["left", "right", "tie", "left"]
    chromium.open(path)
    assert chromium.run(VISIBLE) == "end"
    assert chromium.run("document.getElementById('next').hidden"), "not saved yet"
    chromium.press("Backspace")
    chromium.wait(READY)
    assert chromium.run(STORED)["finished"] is None
    answer(chromium, "2")
    chromium.wait(ENDED)
    assert answers(chromium) == ["left", "right", "tie", "right"]
    chromium.click("#save")
    chromium.click("#again")
    assert chromium.run(VISIBLE) == "start"
    assert chromium.run(STORED)["participant"] != before["participant"]
    assert answers(chromium) == []


def test_it_can_be_started_over(chromium, tmp_path):
    path, _ = page_of(tmp_path)
    begin(chromium, path)
    answer(chromium, "1")
    chromium.wait(f"{POSITION} === 'Pair 2 of 4'")
    chromium.open(path)
    chromium.click("#restart")
    assert answers(chromium) == []
    assert chromium.run("document.getElementById('begin').textContent") == "Start"


def test_every_page_continues_its_own_answers(chromium, tmp_path):
    first, second = (page_of(tmp_path / name)[0] for name in ("first", "second"))
    begin(chromium, first)
    answer(chromium, "1")
    chromium.wait(f"{POSITION} === 'Pair 2 of 4'")
    for path, label in ((second, "Start"), (first, "Continue with pair 2")):
        for _ in range(20):  # Chromium may open a page in another process, which sees the storage a moment later
            chromium.open(path)
            if chromium.run("document.activeElement.textContent") == label:
                break
            time.sleep(0.1)
        assert chromium.run("document.activeElement.textContent") == label


@pytest.mark.parametrize(
    "kept", ["{", "[]", '{"answers": [1]}', '{"participant": "p", "answers": [{"trial": "x"}]}', STRANGE]
)
def test_damaged_storage_is_a_fresh_start(chromium, tmp_path, kept):
    path, _ = page_of(tmp_path)
    chromium.open(path)
    chromium.run(f"localStorage.setItem(Object.keys(localStorage)[0], {json.dumps(kept)})")
    chromium.open(path)
    assert chromium.run("document.activeElement.textContent") == "Start"
    chromium.press("Enter")
    chromium.wait(READY)


def test_it_works_where_storage_is_forbidden(chromium, tmp_path):
    path, _ = page_of(tmp_path)
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden'); }})"
    script = chromium.call("Page.addScriptToEvaluateOnNewDocument", source=forbid)["identifier"]
    try:
        chromium.open(path)
        assert chromium.run("document.getElementById('kept').hidden"), "it promises to continue later"
        chromium.press("Enter")
        for key in ("1", "2", "1", "2"):
            answer(chromium, key)
        chromium.wait(ENDED)
        text = chromium.run("document.getElementById('text').value")
        assert [each["answer"] for each in json.loads(text)["answers"]] == ["left", "right", "left", "right"]
    finally:
        chromium.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_mouse_and_focus(chromium, tmp_path):
    begin(chromium, page_of(tmp_path)[0])
    chromium.click("#left")
    chromium.wait(f"{READY} && {POSITION} === 'Pair 2 of 4'")
    chromium.press(" ")  # a tie: the mouse has left no focus behind
    chromium.wait(f"{READY} && {POSITION} === 'Pair 3 of 4'")
    chromium.press("Tab")
    assert chromium.run("document.activeElement.id") == "right"
    assert chromium.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    chromium.press(" ")  # the button that has the focus
    chromium.wait(f"{READY} && {POSITION} === 'Pair 4 of 4'")
    assert answers(chromium) == ["left", "tie", "right"]


def test_a_key_held_down_gives_no_second_answer(chromium, tmp_path):
    begin(chromium, page_of(tmp_path)[0])
    chromium.press("1", repeat=True)
    answer(chromium, "2")
    chromium.wait(f"{READY} && {POSITION} === 'Pair 2 of 4'")
    for modifiers in (1, 2, 4):  # Alt, Ctrl, Meta: Alt and an arrow key go back in some browsers
        chromium.call("Input.dispatchKeyEvent", type="rawKeyDown", key="1", code="Digit1", modifiers=modifiers)
    assert answers(chromium) == ["right"]


def test_what_can_be_seen_of_a_trial_does_not_tell_the_sides(chromium, tmp_path):
    path, _ = page_of(tmp_path, attention=4)
    begin(chromium, path)
    seen = "document.getElementById('trial').outerHTML.replace(/data:[^\"]*/g, '').replace(/Pair \\d/, '')"
    first = chromium.run(seen)
    for number in range(2, 9):
        answer(chromium, "1")
        chromium.wait(f"{READY} && {POSITION} === 'Pair {number} of 8'")
        now = chromium.run(seen)
        assert re.sub(r' disabled=""| value="\d"', "", now) == re.sub(r' disabled=""| value="\d"', "", first)


@pytest.mark.parametrize(("side", "channels", "scale", "width", "shown"), [
    (28, 1, 1, 1100, 420),  # 15 times 28
    (28, 1, 2, PHONE, 154),  # 11 device pixels each
    (128, 3, 1, PHONE, 128),
    (256, 3, 2, PHONE, 128),  # one device pixel each
    (500, 3, 1, PHONE, 160),  # no room: scaled down
])  # fmt: skip
def test_pixels_are_whole_and_fit(chromium, tmp_path, side, channels, scale, width, shown):
    chromium.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=scale, mobile=width == PHONE
    )
    path, _ = page_of(tmp_path, 2, side=side, channels=channels)
    chromium.open(path)
    beyond = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).length"
    widths = "[...document.images].map(image => image.getBoundingClientRect().width)"
    for name in ("start", "trial", "end"):
        assert chromium.run(VISIBLE) == name
        assert chromium.run("document.documentElement.scrollWidth") <= width
        assert chromium.run(beyond) == 0
        if name == "trial":
            assert chromium.run(widths) == [shown, shown]
            pixelated = chromium.run("getComputedStyle(document.images[0]).imageRendering") == "pixelated"
            assert pixelated == (shown > side)
            answer(chromium, "1")
            answer(chromium, "1")
            chromium.wait(ENDED)
        elif name == "start":
            chromium.press("Enter")
            chromium.wait(READY)


def luminance(colour):
    levels = [int(level) / 255 for level in re.findall(r"\d+", colour)[:3]]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_in_light_and_dark(chromium, tmp_path, scheme):
    """The contrast of every text is at least 4.5, as WCAG 2 asks."""
    chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    begin(chromium, page_of(tmp_path)[0])
    texts = """[...document.querySelectorAll('h1, p, td, th, kbd, button:enabled, footer, textarea')].map(e => {
      let under = e;
      while (getComputedStyle(under).backgroundColor === 'rgba(0, 0, 0, 0)') under = under.parentElement;
      return [getComputedStyle(e).color, getComputedStyle(under).backgroundColor];
    })"""
    seen = chromium.run(texts)
    assert len(seen) > 20
    for pair in seen:
        low, high = sorted(map(luminance, pair))
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair
    background = luminance(chromium.run("getComputedStyle(document.body).backgroundColor"))
    assert (background > 0.8) if scheme == "light" else (background < 0.02)


def test_another_script_does_not_run(shared, tmp_path):
    path, _ = page_of(tmp_path)
    path.write_text(
        path.read_text("utf-8").replace("</body>", "<script>document.title = 'another'</script></body>"), "utf-8"
    )
    shared.open(path)
    assert shared.run("document.title") == "Which image looks more real?"
    assert any("Content Security Policy" in str(event) for event in shared.events)
