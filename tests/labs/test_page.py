"""labs.html, parsed as text and operated in Chromium; and docs/labs.html likewise, compared with theory."""

import base64
import hashlib
import html
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from setuptools import Distribution

from gpgan import data
from gpgan.labs import LABS, load, mode_collapse
from gpgan.labs.lab import Findings, Slider
from gpgan.labs.page import SCRIPT, STYLE, WIDE, write_page

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "labs.html"
CHROMIUM = shutil.which("chromium")
# No background network access; the console goes to stderr.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip
HOSTILE = "</script><script>document.title='run'</script><img src=http://127.0.0.1:9/a.png> & \"quoted\" 馬"
POSITIONS = (-1.5, 0.0, 0.25, 2.0, 7.5)


def sliders():
    """One with clouds of different sizes, hostile names and dots, one with readings only."""
    rng = np.random.default_rng(0)
    clouds = {
        name: tuple(tuple(map(tuple, rng.normal(k, 1 + k, (3 + k, 2)).tolist())) for k in range(len(POSITIONS)))
        for name in ("data", HOSTILE)
    }
    readings = {
        "JS": (0.0, 0.1, 0.6931471805599453, 0.6931471805599453, 1e-7),
        HOSTILE: (12345.678, -3.25, 0.0, 2.0, -1e6),
        "constant": (2.5,) * len(POSITIONS),
    }
    return {
        "divergences": Slider(f"gap {HOSTILE}", POSITIONS, readings, clouds, joined=False),
        "mode-collapse": Slider("modes", (1.0, 2.0, 3.0), {"W1": (3.0, 2.0, 1.0)}, {}),
    }


def picture(size=(10, 6)):
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.pcolormesh(np.arange(900).reshape(30, 30), cmap="cividis")
    axes.plot([1, 2, 4], "m--", linewidth=0.8)  # only a few pixels
    return figure


@pytest.fixture(scope="module")
def results():
    numbers = {"worked_anchor_cdf": 2.0, HOSTILE: 0.123456789}
    see = ("first line", HOSTILE, "third line")
    with_sliders = {name: Findings(numbers, picture(), see, slider) for name, slider in sliders().items()}
    return {**with_sliders, "bilinear": Findings({"rate": 1.0198}, picture((20, 6)), ("a", "b", "c"))}


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labs")
    path = write_page(folder, results)
    assert path == folder / "labs.html"
    assert [one.name for one in folder.iterdir()] == ["labs.html"]
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Visible text, elements with attributes, and script contents; checks that all tags are closed."""

    def __init__(self, page):
        super().__init__()
        self.text, self.elements, self.scripts, self._open = [], [], [], []
        self.feed(page)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts.append(data)
        elif "style" not in self._open:
            self.text.append(data)


def test_an_installed_package_holds_what_the_page_is_made_of(monkeypatch):
    monkeypatch.chdir(ROOT)
    package = Distribution({"script_name": "setup.py"})
    package.parse_config_files()
    package.include_package_data = False  # otherwise it writes a list of files into the folder
    build = package.get_command_obj("build_py")
    build.ensure_finalized()
    shipped = {Path(folder, name).resolve() for _, folder, _, names in build.data_files for name in names}
    others = {path for path in (ROOT / "gpgan" / "labs").iterdir() if path.is_file() and path.suffix != ".py"}
    assert {path.name for path in others} == {"page.js"}
    assert others <= shipped


def test_the_page_tells_what_every_lab_found(page, results):
    reader = Reader(page)
    for name, found in results.items():
        lab = load(name)
        for shown in (lab.TITLE, lab.CAPTION, *found.see, *found.numbers):
            assert " ".join(shown.split()) in reader.text, shown
    assert "worked_anchor_cdf 2" in reader.text
    assert "0.123457" in reader.text
    assert [a["id"] for tag, a in reader.elements if tag == "section"] == list(results)
    assert [a["href"] for tag, a in reader.elements if tag == "a"] == [f"#{name}" for name in results]


def test_the_pictures_are_the_figures_scaled_down(page, results):
    shown = [attributes for tag, attributes in Reader(page).elements if tag == "img"]
    sizes = []
    for one in shown:
        assert one["src"].startswith("data:image/png;base64,")
        image = Image.open(io.BytesIO(base64.b64decode(one["src"].split(",", 1)[1])))
        assert image.size == (int(one["width"]), int(one["height"]))
        drawn = io.BytesIO()
        list(results.values())[len(sizes)].figure.savefig(drawn, format="png", dpi=120)
        figure = Image.open(drawn).convert("RGB")
        figure.thumbnail((WIDE, WIDE))
        off = np.abs(np.asarray(image.convert("RGB"), dtype=int) - np.asarray(figure, dtype=int))
        assert off.max() <= 24
        sizes.append(image.size)
    assert sizes == [(1200, 720), (1200, 720), (WIDE, WIDE * 6 // 20)]


def test_the_page_runs_one_script_and_reaches_for_nothing(page):
    reader = Reader(page)
    kinds = [attributes.get("type") for tag, attributes in reader.elements if tag == "script"]
    assert kinds == ["application/json"] * 2 + [None]
    policy = next(a["content"] for tag, a in reader.elements if tag == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(reader.scripts[-1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    addresses = [a[name] for _, a in reader.elements for name in ("src", "href", "action", "data") if name in a]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_a_slider_whose_parts_do_not_fit_is_named(tmp_path, results):
    found = results["bilinear"]
    short = Slider("gap", (0.0, 1.0), {"JS": (0.5,)}, {})
    with pytest.raises(ValueError, match=r"bilinear has 1 values of 'JS'; expected 2"):
        write_page(tmp_path, {"bilinear": Findings(found.numbers, found.figure, found.see, short)})
    infinite = Slider("gap", (0.0, 1.0), {"KL": (0.5, float("inf"))}, {})
    with pytest.raises(ValueError, match="bilinear holds NaN or infinite"):
        write_page(tmp_path, {"bilinear": Findings(found.numbers, found.figure, found.see, infinite)})
    with pytest.raises(ValueError, match="divergences"):
        write_page(tmp_path, {"divergence": found})
    assert list(tmp_path.iterdir()) == []


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install the Debian package chromium")

# The page is in a frame of the same origin, so this script can move its sliders and read the result.
DRIVE = """<output></output><script>
onload = () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement;
  const texts = (of, selector) => [...of.querySelectorAll(selector)].map(e => [
    e.textContent, Number(e.getAttribute("x")), Number(e.getAttribute("y"))]);
  const place = path => path.getAttribute("transform").match(/-?\\d[\\d.e-]*/g).map(Number);
  const centre = circle => [Number(circle.getAttribute("cx")), Number(circle.getAttribute("cy"))];
  const look = (figure, to) => {
    const input = figure.querySelector("input");
    input.value = to;
    input.dispatchEvent(new frame.contentWindow.Event("input", {bubbles: true}));
    return {
      at: figure.querySelector("output").textContent,
      spoken: input.getAttribute("aria-valuetext"),
      names: [...figure.querySelectorAll("dl dt")].map(e => e.textContent),
      readings: [...figure.querySelectorAll("dl data")].map(e => [e.value, e.textContent]),
      clouds: [...figure.querySelectorAll(".points g")].map(e => [e.dataset.cloud, [...e.children].map(place)]),
      markers: [...figure.querySelectorAll("circle.now")].map(centre),
      lines: [...figure.querySelectorAll(".curve")].map(e => [...e.points].map(p => [p.x, p.y])),
      dots: [...figure.querySelectorAll(".dots")].map(e => [...e.children].map(centre)),
      charts: [...figure.querySelectorAll(".views svg[role=img]")].map(e => ({
        name: e.getAttribute("aria-label"), axes: texts(e, "text.name").map(([text]) => text),
        x: texts(e, "text.x"), y: texts(e, "text.y")})),
    };
  };
  const seen = {
    title: page.title,
    text: page.body.innerText,
    wide: root.scrollWidth,
    room: root.clientWidth,
    colour: frame.contentWindow.getComputedStyle(page.body).color,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    pictures: [...page.images].map(image => image.naturalWidth),
    requests: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
    labels: [...page.querySelectorAll("input")].map(e => [...e.labels].map(l => l.textContent).join()),
    live: page.querySelectorAll("dl[aria-live=polite]").length,
    focus: [...page.querySelectorAll("input")].map(e => { e.focus(); return page.activeElement === e; }),
    sliders: [...page.querySelectorAll("figure.slider")].map(figure => {
      const count = Number(figure.querySelector("input").max) + 1;
      return [...Array(count).keys(), 0].map(to => look(figure, to));
    }),
  };
  document.querySelector("output").textContent = JSON.stringify(seen);
};
</script>"""


def drive(tmp_path, page, *flags, width=1100):
    """The observations of DRIVE, and the lines on the console."""
    frame = f'<iframe style="width: {width}px; height: 700px; border: 0" srcdoc="{html.escape(page)}"></iframe>'
    (tmp_path / "wrapper.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frame}{DRIVE}", encoding="utf-8")
    arguments = (*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,800", "--dump-dom", *flags)
    command = [str(CHROMIUM), *arguments, (tmp_path / "wrapper.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    seen = json.loads(html.unescape(re.search(r"<output>(.*?)</output>", done.stdout, re.DOTALL)[1]))
    return seen, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def scales(chart):
    """Data x and y as polynomials of a pixel, from the axis numbers; those of y are drawn 4 units too low."""
    return [
        np.poly1d(np.polyfit([tick[of] - low for tick in chart[axis]], [number(text) for text, *_ in chart[axis]], 1))
        for axis, of, low in (("x", 1, 0), ("y", 2, 4))
    ]


def twice(page, tmp_path_factory):
    """Observations of the page as it is, and of the page without the policy that forbids requests."""
    if CHROMIUM is None:
        pytest.skip("no chromium: install the Debian package chromium")
    free = page.replace("default-src 'none'; img-src data:; ", "")
    assert free != page
    return [drive(tmp_path_factory.mktemp("chromium"), one) for one in (page, free)]


@pytest.fixture(scope="module")
def driven(page, tmp_path_factory):
    return twice(page, tmp_path_factory)


def test_no_request_and_no_error(driven, results):
    for seen, console in driven:
        assert console == []
        assert seen["requests"] == []
        assert seen["title"] == "The theory of adversarial training, seen - gpgan"
        assert len(seen["pictures"]) == len(results)
        assert min(seen["pictures"]) > 0
        assert HOSTILE in seen["text"]


@pytest.mark.parametrize("index", range(2))
def test_the_slider_shows_the_numbers_of_its_position(driven, index):
    slider = list(sliders().values())[index]
    seen = driven[0][0]["sliders"][index]
    order = [*range(len(slider.positions)), 0]
    assert len(seen) == len(order)
    for now, look in zip(order, seen, strict=True):
        assert number(look["at"]) == number(look["spoken"]) == slider.positions[now]
        assert [float(value) for value, _ in look["readings"]] == [v[now] for v in slider.readings.values()]
        for (value, text), name in zip(look["readings"], slider.readings, strict=True):
            assert number(text) == pytest.approx(float(value), rel=5e-5), name


def test_the_points_lie_where_the_axes_say(driven):
    slider = sliders()["divergences"]
    seen = driven[0][0]["sliders"][0]
    for now, look in zip([*range(len(POSITIONS)), 0], seen, strict=True):
        plane = look["charts"][0]
        assert plane == seen[0]["charts"][0], "the axes moved"
        assert plane["axes"] == ["x", "y"]
        x, y = scales(plane)
        assert x[1] == pytest.approx(-y[1], rel=1e-6), "one scale for both axes"
        assert [name for name, _ in look["clouds"]] == list(slider.clouds)
        for (_, places), positions in zip(look["clouds"], slider.clouds.values(), strict=True):
            found = [(x(px), y(py)) for px, py in places]
            np.testing.assert_allclose(found, positions[now], atol=1e-4)


def assert_charts(seen, slider):
    """Every reading has a named chart with its marker on the line or dot at the slider's position."""
    for now, look in zip([*range(len(slider.positions)), 0], seen, strict=True):
        charts = look["charts"][1 if slider.clouds else 0 :]
        assert look["names"] == list(slider.readings)
        assert [chart["name"] for chart in charts] == [f"{name} against {slider.label}" for name in slider.readings]
        drawn, others = (look["lines"], look["dots"]) if slider.joined else (look["dots"], look["lines"])
        assert others == []
        for marker, places, chart, values in zip(look["markers"], drawn, charts, slider.readings.values(), strict=True):
            assert chart["axes"] == [slider.label]
            assert len(places) == len(slider.positions)
            assert places[now] == pytest.approx(marker, abs=1e-3)
            x, y = scales(chart)
            found = [(x(px), y(py)) for px, py in places]
            off = np.abs(found - np.column_stack([slider.positions, values]))
            assert (off <= 1e-4 * np.ptp(found, axis=0) + 1e-6).all()


def test_the_marker_is_on_the_chart_where_the_slider_is(driven):
    for slider, seen in zip(sliders().values(), driven[0][0]["sliders"], strict=True):
        assert_charts(seen, slider)


def test_it_can_be_used_by_keyboard_and_heard(driven, results):
    seen = driven[0][0]
    assert seen["focus"] == [True, True]
    assert seen["live"] == 2
    for label, slider in zip(seen["labels"], sliders().values(), strict=True):
        assert label.startswith(f"{slider.label}: ")


@needs_chromium
def test_another_script_does_not_run(tmp_path, page):
    script = "<script>document.title = 'another'</script></body>"
    seen, console = drive(tmp_path, page.replace("</body>", script))
    assert seen["title"] != "another"
    assert "Content Security Policy" in " ".join(console)


@needs_chromium
@pytest.mark.parametrize(("scheme", "dark"), [(0, True), (1, False)])
def test_it_is_dark_where_a_reader_wants_it_dark_and_fits_a_phone(tmp_path, page, scheme, dark):
    seen, _ = drive(tmp_path, page, f"--blink-settings=preferredColorScheme={scheme}", width=400)
    background, text = (np.mean([int(x) for x in re.findall(r"\d+", seen[of])[:3]]) for of in ("background", "colour"))
    assert (background < 60) == (text > 200) == dark
    assert seen["wide"] <= seen["room"] <= 400


def assert_shown(seen, positions, readings):
    """The slider has these positions and shows these readings there."""
    for now, look in zip([*range(len(positions)), 0], seen, strict=True):
        assert number(look["at"]) == pytest.approx(positions[now], abs=1e-9)
        assert look["names"] == list(readings)
        told = [float(value) for value, _ in look["readings"]]
        assert told == pytest.approx([values[now] for values in readings.values()], rel=1e-5, abs=1e-9)


# If this fails because the labs have changed: make results-labs
def test_the_committed_page_is_that_of_the_labs():
    reader = Reader(COMMITTED.read_text(encoding="utf-8"))
    assert [a["id"] for tag, a in reader.elements if tag == "section"] == list(LABS)
    for name in LABS:
        for shown in (load(name).TITLE, load(name).CAPTION):
            assert " ".join(shown.split()) in reader.text, name
    assert reader.scripts[-1] == SCRIPT
    assert STYLE in COMMITTED.read_text(encoding="utf-8")
    assert sum(tag == "img" for tag, _ in reader.elements) == len(LABS)


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    return twice(COMMITTED.read_text(encoding="utf-8"), tmp_path_factory)


def test_the_committed_page_asks_for_nothing_and_has_no_error(committed):
    for seen, console in committed:
        assert (console, seen["requests"]) == ([], [])
        assert len(seen["pictures"]) == len(LABS)
        assert min(seen["pictures"]) > 0
        assert len(seen["sliders"]) == 2


def test_the_committed_slider_of_lines_is_what_theory_says(committed):
    gaps = np.round(np.linspace(-2, 2, 41), 10).tolist()
    readings = {
        "JS": [math.log(2) if gap else 0.0 for gap in gaps],
        "W1": np.abs(gaps).tolist(),
        "JS gradient": [0.0] * len(gaps),
        "W1 gradient": np.sign(gaps).tolist(),
    }
    seen = committed[0][0]["sliders"][0]
    assert_shown(seen, gaps, readings)
    assert_charts(seen, Slider("gap between the lines", tuple(gaps), readings, {"lines": ()}, joined=False))
    for gap, look in zip([*gaps, gaps[0]], seen, strict=True):
        x, y = scales(look["charts"][0])
        real, generated = (np.array(places) for _, places in look["clouds"])
        assert x(real[:, 0]) == pytest.approx(0, abs=1e-4)
        assert x(generated[:, 0]) == pytest.approx(gap, abs=1e-4)
        for cloud in (real, generated):
            assert y(cloud[:, 1]) == pytest.approx(np.arange(0.005, 1, 0.05), abs=1e-4)


def test_the_committed_slider_of_modes_is_what_its_lab_found(committed):
    ks, table = range(1, 9), dict(re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', COMMITTED.read_text("utf-8")))
    mixture = data.load("ring").modes
    readings = {
        "Jensen-Shannon divergence": [mode_collapse.js_of_separate_modes(k) for k in ks],
        "W1": [mode_collapse.w1_of_points(mixture, tuple(range(k))) for k in ks],
        "critic's estimate": [float(table[f"critic_estimate_{k}_modes_neighbours"]) for k in ks],
    }
    seen = committed[0][0]["sliders"][1]
    assert_shown(seen, ks, readings)
    assert_charts(seen, Slider("modes covered", tuple(ks), readings, {"modes": ()}))
    for k, look in zip([*ks, 1], seen, strict=True):
        x, y = scales(look["charts"][0])
        (_, real), (_, covered) = look["clouds"]
        for places, modes in ((real, 8), (covered, k)):
            angles = [math.atan2(y(py), x(px)) for px, py in places]
            assert {round(angle / (math.pi / 4)) % 8 for angle in angles} == set(range(modes))
