"""A result's Markdown table, made from pytest-benchmark's JSON alone."""

from __future__ import annotations

from typing import Any

LARGE_ON_CPU = 16e6  # bytes of one tensor above which the target of the one-pass form is 1.5 times as fast as best
LARGE_ON_GPU = 64 << 20  # and from which gpgan's target is 85 percent of a copy


def verdict(row: dict[str, Any]) -> tuple[str, bool] | None:
    """A row's target and whether it is met; None if it has none."""
    if row["device"] == "cuda":
        if row["bytes"] < 0.99 * LARGE_ON_GPU:  # whole rows seldom make whole MiB
            return None
        return "85 % of copy", row["providers"]["gpgan"]["percent_of_copy"] >= 85
    best = row["providers"]["best"]
    if row["operation"] != "one_pass" or "times_first" not in best:
        return None
    target = 1.5 if row["bytes"] > LARGE_ON_CPU else 0.9
    return f"{target} x best", best["times_first"]["median"] >= target


def time_text(seconds: float) -> str:
    """Three digits and the unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:.3g} {unit}"
    raise AssertionError


def _seconds(provider: dict[str, Any]) -> str:
    if "failed" in provider:
        return "failed"
    value = provider["seconds"]
    return f"{time_text(value['median'])} ({time_text(value['q1'])} to {time_text(value['q3'])})"


def _times(provider: dict[str, Any] | None) -> str:
    if provider is None:
        return ""
    if "failed" in provider:
        return "failed"
    value = provider["times_first"]
    return f"{value['median']:.2f} ({value['q1']:.2f} to {value['q3']:.2f})"


def _number(provider: dict[str, Any], name: str) -> str:
    return f"{provider[name]:.3g}" if name in provider else ""


def _row(row: dict[str, Any]) -> list[str]:
    providers = row["providers"]
    gpgan = providers["gpgan"]
    judged = verdict(row)
    return [
        row["operation"],
        "x".join(map(str, row["shape"])),
        row["dtype"],
        f"{row['bytes'] / 1e6:.3g}",
        _seconds(gpgan),
        _number(gpgan, "gb_per_s"),
        _number(gpgan, "percent_of_copy"),
        *(_times(providers.get(name)) for name in ("plain", "best", "compiled")),
        "" if judged is None else f"{judged[0]}: {'met' if judged[1] else 'MISSED'}",
    ]


def _counts(rows: list[dict[str, Any]]) -> str:
    counts: dict[str, list[bool]] = {}
    for row in rows:
        judged = verdict(row)
        if judged is not None:
            counts.setdefault(row["operation"], []).append(judged[1])
    return ", ".join(f"{name} {sum(met)} of {len(met)}" for name, met in counts.items()) or "none has one"


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table's lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]


def _one_pass_bound(ceilings: dict[str, dict[str, Any]]) -> str:
    """How much faster than best the memory lets the one-pass form be, for tensors larger than the caches."""
    read, write, copy = (ceilings[name]["seconds"]["median"] for name in ("read", "write", "copy"))
    return (
        "For tensors larger than the caches, best reads the gradients for their norms and then makes a scaled copy; the "
        f"one-pass form reads and writes them once. By these times it can be at most {(read + copy) / (read + write):.2f} "
        "times as fast."
    )


def render(result: dict[str, Any]) -> str:
    """The whole page for one result file."""
    machine = result["machine_info"]
    infos = [benchmark["extra_info"] for benchmark in result["benchmarks"]]
    rows = [info for info in infos if info.get("kind") == "operation"]
    commit = result["commit_info"]
    lines = [
        f"# {machine.get('gpu', machine['cpu'])}, {result['datetime'][:10]}",
        "",
        "Written by the command below from the JSON of the same name; how to read it: docs/benchmarks.md.",
        "",
        *markdown(["", ""], [[name, f"`{value}`"] for name, value in machine.items()]),
        f"| commit | `{commit.get('id', 'unknown')}`{' with uncommitted changes' if commit.get('dirty') else ''} |",
        "",
        "The memory's own speed:",
        "",
    ]
    for info in infos:
        if info.get("kind") == "ceiling":
            lines += markdown(
                ["", "time", "GB/s"],
                [
                    [f"{name} {info['bytes'] / 1e6:.0f} MB", _seconds(value), _number(value, "gb_per_s")]
                    for name, value in info["providers"].items()
                ],
            )
            lines += ["", _one_pass_bound(info["providers"])]
    lines += [
        "",
        f"Rows that meet their target: {_counts(rows)}.",
        "",
        "Times: median (quartiles). Under plain, best and compiled: their time divided by gpgan's, round by round.",
        "",
        *markdown(
            ["operation", "shape", "dtype", "MB", "gpgan", "GB/s", "% of copy", "plain", "best", "compiled", "target"],
            [_row(row) for row in rows],
        ),
        "",
    ]
    failures = sorted(
        {
            f"{row['operation']}, {name}: {value['failed']}"
            for row in rows
            for name, value in row["providers"].items()
            if "failed" in value
        }
    )
    if failures:
        lines += ["Failed:", "", *(f"- {failure}" for failure in failures), ""]
    return "\n".join(lines)
