"""Why simultaneous gradient steps spiral away from an equilibrium, and which methods converge to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, repeat

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp  # type: ignore[import-untyped,unused-ignore]

from gpgan.labs.lab import Findings, Progress

TITLE = "The game x y: five ways to play it"
CAPTION = """\
One player chooses x to make x y small, the other chooses y to make it large. This is the simplest game that behaves like
a GAN near its equilibrium, which here is the origin. In continuous time the players circle the origin forever at the same
distance. Simultaneous gradient steps of size eta spiral outwards by a factor of sqrt(1 + eta^2) per step; alternating
steps stay on a closed ellipse. Three methods converge, each at a rate given by the eigenvalues of one step: a look-ahead
before each step (extragradient: Korpelevich 1976; Gidel et al., arXiv 1802.10551), a correction by the previous gradient
(optimism: Daskalakis et al., arXiv 1711.00141), and descent on the norm of the gradient field as well (consensus
optimisation: Mescheder et al., arXiv 1705.10461)."""

Array = NDArray[np.float64]

# The step size, and the weight of the gradient field's norm in consensus optimisation.
ETA, GAMMA = 0.2, 0.5
STEPS = 200
START = (1.0, 0.0)
# d/dx (x y) and -d/dy (x y), as a matrix on (x, y): what both players descend.
FIELD = np.array([[0.0, 1.0], [-1.0, 0.0]])
ONE = np.eye(2)


def field(z: Array) -> Array:
    """Both players' gradients ``[2]`` at z = (x, y) ``[2]``, that of y with its sign flipped."""
    return np.array([z[1], -z[0]])


# Each rule maps (current z, previous z), each [2], to the next z.
def simultaneous(z: Array, before: Array) -> Array:
    return z - ETA * field(z)


def alternating(z: Array, before: Array) -> Array:
    x = z[0] - ETA * field(z)[0]
    return np.array([x, z[1] - ETA * field(np.array([x, z[1]]))[1]])


def extragradient(z: Array, before: Array) -> Array:
    return z - ETA * field(z - ETA * field(z))


def optimistic(z: Array, before: Array) -> Array:
    return z - 2 * ETA * field(z) + ETA * field(before)


def consensus(z: Array, before: Array) -> Array:
    return z - ETA * (field(z) + GAMMA * FIELD.T @ field(z))


RULES: dict[str, Callable[[Array, Array], Array]] = {
    "simultaneous": simultaneous,
    "alternating": alternating,
    "extragradient": extragradient,
    "optimistic": optimistic,
    "consensus": consensus,
}


def matrices() -> dict[str, Array]:
    """Each rule as a matrix from z to the next z, or from (z, previous z) to (next z, z) for the rule with a memory.

    Derived from the rules' definitions for a linear field, independently of the code that plays them.
    """
    first, second = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    return {
        "simultaneous": ONE - ETA * FIELD,
        "alternating": (ONE - ETA * second @ FIELD) @ (ONE - ETA * first @ FIELD),
        "extragradient": ONE - ETA * FIELD + ETA**2 * FIELD @ FIELD,
        "optimistic": np.block([[ONE - 2 * ETA * FIELD, ETA * FIELD], [ONE, np.zeros((2, 2))]]),
        "consensus": ONE - ETA * FIELD - ETA * GAMMA * FIELD.T @ FIELD,
    }


def play(rule: Callable[[Array, Array], Array]) -> Array:
    """The path ``[STEPS + 1, 2]`` from START."""
    start = np.array(START)
    pairs = accumulate(repeat(None, STEPS), lambda pair, _: (rule(*pair), pair[0]), initial=(start, start))
    return np.array([z for z, _ in pairs])


def orbit() -> Array:
    """The path in continuous time ``[STEPS + 1, 2]``, over the same time as STEPS steps of ETA."""
    times = np.linspace(0, STEPS * ETA, STEPS + 1)
    solution = solve_ivp(lambda _, z: -field(z), (0, times[-1]), START, t_eval=times, rtol=1e-10, atol=1e-12)
    path: Array = solution.y.T
    return path


def rate(radius: Array) -> float:
    """The factor per step by which a radius ``[STEPS + 1]`` changes: from a line fitted to its logarithm's second half."""
    half = len(radius) // 2
    return float(np.exp(np.polyfit(np.arange(half, len(radius)), np.log(radius[half:]), 1)[0]))


def run(progress: Progress) -> Findings:
    """Plays the game by each rule and measures how fast it converges."""
    progress(0.0, "playing")
    paths = {"continuous time": orbit(), **{name: play(rule) for name, rule in RULES.items()}}
    radii = {name: np.linalg.norm(path, axis=1) for name, path in paths.items()}
    numbers: dict[str, float] = {"eta": ETA, "gamma": GAMMA, "steps": STEPS}
    for name, matrix in matrices().items():
        numbers[f"{name}_rate"] = rate(radii[name])
        numbers[f"{name}_rate_theory"] = float(np.abs(np.linalg.eigvals(matrix)).max())
        numbers[f"{name}_radius_end"] = float(radii[name][-1])
    factors = radii["simultaneous"][1:] / radii["simultaneous"][:-1]
    numbers["simultaneous_factor_smallest"] = float(factors.min())
    numbers["simultaneous_factor_largest"] = float(factors.max())
    numbers["alternating_radius_smallest"] = float(radii["alternating"].min())
    numbers["alternating_radius_largest"] = float(radii["alternating"].max())
    numbers["continuous_radius_smallest"] = float(radii["continuous time"].min())
    numbers["continuous_radius_largest"] = float(radii["continuous time"].max())
    # Alternating steps conserve x^2 + y^2 - eta x y: an ellipse with these axes.
    numbers["alternating_radius_smallest_theory"] = float(1 / np.sqrt(1 + ETA / 2))
    numbers["alternating_radius_largest_theory"] = float(1 / np.sqrt(1 - ETA / 2))
    progress(0.9, "drawing")
    return Findings(numbers, _draw(paths, radii, numbers), _see(numbers))


def _see(n: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"Simultaneous steps move away from the equilibrium by a factor of {n['simultaneous_rate']:.5f} per step (theory "
        f"{n['simultaneous_rate_theory']:.5f}): from radius 1 to {n['simultaneous_radius_end']:.0f} in {n['steps']:.0f} steps.",
        f"Continuous time keeps its radius ({n['continuous_radius_smallest']:.6f} to {n['continuous_radius_largest']:.6f}); "
        f"alternating steps stay on an ellipse ({n['alternating_radius_smallest']:.3f} to {n['alternating_radius_largest']:.3f}).",
        "Three methods converge, at the rate of their largest eigenvalue (in brackets): "
        + ", ".join(f"{m} {n[f'{m}_rate']:.4f} ({n[f'{m}_rate_theory']:.4f})" for m in list(RULES)[2:])
        + ".",
    )


def _draw(paths: dict[str, Array], radii: dict[str, Array], numbers: dict[str, float]) -> Figure:
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    plane, radius = figure.subplots(1, 2)
    marks = np.arange(0, STEPS + 1, 20)
    # Okabe and Ito's colours, distinguishable with any kind of colour blindness.
    colours = dict(zip(paths, ("#999999", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000"), strict=True))
    for name, path in paths.items():
        style = {"color": colours[name], "lw": 5 if name == "continuous time" else 1.4}
        shown = path[: 1 + int(np.searchsorted(radii[name], 2.2))] if name == "simultaneous" else path
        plane.plot(*shown.T, **style, zorder=1 if name == "continuous time" else 2)
        theory = numbers.get(f"{name}_rate_theory", 1.0)
        label = name if name == "continuous time" else f"{name}: {numbers[f'{name}_rate']:.4f} per step"
        radius.semilogy(radii[name], label=label, **style)
        radius.semilogy(marks, theory**marks, "o", mfc="none", ms=5, color=colours[name])
    radius.plot([], [], "ko", mfc="none", ms=5, label="circles: theory, largest eigenvalue")
    plane.plot(0, 0, "k+", ms=10)
    plane.set(xlabel="x (makes x y small)", ylabel="y (makes x y large)", aspect="equal", title="Paths from (1, 0)")
    radius.set(
        xlabel="step", ylabel="distance from the equilibrium", title=f"Outwards, around, or inwards (step size {ETA})"
    )
    radius.legend(fontsize=9)
    for axes in (plane, radius):
        axes.grid(alpha=0.3)
    return figure
