"""The cases of docs/missing_wedge.md: what is simulated, and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: On the command line.
        label: In the table.
        snr: Of the simulation.
        fit: Options of ``gpgan wedge fit``.
        minutes: Of fitting on one core, at most.
        steps: Options that say how long it is.
        structures: That are simulated, in turns.
        control: Whether Gaussian fields take the structures' place.
        teacher: The case whose volumes are distilled.
    """

    name: str
    label: str
    snr: float
    fit: tuple[str, ...]
    minutes: float
    steps: tuple[str, ...] = ()
    structures: tuple[str, ...] = ("ribosome",)
    control: bool = False
    teacher: str = ""


GAME = ("--steps", "100000", "--checkpoint", "200", "--snapshot", "1000", "--tick", "200")
_ALL = (
    Case("cryowgen", "shared CryoWGEN, SNR .1", 0.1, ("--method", "cryowgen"), 2),
    Case("cryogen-2", "shared CryoGEN-II, SNR .1", 0.1, ("--method", "cryogen-2"), 2),
    Case("cryogen-1", "shared CryoGEN-I, SNR 1", 1.0, ("--method", "cryogen-1"), 10, GAME),
    Case("amortised-1", "amortised CryoGEN-I, SNR 1", 1.0, ("--method", "cryogen-1", "--amortised"), 10, GAME),
    Case("amortised-2", "amortised CryoGEN-II, SNR 1", 1.0, ("--method", "cryogen-2", "--amortised"), 10, GAME),
    Case("shared-snr-1", "shared CryoWGEN, SNR 1", 1.0, ("--method", "cryowgen"), 2),
    Case(
        "distilled",
        "amortised CryoWGEN that learns from the shared volume, SNR 1",
        1.0,
        ("--method", "cryowgen", "--amortised"),
        8,
        GAME,
        teacher="shared-snr-1",
    ),
    Case(
        "two",
        "ribosome and chaperonin, K = 2, SNR .3",
        0.3,
        ("--method", "cryowgen", "--shared", "2"),
        4,
        structures=("ribosome", "chaperonin"),
    ),
    Case("control", "negative control: Gaussian fields", 0.1, ("--method", "cryowgen"), 2, control=True),
    Case(
        "self-supervised",
        "self-supervised network, SNR 1",
        1.0,
        ("--method", "self-supervised", "--amortised"),
        10,
        GAME,
    ),
    Case(
        "supervised", "network trained with the truth, SNR 1", 1.0, ("--method", "supervised", "--amortised"), 10, GAME
    ),
)
CASES = {case.name: case for case in _ALL}
