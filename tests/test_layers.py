"""Every module imports only from layers below its own."""

import ast
from functools import cache
from pathlib import Path

import pytest

import venice_batch
from tools.house import circles_in, name_of, read

pytestmark = pytest.mark.no_cover

ROOT = Path(venice_batch.__file__).parent

LAYERS = [
    # plain values, no I/O
    ("mistakes",),
    ("_version", "errors", "clock", "model", "text_format", "portable"),
    ("image_format", "money"),
    # a file of jobs becomes checked jobs, in the light of what the models take and cost
    ("jobfile",),
    ("catalogue",),
    # requests out, answers in
    ("api",),
    # when to send
    ("pacing",),
    # what observers see
    ("events",),
    # images and records on disk
    ("output",),
    # the same in a bucket of an object store
    ("bucket",),
    # what a run or a manifest says
    ("report",),
    # the course of a run
    ("run",),
    ("gallery",),
    ("view",),
    ("library",),
    # the command
    ("cli",),
    ("__main__", "__init__"),
]
"""Folders and files, the lowest first: each imports only from those above it in this list."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PURE = {
    "mistakes",
    "model",
    "errors",
    "events",
    "text_format",
    "image_format",
    "money",
    "pacing",
    "api.responses",
    "api.answers",
    "api.base64_stream",
    "api.decode",
    "api.errors_in",
    "api.listings",
    "report.summary",
    "report.progress",
    "report.waits",
    "report.log_lines",
    "report.prometheus",
    "report.junit",
    "report.export.layouts",
    "report.export.samples",
    "report.export.tally",
    "view.requests",
}
IO_MODULES = {"os", "socket", "asyncio", "anyio", "aiohttp", "pathlib", "subprocess", "tempfile", "shutil", "time"}


def modules():
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


@cache
def parsed(path):
    return ast.parse((ROOT / path).read_text())


@cache
def imports(path):
    """Names of modules that a file imports, with whether each is for type checkers only."""
    nodes = list(ast.walk(parsed(path)))
    typing_blocks = [
        node
        for node in nodes
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    typing_nodes = {id(inner) for block in typing_blocks for inner in ast.walk(block)}
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += ((alias.name, id(node) in typing_nodes) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) in typing_nodes))
            found += ((f"{node.module}.{alias.name}", id(node) in typing_nodes) for alias in node.names)
    return found


def part(path):
    return path.parts[0].removesuffix(".py")


def dotted(path):
    return ".".join(path.with_suffix("").parts)


def test_imports_point_downwards():
    for path in modules():
        if part(path) == "sandbox":
            continue
        for name, _ in imports(path):
            if not name.startswith("venice_batch."):
                continue
            other = name.split(".")[1]
            if other in LEVEL and other != part(path):
                assert LEVEL[other] < LEVEL[part(path)], f"{path} imports {name} from its own or a higher layer"


def test_every_module_has_a_layer():
    assert [path for path in modules() if part(path) not in LEVEL and part(path) != "sandbox"] == []


def test_no_file_imports_itself_through_others_or_takes_a_private_name_of_another_package():
    names = {name_of(path, ROOT) for path in ROOT.rglob("*.py")}
    found = {name_of(path, ROOT): read(path, ROOT, names) for path in ROOT.rglob("*.py")}
    assert circles_in({name: module.imports for name, module in found.items()}) == []
    assert [name for module in found.values() for name in module.private] == []


def test_the_sandbox_shares_no_code_with_the_client():
    for path in modules():
        for name, _ in imports(path):
            if part(path) == "sandbox":
                assert not name.startswith("venice_batch.") or name.startswith("venice_batch.sandbox"), path
            elif name.startswith("venice_batch.sandbox"):
                assert part(path) == "cli", path


def test_only_the_client_and_the_live_page_import_aiohttp():
    users = {str(path) for path in modules() for name, _ in imports(path) if name.split(".")[0] == "aiohttp"}
    assert {user for user in users if not user.startswith("sandbox/")} == {"api/client.py", "view/server.py"}


@pytest.mark.parametrize("path", [path for path in modules() if PURE & {part(path), dotted(path)}], ids=str)
def test_decisions_do_no_io(path):
    used = {name.split(".")[0] for name, typing_only in imports(path) if not typing_only}
    assert not used & IO_MODULES


def test_every_module_says_in_a_sentence_what_it_is_for():
    for path in modules():
        text = ast.get_docstring(parsed(path))
        assert text, path
        first = text.split("\n\n")[0].split(". ")[0]
        assert len(first) < 200, path
        assert path.stem not in ("utils", "helpers", "common", "core", "misc")
