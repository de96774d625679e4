"""The order of the package's parts: what imports what, and that no function takes more than can be kept in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "videxplain"
ROOMS = (
    *("errors", "interrupt", "terminal", "reading", "registry", "settings", "files", "own_folder"),
    *("ops", "geometry", "clip", "video", "segmentation", "regions", "synthetic"),
    *("models", "passes", "attribution", "options"),
    *("drawing", "render", "explanations", "checking"),
    *("cluster", "annotate", "evaluation", "view", "exports"),
    *("demo", "info", "cli", "__main__"),
)
"""From the lowest: a module imports its own room and those before it."""
MOST_PARAMETERS = 8


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def run_statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from run_statements(other)
            continue
        yield child
        yield from run_statements(child)


def imported(module: str) -> set[str]:
    """The modules of this package that one imports, anywhere in it."""
    names: set[str] = set()
    for node in run_statements(TREES[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by dots"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in TREES else str(node.module) for name in whole}
    return {name for name in names if name in TREES} - {module, "videxplain"}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_place() -> None:
    rooms = {room(module) for module in TREES if module != "videxplain"}
    assert rooms <= set(ROOMS), "put new rooms where they belong"
    assert len(set(ROOMS)) == len(ROOMS)


def test_imports_run_downwards() -> None:
    upwards = [
        f"{module} imports {name}"
        for module in TREES
        for name in imported(module)
        if module != "videxplain" and ROOMS.index(room(name)) > ROOMS.index(room(module))
    ]
    assert not upwards


def test_there_is_no_circle() -> None:
    graph = {module: imported(module) for module in TREES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")


def functions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        inside = f"{name}.{child.name}" if hasattr(child, "name") and child.name else name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside, child
        yield from functions(child, inside)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many it takes; self is not counted, and of *args and **options each is one."""
    parts = function.args
    names = [argument.arg for argument in (*parts.posonlyargs, *parts.args, *parts.kwonlyargs)]
    bound = names[:1] in (["self"], ["cls"])
    return len(names) - bound + (parts.vararg is not None) + (parts.kwarg is not None)


def test_no_function_takes_more_than_eight_parameters() -> None:
    """But for kernels that Numba compiles: they cannot take objects."""
    many = {
        name.removeprefix("videxplain.")
        for module, tree in TREES.items()
        if not module.startswith("videxplain.ops._numba")
        for name, function in functions(tree, module)
        if parameters(function) > MOST_PARAMETERS
    }
    assert not many
