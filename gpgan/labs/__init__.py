"""The theory of adversarial training made visible: numbers and a picture for each argument of it.

findings = gpgan.labs.load("divergences").run(progress=lambda share, what: None)
findings.figure.savefig("divergences.png")
"""

from __future__ import annotations

import importlib
from types import ModuleType

from gpgan.util.nearest import nearest

__all__ = ["LABS", "load"]

LABS = {
    "divergences": "Jensen-Shannon is flat wherever the supports are apart; Wasserstein-1 is the distance",
    "saturation": "what an optimal discriminator leaves the generator of its gradient, by objective",
    "bilinear": "five ways to play the game x y: out of the orbit, along it, or into the equilibrium",
    "mode-collapse": "what divergences say of a generator that covers k of 8 modes, and who covers them",
    "density-ratio": "a trained discriminator knows the ratio of two densities, as far as both have mass",
    "clipping": "a Lipschitz critic by weight clipping, too tight and too loose, and by a gradient penalty",
    "stopping": "does the critic's estimate fall as the samples get better",
    "penalty-strength": "the penalty's weight against the critic's gradient norm and its error in W1",
}
"""Name to what there is to see, in the order of the page."""


def load(name: str) -> ModuleType:
    """The module of that lab; ``gpgan.labs.lab`` says what is in it.

    Raises:
        ValueError: There is none; the nearest name is told.
        ModuleNotFoundError: A package of the extra "train" is not installed.
    """
    if name not in LABS:
        raise ValueError(f"lab is {name!r}; expected {', '.join(LABS)}{nearest(str(name), LABS)}")
    return importlib.import_module(f"gpgan.labs.{name.replace('-', '_')}")
