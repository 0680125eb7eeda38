"""The theory of adversarial training, demonstrated: each lab computes numbers and draws a picture.

findings = gpgan.labs.load("divergences").run(progress=lambda share, what: None)
findings.figure.savefig("divergences.png")
"""

from __future__ import annotations

import importlib
from types import ModuleType

from gpgan.util.nearest import nearest

__all__ = ["LABS", "load"]

LABS = {
    "divergences": "Jensen-Shannon is flat once the supports are disjoint; Wasserstein-1 is the distance",
    "saturation": "how much gradient an optimal discriminator leaves the generator, by objective",
    "bilinear": "five ways to play the game x y: spiral out, circle, or converge",
    "mode-collapse": "how divergences rate a generator that covers k of 8 modes, and which GANs cover all 8",
    "density-ratio": "a trained discriminator learns the ratio of two densities where both have mass",
    "clipping": "a Lipschitz critic by weight clipping, too tight or too loose, and by a gradient penalty",
    "stopping": "whether the critic's estimate falls as the samples improve",
    "penalty-strength": "how the penalty's weight changes the critic's gradient norm and its estimate of W1",
}
"""What each lab shows, by name, in the order of the page."""


def load(name: str) -> ModuleType:
    """The module of the lab of that name; ``gpgan.labs.lab`` says what it contains.

    Raises:
        ValueError: There is no lab of that name; the message suggests the nearest one.
        ModuleNotFoundError: A package of the extra "train" is not installed.
    """
    if name not in LABS:
        raise ValueError(f"lab is {name!r}; expected {', '.join(LABS)}{nearest(str(name), LABS)}")
    return importlib.import_module(f"gpgan.labs.{name.replace('-', '_')}")
