"""A run as a single page: report.html, which embeds its pictures and needs no other file."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from gpgan.records.evaluations import NEIGHBOURS, evaluations
from gpgan.records.pictures import snapshots
from gpgan.util.files import replacing

SNAPSHOTS, LOG_LINES = 12, 30
# Longest sides in pixels: of the curves, a single picture, one of a pair, and one of the series.
TALL, WIDE, HALF, THIRD = 1700, 1000, 800, 400
# The number of bytes at the end of a file in which its last lines are looked for.
TAIL = 1 << 16

# The labels of the trainer's own numbers; those of the task follow, with the labels in config.json.
NAMES = {
    "step": "Steps",
    "images": "Real samples seen",
    "seconds": "Time",
    "cpu_seconds": "CPU time",
    "images_per_second": "Samples per second",
    "memory": "Memory",
}

# Shown with one decimal.
ROUGH = {"images_per_second", "memory"}

# The policy keeps the page from loading or running anything, whatever names or paths it contains.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --text: #1d2530; --faint: #5d6876; --page: #f5f6f8; --card: #fff; --line: #dfe3e8; --accent: #2a6fbb; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --faint: #98a3b0; --page: #14181d; --card: #1e242b; --line: #343c46; --accent: #6aa7e8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 0 0 .7rem; font-size: 1.1rem; }
header, section { margin-bottom: 1rem; padding: 1rem 1.2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
progress { display: block; width: 100%; height: .6rem; margin: .8rem 0 .3rem; accent-color: var(--accent); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .5rem 1.5rem; margin: .8rem 0 0; }
.facts dt, figcaption { color: var(--faint); font-size: .85rem; }
.facts dd { margin: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(var(--least), 1fr)); gap: 1rem; }
.pair { --least: min(100%, 22rem); }
.series { --least: max(9rem, 22%); }
figure { margin: 0; break-inside: avoid; }
img { display: block; max-width: 100%; height: auto; border-radius: .3rem; background: #fff; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .25rem .5rem .25rem calc(.2rem + var(--depth, 0) * 1.2rem); border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; font-weight: normal; }
td { padding-left: .5rem; width: 55%; font-variant-numeric: tabular-nums; }
.scores td { width: auto; }
tr.group th { padding-top: .7rem; font-weight: bold; }
pre { margin: 0; font-size: .8rem; line-height: 1.4; white-space: pre-wrap; }
@media print {
  :root { --text: #000; --faint: #444; --page: #fff; --card: #fff; --line: #ccc; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  header, section { border: 0; padding: 0; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
</style>
</head>
<body>
$body
</body>
</html>
""")


def write_report(run: Path) -> None:
    """Writes report.html from the files in the run's folder; missing or damaged ones are skipped."""
    settings = _json(run / "config.json")
    config, data = settings.get("config"), settings.get("data")
    stats, at = _latest(run / "stats.jsonl")
    curves = _figure(run / "curves.png", "", TALL)
    pair = [
        _figure(run / "samples.png", "Generated samples", HALF),
        _figure(run / "reals.png", "Real samples", HALF),
    ]
    series = [
        _figure(path, f"Step {step:,}" if step else "Before training", THIRD)
        for step, path in snapshots(run, SNAPSHOTS)
    ]
    log = [escape(_printable(line)) for line in _last_lines(run / "log.txt")[-LOG_LINES:]]
    sections = [
        _header(run, settings, stats),
        _section("Latest numbers", _numbers(stats, at, _labels(settings))),
        _section("Curves", curves),
        _section("Samples", _grid("pair", pair)),
        _section("The same inputs over time", _grid("series", series)),
        _section("Evaluation", _evaluation(run)),
        _section("Configuration", _table(config if isinstance(config, dict) else {})),
        _section("Data", _table(data if isinstance(data, dict) else {})),
        _section("End of the log", "<pre>" + "\n".join(log) + "</pre>" if log else ""),
    ]
    page = PAGE.substitute(title=escape(f"{_text(run.resolve().name)} - gpgan"), body="\n".join(filter(None, sections)))
    with replacing(run / "report.html") as file:
        file.write(page.encode())


def _evaluation(run: Path) -> str:
    """The last evaluation of the run, and its nearest neighbours; runs from before metrics.jsonl have eval.json."""
    lines = evaluations(run)
    if not lines:
        return _table(_json(run / "eval.json"))
    last = lines[-1]
    heads = ("", "score", "real samples score", "samples of each", "")
    rows = ["<tr>" + "".join(f"<td>{head}</td>" for head in heads) + "</tr>"]
    for name, result in last["metrics"].items():
        if not isinstance(result, dict):
            continue
        floor, deviation = result.get("floor"), result.get("floor_deviation")
        spread = f" ± {_text(deviation)}" if deviation is not None else ""
        remarks = "; ".join(_text(result[each]) for each in ("place", "note") if result.get(each))
        cells = (
            _text(result.get("score")),
            "" if floor is None else _text(floor) + spread,
            _text(result.get("n")),
            remarks,
        )
        head = f'<th scope="row">{escape(_printable(str(name)))}</th>'
        rows.append(f"<tr>{head}" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    where = f"Step {last['step']}. " if isinstance(last.get("step"), int) else ""
    about = escape(_printable(f"{where}{last.get('about', '')}"))
    table = f'<table class="scores">{"".join(rows)}</table><p>{about}</p>'
    return table + _figure(run / NEIGHBOURS, "Samples, each beside the training images nearest to it", WIDE)


def _header(run: Path, settings: Mapping[str, Any], stats: Mapping[str, Any]) -> str:
    config = settings.get("config")
    config = config if isinstance(config, dict) else {}
    step, steps = int(stats.get("step", 0)), config.get("steps")
    progress = f"Step {step:,}"
    bar = ""
    if isinstance(steps, int) and steps > 0:
        progress += f" of {steps:,}"
        bar = f'<progress max="{steps}" value="{step}"></progress>'
    versions = settings.get("versions")
    facts = {
        "Data": config.get("data"),
        "Progress": progress,
        "Last updated": _written(run) if stats else None,
        "Device": settings.get("device", config.get("device")),
        "Versions": ", ".join(f"{name} {value}" for name, value in versions.items())
        if isinstance(versions, dict)
        else None,
        "Git": settings.get("git"),
    }
    items = [
        f"<div><dt>{name}</dt><dd>{escape(_text(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None
    ]
    return f'<header><h1>{escape(_text(run.resolve().name))}</h1>{bar}<dl class="facts">{"".join(items)}</dl></header>'


def _written(run: Path) -> str:
    """The time of the last statistics, in local time."""
    return datetime.fromtimestamp((run / "stats.jsonl").stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _section(title: str, content: str) -> str:
    """A titled part of the page; "" without content."""
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _grid(layout: str, figures: list[str]) -> str:
    content = "".join(figures)
    return f'<div class="grid {layout}">{content}</div>' if content else ""


def _figure(path: Path, caption: str, side: int) -> str:
    """A picture with its longest side at most ``side``, as PNG or JPEG, whichever is smaller; "" if unreadable."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    picture.thumbnail((side, side))
    encoded = []
    for form, options in (("png", {}), ("jpeg", {"quality": 80, "subsampling": 0})):
        buffer = io.BytesIO()
        picture.save(buffer, format=form, **options)
        encoded.append((len(buffer.getvalue()), form, buffer.getvalue()))
    _, form, data = min(encoded)
    uri = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    name = escape(caption or path.stem)
    return f'<figure><img src="{uri}" width="{picture.width}" height="{picture.height}" alt="{name}">{text}</figure>'


def _labels(settings: Mapping[str, Any]) -> dict[str, str]:
    """The labels of the numbers, in the order of the table."""
    told = settings.get("numbers")
    own = {
        str(name): str(number["label"])
        for name, number in (told.items() if isinstance(told, dict) else ())
        if isinstance(number, dict) and "label" in number
    }
    return NAMES | own


def _numbers(stats: Mapping[str, Any], at: Mapping[str, int], labels: Mapping[str, str]) -> str:
    rows = {}
    for name in [*labels, *(name for name in stats if name not in labels)]:
        if name in stats:
            note = f" (at step {at[name]:,})" if at[name] != stats["step"] else ""
            rows[labels.get(name, name)] = _quantity(name, stats[name]) + note
    return _table(rows)


def _quantity(name: str, value: Any) -> str:
    if name in ("seconds", "cpu_seconds"):
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if name in ROUGH else _text(value)
    return text + (" MiB" if name == "memory" else "")


def _table(values: Mapping[str, Any]) -> str:
    """Nested settings as a table with one row each, indented under their group."""
    rows = _rows(values, 0)
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _rows(values: Mapping[str, Any], depth: int) -> list[str]:
    rows = []
    for name, value in values.items():
        head = f'<th scope="row" style="--depth: {depth}">{escape(_printable(str(name)))}</th>'
        if isinstance(value, dict) and value:
            rows += [f'<tr class="group">{head}<td></td></tr>', *_rows(value, depth + 1)]
        else:
            rows.append(f"<tr>{head}<td>{escape(_text(value))}</td></tr>")
    return rows


def _text(value: Any) -> str:
    """A JSON value as readable text; floats to six significant digits."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """Text with the characters replaced that a page cannot contain: control characters and lone surrogates in paths."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _last_lines(path: Path) -> list[str]:
    """The lines in the last TAIL bytes of a file; the first may be cut off."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _latest(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Each number's last known value, and its step."""
    stats: dict[str, Any] = {}
    at: dict[str, int] = {}
    for line in _last_lines(path):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            known = {name: value for name, value in values.items() if value is not None}
            stats |= known
            at |= dict.fromkeys(known, values["step"])
    return stats, at
