"""The page of a blind test, read as text: the images in it, and that nothing tells the sides."""

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from gpgan.preference.page import build
from gpgan.preference.sources import Images

COUNT, ATTENTION = 40, 10
# A name that would end the script, or run as one.
HOSTILE = "</script><script>document.title='a'</script>"


def images(name, level, count=COUNT, channels=1):
    """Images whose corner says which one it is; all their other pixels have one level."""
    pixels = np.full((count, channels, 6, 4), level, np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return Images(name, pixels)


def made(seed=5, attention=ATTENTION, channels=1):
    real = images("photos", 200, attention, channels) if attention else None
    return build(images(HOSTILE, 100, channels=channels), images("runs/b", 150, channels=channels), real, seed)


def trials_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.DOTALL)[1])


def picture(uri):
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def shown(uri):
    """Which set an image is of, and its number there."""
    pixels = picture(uri)
    flat = pixels.reshape(6, 4, -1)[:, :, 0]
    names = {100: "a", 150: "b", 200: "real"}
    constant = (flat.ravel()[1:] == flat[1, 1]).all()
    return (names[int(flat[1, 1])], int(flat[0, 0])) if constant else ("noise", None)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_key_says_what_the_trials_show(channels):
    page = made(channels=channels)
    data = trials_of(page)
    assert len(data["trials"]) == len(page.key["trials"]) == COUNT + ATTENTION
    seen = []
    for trial in data["trials"]:
        sides = [shown(trial[side]) for side in ("left", "right")]
        assert [name for name, _ in sides] == page.key["trials"][trial["trial"]]
        seen += sides
    for name, count in (("a", COUNT), ("b", COUNT), ("real", ATTENTION)):
        assert sorted(number for kind, number in seen if kind == name) == list(range(count))
    assert picture(data["trials"][0]["left"]).shape == ((6, 4) if channels == 1 else (6, 4, 3))


def test_pairs_stay_pairs():
    """Image i of A is shown beside image i of B."""
    for trial in trials_of(made())["trials"]:
        numbers = {number for name, number in map(shown, (trial["left"], trial["right"])) if name in "ab"}
        assert len(numbers) <= 1


def test_sides_are_balanced_and_random():
    firsts = []
    for seed in range(30):
        sides = list(made(seed).key["trials"].values())
        lefts = [left for left, _ in sides]
        assert [lefts.count(name) for name in ("a", "b", "real", "noise")] == [20, 20, 5, 5]
        firsts.append(lefts[0])
    assert len(set(firsts)) == 4


def test_the_seed_decides():
    assert made(1) == made(1)
    assert made(1).html != made(2).html
    assert made(1).key["page"] != made(2).key["page"]


def test_nothing_on_the_page_tells_the_sides():
    page = made(seed=123456789)
    data = trials_of(page)
    assert set(data) == {"format", "page", "seed_sha256", "trials"}
    assert all(set(trial) == {"trial", "left", "right"} for trial in data["trials"])
    assert all(re.fullmatch("[0-9a-f]{12}", trial["trial"]) for trial in data["trials"])
    assert data["seed_sha256"] == hashlib.sha256(b"123456789").hexdigest() == page.key["seed_sha256"]
    rest = page.html.replace(json.dumps(data["trials"], separators=(",", ":")), "")
    for word in ("123456789", "noise", "runs/b", "photos", "document.title"):
        assert word not in rest
    # The names sort at random, so that neither they nor their order has the sides.
    names = [trial["trial"] for trial in data["trials"]]
    assert names != sorted(names)
    # An image has no metadata, and its format is that of all others.
    for trial in data["trials"]:
        for side in ("left", "right"):
            image = Image.open(io.BytesIO(base64.b64decode(trial[side].partition(",")[2])))
            assert (image.format, image.mode, image.info) == ("PNG", "L", {})


def test_one_file_that_may_load_nothing():
    html = made().html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)[1]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag, of in (("script", "script"), ("style", "style")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        assert f"{of}-src 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"https?:|\bsrc=\"|url\(|@import|fetch\(|XMLHttp|sendBeacon", html)


def test_a_page_without_attention_trials():
    page = made(attention=0)
    assert page.key["real"] is None
    assert len(page.key["trials"]) == COUNT
