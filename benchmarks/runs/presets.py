"""The presets on fashion at equal CPU time."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runs import plots, text
from benchmarks.runs.plan import Record, Table
from benchmarks.table import markdown
from gpgan import objectives

METRICS = ("kd", "fd_infinity", "precision", "recall", "coverage", "class_kl", "copied_share")


def render(result: Record) -> str:
    rows = [[f"`{method}`", *settings(_config(result, method))] for method in text.methods(result)]
    header = ["preset", "objective", "critic regularisation", "optimizer"]
    said = (
        "Last: the state at the end; selected: the end of the slice that had the lowest KD on a part of the data that no table "
        f"reports on; both: these are the same in every run. Cells: mean ± deviation over the seeds (real samples' score; place on the ladder), {result['n']} samples "
        "against as many test images."
    )
    pictures = [
        text.picture(result, "kd", "KD against CPU seconds and against images, mean and range over the seeds"),
        text.picture(result, "precision-recall", "precision and recall of every run, beside real samples"),
        text.picture(result, "classes", "shares of the classes"),
        text.picture(result, "critic", "gradient norms, and the critic's estimate on training and held-out data"),
        text.picture(result, "sizes", "KD and Fréchet distance against the number of samples"),
    ]
    return text.joined(
        text.about(result),
        text.quality_table(result, METRICS, ("last", "selected"), lambda method: f"`{method}`"),
        said,
        text.diverged(result),
        markdown(header, rows),
        *pictures,
        text.pictures(result),
    )


def _config(result: Record, method: str) -> Record:
    config: Record = next(run["config"] for run in result["runs"] if run["method"] == method)
    return config


def settings(config: Record) -> list[str]:
    """Objective, regularisation and optimizer of a run."""
    own = config["optimizer"]
    memory = {
        "adam": f"({own['beta1']:g}, {own['beta2']:g})",
        "rmsprop": f"({own['beta2']:g})",
        "sgd": f"({own['beta1']:g})",
    }
    rate = f"{own['kind']} {own['lr']:g} {memory[own['kind']]}, batch {config['batch']}, n_critic {config['n_critic']}"
    rate += "" if own["schedule"] == "constant" else f", {own['schedule']}"
    return [objectives.get(config["objective"]).name, regularisation(config), rate]


def regularisation(config: Record) -> str:
    """The critic's regularisation, in a few words."""
    penalty = config["penalty"]
    if config["weight_clip"]:
        return f"weights within ±{config['weight_clip']:g}"
    if config["network"]["spectral_norm"]:
        return "spectral normalisation"
    if not penalty["weight"]:
        return "none"
    where = {
        "between": "between real and fake",
        "real": "at real samples (R1)",
        "fake": "at fake samples (R2)",
        "both": "at real and fake samples (R1, R2)",
        "noisy": "at noisy real samples",
    }[penalty["points"]]
    norm = r"\|g\|"  # a bare | would end the table's cell
    form = f"({norm} - {penalty['target']:g})²" if penalty["target"] else f"{norm}²"
    sided = ", one-sided" if penalty["one_sided"] else ""
    lazy = f", every {penalty['lazy']} steps" if penalty["lazy"] > 1 else ""
    return f"{penalty['weight']:g} {form} {where}{sided}{lazy}"


def figures(result: Record, folder: Path) -> None:
    plots.quality_curves(result, folder / f"{text.stem(result)}-kd.png")
    plots.precision_recall(result, folder / f"{text.stem(result)}-precision-recall.png")
    plots.class_shares(result, folder / f"{text.stem(result)}-classes.png")
    plots.critic(result, folder / f"{text.stem(result)}-critic.png")
    plots.sizes(result, folder / f"{text.stem(result)}-sizes.png")


TABLE = Table(
    name="presets",
    data="fashion",
    smoke_data="digits",
    methods={name: {"preset": name} for name in ("auto", "nsgan", "wgan", "wgan-gp", "sngan", "stylegan-r1", "r3gan")},
    seeds=3,
    seconds=130,
    slices=3,
    metrics=(*METRICS, "fd"),
    n=3000,
    selects=True,
    sizes={500: ["kd"], 1000: ["kd"], 1500: ["kd", "fd"], 2000: ["kd", "fd"]},
    text=render,
    figures=figures,
    pictures=("samples", "neighbours"),
)
