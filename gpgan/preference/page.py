"""The page of a blind test: one file, and the key that says what its trials show."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from gpgan.preference.sources import Images

KEY = "gpgan prefer key 1"
ANSWERS = "gpgan prefer answers 1"
# Bytes in the random name of a trial.
NAME = 6


@dataclass(frozen=True)
class Page:
    """A test.

    Attributes:
        html: The page. It names trials, and does not say what they show.
        key: What is needed to score its answers; see ``build``.
    """

    html: str
    key: dict[str, Any]


def build(a: Images, b: Images, real: Images | None, seed: int) -> Page:
    """The page of a test of ``a`` against ``b``.

    Each image is shown once. Half the trials, chosen at random, have ``a`` on the left, and the order is random. In an
    attention trial a real image stands beside noise. The key has "page" (the page's id), "seed", "a", "b" and "real"
    (names), and "trials": from a trial's id to what is on its left and right, of "a", "b", "real" and "noise".

    Args:
        a: ``n`` images.
        b: As many, of the same shape.
        real: For the attention trials, one each; of the same shape. None for no such trials.
        seed: Of sides, order, noise and the names of the trials.
    """
    rng = np.random.default_rng(seed)
    pairs = [("a", "b", *pair) for pair in zip(a.pixels, b.pixels, strict=True)]
    if real is not None:
        noise = rng.integers(0, 256, real.pixels.shape, dtype=np.uint8)
        pairs += [("real", "noise", *pair) for pair in zip(real.pixels, noise, strict=True)]
    # Each kind of trial is balanced on its own.
    swapped = np.concatenate([rng.permutation(len(each)) % 2 for each in (a.pixels, pairs[len(a.pixels) :])])
    trials, sides = [], {}
    for index in rng.permutation(len(pairs)):
        first, second, left, right = pairs[index]
        if swapped[index]:
            first, second, left, right = second, first, right, left
        name = rng.bytes(NAME).hex()
        trials.append({"trial": name, "left": _uri(left), "right": _uri(right)})
        sides[name] = [first, second]
    data: dict[str, Any] = {
        "format": ANSWERS,
        "page": hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:16],
        "seed_sha256": hashlib.sha256(str(seed).encode()).hexdigest(),
    }
    key = {
        **data,
        "format": KEY,
        "seed": seed,
        "a": a.name,
        "b": b.name,
        "real": None if real is None else real.name,
        "trials": sides,
    }
    return Page(_html({**data, "trials": trials}), key)


def _uri(pixels: np.ndarray[Any, Any]) -> str:
    """A PNG as a data: URI; pixels are uint8 ``[C, H, W]``."""
    content = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(content, format="png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _html(data: dict[str, Any]) -> str:
    here = files("gpgan.preference")
    template, script, style = (here.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "js", "css"))
    return Template(template).substitute(
        script_hash=_hash(script),
        style_hash=_hash(style),
        script=script,
        style=style,
        count=len(data["trials"]),
        page=escape(data["page"]),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
