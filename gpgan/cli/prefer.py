"""``gpgan prefer``."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpgan.cli import complain
from gpgan.cli.arguments import Parser
from gpgan.cli.progress import loading
from gpgan.preference.page import build
from gpgan.preference.score import ATTENTIVE, CLAIM, CONFIDENCE, Preference, read_answers, read_key, score
from gpgan.preference.sources import Drawn, draw, draw_data, is_run, match
from gpgan.training.saved import open_run
from gpgan.util.errors import reason
from gpgan.util.files import replacing, write_json
from gpgan.util.words import counted, shown

DESCRIPTION = f"""\
Write a page on which people compare A and B without knowing which is which, and score their answers.
A and B are runs, folders of images or .npy files of images. The page is one file that works offline;
every participant saves a file of answers. The key says what the page shows: keep it, and keep it secret.

Examples:
  gpgan prefer runs/clothes runs/other           writes prefer.html and its key, prefer.key.json
  gpgan prefer a/ b.npy --real photos/ --size 64
  gpgan prefer --score answers-*.json            who is preferred, and whether that is a claim

A tie counts half for each. Participants who choose the real image in less than {ATTENTIVE:.0%} of the attention
trials, of real against noise, are left out. A claim needs {CLAIM} answers or more.
"""
LARGEST = 1000
OUT, PAGE_TRIALS, ATTENTION = Path("prefer.html"), 100, 10


def run(arguments: Sequence[str]) -> int:
    """Writes a page or scores answers; returns 0, or 2 on bad input."""
    parser = Parser("gpgan prefer", DESCRIPTION)
    parser.add_argument("a", nargs="?", metavar="A", help="a run, a folder of images, or a .npy file")
    parser.add_argument("b", nargs="?", metavar="B", help="what to compare it with")
    page = parser.add_argument_group("the page")
    page.add_argument("--real", metavar="DATA", help="real images for the attention trials (the data of a run)")
    page.add_argument("-n", type=int, metavar="TRIALS", help=f"pairs of A and B ({PAGE_TRIALS})")
    page.add_argument("--attention", type=int, metavar="K", help=f"attention trials among them ({ATTENTION})")
    page.add_argument("--size", type=int, metavar="S", help="side in pixels that images of a folder are resized to")
    page.add_argument(
        "--seed", type=int, metavar="S", help="seed of images, sides and order (random, so that it is secret)"
    )
    page.add_argument("--out", type=Path, metavar="FILE.html", help=f"the page ({OUT})")
    page.add_argument("--trust-code", action="store_true", help="run the Python code that a run from elsewhere names")
    scoring = parser.add_argument_group("the answers")
    scoring.add_argument("--score", type=Path, nargs="+", metavar="FILE", help="score these files, one per participant")
    scoring.add_argument("--key", type=Path, metavar="FILE.key.json", help=f"the key of their page ({_key_of(OUT)})")
    parser.add_argument("--json", action="store_true", help="print a last line of JSON with the paths or the score")
    try:
        given = parser.given(arguments)
        if given.score is None:
            return _write(given)
        return _score(given)
    except (ValueError, OSError) as error:
        return complain(reason(error))


def _key_of(out: Path) -> Path:
    return out.with_suffix(".key.json")


def _write(given: argparse.Namespace) -> int:
    """Writes the page and its key."""
    if given.key is not None:
        raise ValueError(
            f"--key is {str(given.key)!r} without --score; expected gpgan prefer --score FILE... --key {given.key}"
        )
    for name in ("a", "b"):
        if not getattr(given, name):
            raise ValueError(
                f"{name.upper()} is missing; expected two runs, folders of images or .npy files, or --score FILE..."
            )
    count = PAGE_TRIALS if given.n is None else given.n
    attention = ATTENTION if given.attention is None else given.attention
    seed = secrets.randbits(63) if given.seed is None else given.seed
    if not 1 <= count <= LARGEST:
        raise ValueError(f"n is {count}; expected a whole number from 1 to {LARGEST}")
    if not 0 <= attention <= LARGEST:
        raise ValueError(f"attention is {attention}; expected a whole number from 0 to {LARGEST}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}; expected a whole number from 0 to {2**63 - 1}")
    sources = [given.a, given.b, *([given.real] if given.real else [])]
    if given.size is not None and not any(Path(each).is_dir() and not is_run(each) for each in sources):
        raise ValueError(f"size is {given.size}, and no folder of images is given; expected no --size")
    out = OUT if given.out is None else given.out
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"out is {str(out)!r}; expected a file that ends in .html")
    if _key_of(out).exists():
        raise ValueError(
            f"{_key_of(out)} exists, and without it answers to its page cannot be scored; expected another --out, or "
            "delete it"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        drawn = _draw(given, count, attention, seed)
    (a, b, *others), notes = match(*drawn)
    if (a.pixels == b.pixels).all():
        raise ValueError(f"A, {a.name}, and B, {b.name}, are the same images; expected two sets that differ")
    page = build(a, b, others[0] if others else None, seed)
    # The key first: a page without one is of no use.
    write_json(_key_of(out), page.key)
    with replacing(out) as file:
        size = file.write(page.html.encode())
    for note in [*(str(warning.message) for warning in caught), *notes]:
        sys.stderr.write(f"warning: {shown(note)}\n")
    sys.stdout.write(
        f"{shown(out)}: {counted(count, 'pair')} of {shown(a.name)} and {shown(b.name)}, and "
        f"{counted(attention, 'attention trial')}; {size / 1e6:.1f} MB\n"
        f"{shown(_key_of(out))}: its key; gpgan prefer --score FILE... --key {shown(_key_of(out))} needs it\n"
    )
    if given.json:
        sys.stdout.write(json.dumps({"out": str(out.resolve()), "key": str(_key_of(out).resolve())}) + "\n")
    return 0


def _draw(given: argparse.Namespace, count: int, attention: int, seed: int) -> list[Drawn]:
    """A, B and, for attention trials, real images."""
    run = next((source for source in (given.a, given.b) if is_run(source)), None)
    if attention and not given.real and run is None:
        raise ValueError(
            f"attention is {attention}, and neither A nor B is a run whose data could serve as real images; expected "
            "--real DATA, or --attention 0"
        )
    with loading("images") as progress:
        options: dict[str, Any] = {"size": given.size, "trust_code": given.trust_code, "progress": progress}
        drawn = [draw(what, source, count, seed, **options) for what, source in (("A", given.a), ("B", given.b))]
        # Other rows: a real image that was seen beside noise would be known as real elsewhere.
        other = (seed + 1) % 2**63
        if attention and given.real:
            drawn.append(draw("real", given.real, attention, other, **options))
        elif attention and run is not None:
            saved = open_run(Path(run), given.trust_code)
            drawn.append(draw_data("real", saved.config.data, saved.dataset(), attention, other))
    return drawn


def _score(given: argparse.Namespace) -> int:
    """Prints the score of answers."""
    for name in ("a", "b", "real", "n", "attention", "size", "seed", "out"):
        if getattr(given, name) is not None:
            raise ValueError(
                f"{name} is {getattr(given, name)!s} with --score; expected only --score, --key and --json"
            )
    path = _key_of(OUT) if given.key is None else given.key
    if given.key is None and not path.exists():
        raise ValueError(
            f"key is missing, and there is no {path}; expected --key FILE.key.json, which lies beside the page"
        )
    key = read_key(path)
    participants = [read_answers(file, key) for file in given.score]
    result = score(participants)
    attention = len(participants[0].attention)
    sys.stdout.write(
        f"A  {shown(key['a'])}: preferred in {counted(result.a, 'answer')}\n"
        f"B  {shown(key['b'])}: preferred in {counted(result.b, 'answer')}\n"
        f"ties: {result.ties}, half to each\n"
        f"participants: {result.participants}, median answer after {result.median_ms / 1000:.1f} s\n"
    )
    if attention:
        sys.stdout.write(
            f"left out: {counted(result.dropped, 'participant')} with less than {ATTENTIVE:.0%} of the "
            f"{counted(attention, 'attention trial')} right\n"
        )
    else:
        sys.stdout.write("left out: nobody, as the page has no attention trials\n")
    sys.stdout.write(f"{verdict(result)}\n")
    if given.json:
        low, high = result.interval
        numbers = {"preference": result.share, "low": low, "high": high, "n": result.answers, **asdict(result)}
        claim = {"claim": result.winner or None, "answers_needed": result.needed, "page": key["page"]}
        sys.stdout.write(json.dumps({**numbers, **claim}) + "\n")
    return 0


def verdict(result: Preference) -> str:
    """Whether the answers support a claim, and how many would be expected to if these do not."""
    low, high = result.interval
    votes = result.a + result.ties / 2
    found = f"A: {votes:g} of {result.answers} is {result.share:.2f}, with a {CONFIDENCE:.0%} interval of {low:.2f} to {high:.2f}"
    if result.winner:
        return f"{found}: {result.winner.upper()} is preferred"
    why = "not a preference" if low <= 0.5 <= high else f"not a claim yet, as it rests on fewer than {CLAIM} answers"
    if result.needed is None:
        return f"{found}: {why}; at an even share no number of answers would decide"
    return f"{found}: {why}; about {result.needed:,} answers would decide at this share"
