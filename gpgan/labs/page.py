"""The labs as one page: labs.html, a single file with all pictures and numbers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure
from PIL import Image

from gpgan.labs import load
from gpgan.labs.lab import Findings, Slider
from gpgan.util.files import replacing

# The resolution of a figure in pixels per inch, and its longest side on the page in pixels.
DPI, WIDE = 120, 1400

STYLE = """
:root { --text: #1d2530; --faint: #5d6876; --page: #f5f6f8; --card: #fff; --line: #dfe3e8; --accent: #2a6fbb;
  --c0: #0072b2; --c1: #c04a00; --c2: #007a58; --c3: #8f4f7c; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --faint: #98a3b0; --page: #14181d; --card: #1e242b; --line: #343c46; --accent: #6aa7e8;
    --c0: #56b4e9; --c1: #f08a3c; --c2: #2fc79a; --c3: #d99ac4; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 0 0 .5rem; font-size: 1.25rem; line-height: 1.25; }
p { margin: .5rem 0; }
a { color: var(--accent); }
header, section { margin-bottom: 1rem; padding: 1rem 1.2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
figure { margin: .8rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; border-radius: .3rem; background: #fff; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .15rem .4rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: normal; }
td { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; color: var(--accent); }
.slider { padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }
.slider label { font-weight: bold; }
.slider input { display: block; width: 100%; height: 1.6rem; accent-color: var(--accent); }
.views { display: grid; align-items: start; gap: .8rem 1.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
@media (min-width: 62rem) { .views div { grid-area: span 4 / span 2; } }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: 0; padding: 0; list-style: none;
  font-size: .9rem; }
.legend svg { width: 1rem; height: 1rem; margin-right: .35rem; vertical-align: -.15rem; }
.readings { display: flex; flex-wrap: wrap; gap: 0 2rem; margin: .3rem 0 0; }
.readings dt { color: var(--faint); font-size: .9rem; }
.readings dd { margin: 0 0 .5rem; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.views svg[role=img] { display: block; width: 100%; height: auto; }
.slider text { fill: var(--faint); font: 12px system-ui, sans-serif; }
.frame { fill: none; stroke: var(--line); }
.curve { fill: none; stroke: var(--accent); stroke-width: 2; }
.dots { fill: var(--accent); fill-opacity: .6; }
.now { fill: var(--accent); stroke: var(--card); stroke-width: 1.5; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.points path { fill-opacity: .75; }
@media print {
  :root { --text: #000; --faint: #444; --page: #fff; --card: #fff; --line: #ccc; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  header, section { border: 0; padding: 0; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  img { max-height: 22cm; width: auto; }
  details { display: none; }
}
"""

# Draws every figure that has a slider from the JSON inside it; its marks differ in shape as well as in colour.
SCRIPT = "\n" + files("gpgan.labs").joinpath("page.js").read_text(encoding="utf-8")

# The policy lets the page load nothing and run only this script, whatever names and captions contain.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'sha256-$hash'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The theory of adversarial training, seen - gpgan</title>
<style>$style</style>
</head>
<body>
<header><h1>The theory of adversarial training, seen</h1>
<p>Each part is computed by <code>gpgan lab NAME</code>, which reproduces its picture and numbers.</p>
<nav aria-label="Labs"><ul>$contents</ul></nav></header>
$body
<script>$script</script>
</body>
</html>
""")


def write_page(out: Path, results: Mapping[str, Findings]) -> Path:
    """Writes labs.html into a folder and returns its path: every lab's title, caption, picture, slider and numbers.

    Args:
        out: The folder.
        results: The findings of each lab by name, in the order of the page.

    Raises:
        ValueError: There is no lab of that name, or a slider's parts differ in length or are not finite.
        OSError: The file cannot be written.
    """
    contents = "".join(f'<li><a href="#{escape(name)}">{escape(load(name).TITLE)}</a></li>' for name in results)
    page = PAGE.substitute(
        hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        style=STYLE,
        contents=contents,
        body="\n".join(_section(name, found) for name, found in results.items()),
        script=SCRIPT,
    )
    path = out / "labs.html"
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _section(name: str, found: Findings) -> str:
    lab = load(name)
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{value:.6g}</td></tr>' for key, value in found.numbers.items()
    )
    return (
        f'<section id="{escape(name)}"><h2>{escape(lab.TITLE)}</h2><p>{escape(lab.CAPTION)}</p>'
        f"{_picture(found.figure, lab.TITLE)}<ul>{''.join(f'<li>{escape(line)}</li>' for line in found.see)}</ul>"
        f"{_slider(name, found.slider) if found.slider else ''}"
        f"<details><summary>The numbers ({len(found.numbers)})</summary><table>{rows}</table></details></section>"
    )


def _picture(figure: Figure, title: str) -> str:
    """The figure as a PNG of 256 colours, its longest side at most WIDE pixels."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    picture = Image.open(drawn).convert("RGB")
    picture.thumbnail((WIDE, WIDE))
    buffer = io.BytesIO()
    # A third of the size. This method keeps rare colours, such as that of a thin line; the others mix them.
    palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(buffer, format="png", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    name = escape(f"{title}: described in the lines below the picture")
    return f'<figure><img src="{uri}" width="{picture.width}" height="{picture.height}" alt="{name}"></figure>'


def _slider(name: str, slider: Slider) -> str:
    count = len(slider.positions)
    for part, values in (slider.readings | slider.clouds).items():
        if len(values) != count:
            raise ValueError(
                f"the slider of {name} has {len(values)} values of {part!r}; expected {count}, one per position"
            )
    parts = {
        "label": slider.label,
        "positions": slider.positions,
        "readings": slider.readings,
        "clouds": slider.clouds,
        "joined": slider.joined,
    }
    try:
        data = json.dumps(parts, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ValueError(f"the slider of {name} holds NaN or infinite values; expected finite ones") from error
    data = data.replace("<", "\\u003c")  # no value can close the script element
    return (
        f'<figure class="slider"><label for="slide-{escape(name)}">{escape(slider.label)}: '
        f'<output for="slide-{escape(name)}"></output></label>'
        f'<input type="range" id="slide-{escape(name)}" min="0" max="{count - 1}" step="1" value="{3 * count // 4}">'
        "<noscript><p>The slider needs JavaScript; it loads nothing.</p></noscript>"
        f'<script type="application/json">{data}</script></figure>'
    )
