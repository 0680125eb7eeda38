"""The tree of gpgan and of benchmarks: no import cycle, and no folder that imports from one above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom up: a folder imports from itself and from those before it.
ORDER = (
    *("torch_private", "util", "ops", "objectives", "nn", "pruning", "penalty", "schedule", "critic"),
    *("data", "metrics", "wedge", "settings", "tasks", "records", "training", "preference", "labs", "cli"),
)


def modules(package: Path) -> dict[str, Path]:
    """Dotted name to file; a package is its __init__.py."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path, known: dict[str, Path], types: bool) -> set[str]:
    """The known modules that a file imports, anywhere in it; with ``types`` also those it needs for annotations alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if is_for_types(node) and not types:
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return found & known.keys()


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that can be reached from themselves."""
    reached = {name: set(targets) for name, targets in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    return sorted(name for name in graph if name in reached[name])


@pytest.mark.parametrize("package", ["gpgan", "benchmarks"])
def test_no_import_cycle(package: str) -> None:
    known = modules(ROOT / package)
    assert len(known) > 15
    assert cycles({name: imports(path, known, types=False) - {name} for name, path in known.items()}) == []


def test_cycles_are_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_no_folder_imports_from_above() -> None:
    known = modules(ROOT / "gpgan")
    upwards = []
    for name, path in known.items():
        folder = name.split(".")[1:2]
        if not folder or folder == ["__main__"]:  # the package itself, which everything is offered from
            continue
        for target in imports(path, known, types=True):
            above = target.split(".")[1:2]
            if above and ORDER.index(above[0]) > ORDER.index(folder[0]):
                upwards.append(f"{name} imports {target}")
    assert upwards == []
    assert {name.split(".")[1] for name in known if "." in name} - {"__main__"} == set(ORDER)
