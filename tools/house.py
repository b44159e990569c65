"""The size and shape of the code: `python -m tools.house [FOLDER]`.

Prints files, lines, lines of imports, module sizes, circles between files and names that a file takes from another
package's private modules. The sandbox's drawing code is counted apart, as it is a collection of scenes.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from pathlib import Path
from typing import NamedTuple

PACKAGE = "venice_batch"
DRAWING = ("art/",)
"""Folders below `sandbox/` whose modules draw."""


class Module(NamedTuple):
    """One file: its dotted name, its lines, those of its imports, and the modules of the package that it imports."""

    name: str
    lines: int
    import_lines: int
    imports: frozenset[str]
    private: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent.parent / PACKAGE)
    folder = parser.parse_args(argv).folder
    paths = sorted(folder.rglob("*.py"))
    drawing = [path for path in paths if is_drawing(path.relative_to(folder).as_posix())]
    names = {name_of(path, folder) for path in paths}
    modules = [read(path, folder, names) for path in paths if path not in drawing]
    sizes = [module.lines for module in modules]
    circles = circles_in({module.name: module.imports for module in modules})
    private = [f"{module.name} takes {name}" for module in modules for name in module.private]
    print(f"files                        {len(modules)}, and {len(drawing)} that draw")
    print(f"lines                        {sum(sizes)}, and {sum(map(lines_of, drawing))} that draw")
    print(f"lines of imports             {sum(module.import_lines for module in modules)}")
    print(f"median module                {statistics.median(sizes):g} lines")
    print(f"modules of at most 40 lines  {sum(size <= 40 for size in sizes)}")
    print(f"modules above 400 lines      {sum(size > 400 for size in sizes)}")
    print(f"files in circles             {sum(map(len, circles))}")
    for circle in circles:
        print(f"    {' '.join(circle)}")
    print(f"private names of others      {len(private)}")
    for line in private:
        print(f"    {line}")
    return 0


def is_drawing(path: str) -> bool:
    """Return whether a file below the package draws the sandbox's pictures."""
    return path.startswith("sandbox/") and path.removeprefix("sandbox/").startswith(DRAWING)


def name_of(path: Path, folder: Path) -> str:
    """Return a file's dotted name."""
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def lines_of(path: Path) -> int:
    """Return the number of lines of a file."""
    return path.read_text().count("\n")


def read(path: Path, folder: Path, names: set[str]) -> Module:
    """Read one file; `names` are the package's modules. Imports for type checkers only make no circle."""
    tree, name = ast.parse(path.read_text()), name_of(path, folder)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    import_lines, imports, private = 0, set[str](), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        import_lines += (node.end_lineno or node.lineno) - node.lineno + 1
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(PACKAGE):
            continue
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            target = whole if whole in names else str(node.module)
            if id(node) not in typing_only and target != name:
                imports.add(target)
            if _is_private(whole) and _package(target) != _package(name):
                private.append(whole)
    return Module(name, lines_of(path), import_lines, frozenset(imports), tuple(private))


def circles_in(imports: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or not (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(imports.get(name, ())):
            if other not in imports:
                continue
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(imports):
        if name not in order:
            visit(name)
    return found


def _package(name: str) -> str:
    return name.rpartition(".")[0]


def _is_private(name: str) -> bool:
    return any(part.startswith("_") and part != "_version" and not part.startswith("__") for part in name.split("."))


if __name__ == "__main__":
    raise SystemExit(main())
