"""report.html: read as text, and as Chromium shows it."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gpgan.records.report import LOG_LINES, SNAPSHOTS, write_report

CHROMIUM = shutil.which("chromium")
# Flags that keep Chromium from using the network on its own.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HELD_OUT = "The estimate on <b>held-out</b> data"
HOSTILE = "/tmp/<script>document.title='run'</script>/<img src=http://127.0.0.1:9/a.png>/Žluťoučký kůň 馬 & \"quoted\""
PHONE = 400


def picture(path, size=(60, 40), seed=0):
    """Blocks of colours, which PNG keeps as they are."""
    blocks = np.random.default_rng(seed).integers(0, 256, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    Image.fromarray(blocks.repeat(20, axis=0).repeat(20, axis=1)).save(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with every kind of file, in a folder whose name needs escaping too."""
    run = tmp_path_factory.mktemp("runs") / "00007-<b>dígits & more</b>".replace("/", "_")
    run.mkdir()
    config = {
        "data": HOSTILE,
        "steps": 4321,
        "name": None,
        "network": {"kind": "conv", "latent": 61, "shape": [1, 8, 8]},
        "penalty": {"weight": 9.75, "target": 1.125, "one_sided": False, "deep": {"deeper": "depth of three"}},
        "long": "x" * 400,
    }
    versions = {"gpgan": "0.9.9", "torch": "2.99.1"}
    data = {"samples": 1797, "sha256": "0123456789abcdef" * 4}
    told = {"estimate": {"label": "Critic's estimate, training data"}, "held_out": {"label": HELD_OUT}, "torn": 3}
    whole = {
        "config": config,
        "numbers": told,
        "data": data,
        "versions": versions,
        "device": "cpu: a processor",
        "git": "fedcba9",
    }
    (run / "config.json").write_text(json.dumps(whole))
    lines = [
        {"step": 100, "images": 12800, "seconds": 3.0, "estimate": 7.5, "held_out": 6.375, "norm_max": None},
        {"step": 1200, "images": 153600, "seconds": 3723.4, "estimate": 2.71828, "held_out": None, "memory": 512.25},
    ]
    (run / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 1300, "wass')
    evaluation = {"modes": {"found": 7, "of": 8}, "wasserstein_1": 0.0625, "worst": [{"mode": 3}]}
    (run / "eval.json").write_text(json.dumps(evaluation))
    (run / "log.txt").write_text("".join(f"line {i} of the <log> \x1b[1m\n" for i in range(100)))
    picture(run / "curves.png", (900, 1000))
    picture(run / "samples.png")
    picture(run / "reals.png", (2000, 1000), seed=1)
    picture(run / "fakes_init.png", seed=2)
    for step in range(100, 2600, 100):
        picture(run / f"fakes_{step:06d}.png", seed=step)
    write_report(run)
    return run


class Reader(HTMLParser):
    """The text, the pictures with their captions, and every address of a page; checks that its tags are closed."""

    def __init__(self, page):
        super().__init__()
        self.text, self.pictures, self.addresses, self.tags, self._open = [], [], [], set(), []
        self.feed(page)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        self.addresses += [
            attributes[name] for name in ("src", "href", "srcset", "action", "data") if name in attributes
        ]
        if tag == "img":
            self.pictures.append(attributes)
        if tag not in ("meta", "img", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text(encoding="utf-8")


def decode(address):
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


def test_the_page_tells_what_the_files_hold(run, page):
    text = Reader(page).text
    assert run.name in text
    assert HOSTILE in text
    for shown in (
        "Step 1,200 of 4,321",
        "cpu: a processor",
        "gpgan 0.9.9, torch 2.99.1",
        "fedcba9",
        # Each number's last known value.
        "Real samples seen 153,600",
        "Time 1 h 2 min",
        "Memory 512.2 MiB",
        "Critic's estimate, training data 2.71828",
        f"{HELD_OUT} 6.375 (at step 100)",
        # The evaluation and every setting.
        "modes found 7 of 8 wasserstein_1 0.0625",
        'worst [{"mode": 3}]',
        "steps 4321 name none network kind conv latent 61 shape [1, 8, 8]",
        "penalty weight 9.75 target 1.125 one_sided no deep deeper depth of three",
        "samples 1797 sha256 " + "0123456789abcdef" * 4,
        # The end of the log.
        "line 99 of the <log>",
        f"line {100 - LOG_LINES} of the <log>",
    ):
        assert shown in text, shown
    assert f"line {99 - LOG_LINES} of" not in text
    assert "7.5" not in text.split("Evaluation")[0]
    assert "Gradient norm, largest" not in text
    assert "\x1b" not in page


def test_the_pictures_are_those_of_the_run(run, page):
    shown = Reader(page).pictures
    steps = [name for name in (one["alt"] for one in shown) if name.startswith("Step")]
    assert [one["alt"] for one in shown[:4]] == ["curves", "Generated samples", "Real samples", "Before training"]
    assert len(steps) == SNAPSHOTS - 1
    assert steps[-1] == "Step 2,500"
    with Image.open(run / "samples.png") as image:
        assert np.array_equal(np.asarray(decode(shown[1]["src"])), np.asarray(image))
    for one in shown:
        assert decode(one["src"]).size == (int(one["width"]), int(one["height"]))
    assert decode(shown[2]["src"]).size == (800, 400)


def test_the_page_holds_no_address_and_no_script(page):
    reader = Reader(page)
    assert len(reader.addresses) == SNAPSHOTS + 3
    assert all(
        address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for address in reader.addresses
    )
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_stays_small(tmp_path):
    # Noise, which no format compresses well, as large as a grid of a hundred pictures of 64 x 64.
    noise = np.random.default_rng(0).integers(0, 256, (728, 728, 3), dtype=np.uint8)
    for name in ("curves", "samples", "reals", *(f"fakes_{step:06d}" for step in range(20))):
        Image.fromarray(noise).save(tmp_path / f"{name}.png", compress_level=0)
    write_report(tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 6e6


FILES = [
    "config.json",
    "stats.jsonl",
    "eval.json",
    "log.txt",
    "curves.png",
    "samples.png",
    "reals.png",
    "fakes_init.png",
]


@pytest.mark.parametrize("missing", [*FILES, "all"])
def test_a_file_may_be_missing_or_torn(run, tmp_path, missing):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in FILES:
        if missing not in (name, "all"):
            shutil.copy(run / name, copy)
    write_report(copy)
    without = Reader((copy / "report.html").read_text())
    assert "copy" in without.text
    for name in FILES:
        if missing in (name, "all"):
            (copy / name).write_bytes((run / name).read_bytes()[:50])
    write_report(copy)
    torn = Reader((copy / "report.html").read_text())
    assert len(torn.pictures) == len(without.pictures)
    if missing not in ("log.txt", "all"):
        assert torn.text == without.text


@pytest.mark.parametrize(
    "content", ["[1, 2]", '{"config": [3], "data": "x", "versions": null}', "null", '{"config": {}}']
)
def test_files_of_another_shape_are_no_error(tmp_path, content):
    for name in ("config.json", "eval.json"):
        (tmp_path / name).write_text(content)
    (tmp_path / "stats.jsonl").write_text(content + '\n{"step": null, "penalty": 3}\n')
    write_report(tmp_path)
    assert tmp_path.name in Reader((tmp_path / "report.html").read_text()).text


def test_bytes_that_are_no_text_are_replaced(tmp_path):
    name = b"caf\xe9.npy".decode("utf-8", "surrogateescape")
    run = tmp_path / name
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"config": {"data": name, name: 1}}))
    (run / "log.txt").write_bytes(b"caf\xe9 in the log\n")
    write_report(run)
    text = Reader((run / "report.html").read_text(encoding="utf-8")).text
    # In the title, the headline, the data's name there and among the settings, a setting's name and the log.
    assert len(re.findall("caf\N{REPLACEMENT CHARACTER}", text)) == 6


def chromium(tmp_path, body, *flags):
    """The text that a page with this body leaves in its <output> once everything in it has loaded."""
    (tmp_path / "wrapper.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{body}", encoding="utf-8")
    # The wrapper embeds the page: a local file may not read another one.
    arguments = (*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,800", "--dump-dom")
    command = [str(CHROMIUM), *arguments, *flags, (tmp_path / "wrapper.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(html.unescape(re.search(r"<output>(.*?)</output>", done.stdout, re.DOTALL)[1]))


LOOK = """<output></output><script>
onload = () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    return {
      title: page.title,
      wide: root.scrollWidth,
      room: root.clientWidth,
      beyond: [...page.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 0.5)
        .map(e => e.outerHTML.slice(0, 80)),
      pictures: [...page.images].map(image => image.naturalWidth),
      requests: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
      text: page.body.innerText,
      colour: frame.contentWindow.getComputedStyle(page.body).color,
      background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    };
  });
  document.querySelector("output").textContent = JSON.stringify(seen);
};
</script>"""


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install the Debian package chromium")


def frame(content, width):
    return f'<iframe style="width: {width}px; height: 700px; border: 0" srcdoc="{html.escape(content)}"></iframe>'


@needs_chromium
def test_chromium_shows_all_of_it_on_a_phone(tmp_path, run, page):
    # Even without its policy the page requests nothing.
    policy = re.search(r"<meta http-equiv=\"Content-Security-Policy\".*?>", page)[0]
    frames = [frame(page, PHONE), frame(page.replace(policy, ""), PHONE), frame(page, 1100)]
    for seen in chromium(tmp_path, "".join(frames) + LOOK):
        assert seen["wide"] <= seen["room"] <= 1100
        assert seen["beyond"] == []
        assert seen["title"] == f"{run.name} - gpgan"
        assert len(seen["pictures"]) == SNAPSHOTS + 3
        assert min(seen["pictures"]) > 0
        assert seen["requests"] == []
        assert HOSTILE in seen["text"]
        assert "2.71828" in seen["text"]
        assert "Step 1,200 of 4,321" in seen["text"]


@needs_chromium
@pytest.mark.parametrize(("scheme", "dark"), [(0, True), (1, False)])
def test_chromium_shows_it_dark_where_a_reader_wants_it_dark(tmp_path, page, scheme, dark):
    [seen] = chromium(tmp_path, frame(page, 1100) + LOOK, f"--blink-settings=preferredColorScheme={scheme}")
    background, text = (np.mean([int(x) for x in re.findall(r"\d+", seen[of])[:3]]) for of in ("background", "colour"))
    assert (background < 60) == (text > 200) == dark
    assert (background > 200) == (text < 60) == (not dark)
