"""Run the commands, jobs and programs that README and docs show, and check their links."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import msgspec
import pytest
from click import Context
from pictures import picture
from records import outcome
from test_layers import LAYERS
from test_sessions import SESSIONS

from venice_batch.cli.commands import COMMANDS, cli
from venice_batch.cli.main import main
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.sandbox import SandboxSettings, serve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
FAST = ["--sandbox", "--sandbox-latency", "0"]
ON_THE_SANDBOX = {
    "VENICE_BATCH_SANDBOX": "1",
    "VENICE_BATCH_SANDBOX_LATENCY": "0",
    "VENICE_BATCH_SANDBOX_DRAW": "plain",
}


def blocks(language, pages=PAGES):
    return [
        (page, match.group(1))
        for page in pages
        for match in re.finditer(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]


def shell_lines():
    """Yield commands that need no others; `test_sessions` runs pages that are followed from top to bottom."""
    for page, block in blocks("sh"):
        if page.stem in (*SESSIONS, "openai-servers"):
            continue
        for line in block.splitlines():
            yield pytest.param(page, line.split("  #")[0].strip(), id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize(("page", "line"), list(shell_lines()))
def test_every_command_shown_works(page, line, tmp_path, monkeypatch):
    """Run a command on the sandbox, with the settings file that its page shows.

    `.ci/run` runs the commands for a fresh machine.
    """
    if line.startswith(("python3 -m venv", "export ", "bash .ci/run", "python -m tools.")):
        assert (
            "venice-batch jobs/quickstart.jsonl --sandbox" in line
            or "pytest" in line
            or "KEY" in line
            or ".ci" in line
            or "tools" in line
        )
        return
    monkeypatch.chdir(tmp_path)
    job = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
    Path("jobs.jsonl").write_text(json.dumps(job) + "\n")
    Path("prompts.txt").write_text("a lagoon\na bridge\n")
    Path("output/jobs/images").mkdir(parents=True)
    Path("output/jobs/images/a.webp").write_bytes(b"image")
    Path("output/jobs/manifest.jsonl").write_bytes(msgspec.json.encode(outcome("a")) + b"\n")
    Path("venice-batch.toml").write_text("".join(block for _, block in blocks("toml", [page])))
    for name, value in ON_THE_SANDBOX.items():
        monkeypatch.setenv(name, value)
    words = shlex.split(line.split(">")[0].split(" | ")[0])
    assert words.pop(0) == "venice-batch"
    if "--frozen" in words:
        assert main(["check", "jobs.jsonl", "--freeze", "approved.json"]) == 0
    if words[0] == "sandbox":
        words.append("--help")
    assert main(words) == 0


@pytest.mark.parametrize(("page", "block"), blocks("json"), ids=str)
def test_every_job_shown_is_valid(page, block, tmp_path):
    (tmp_path / "jobs.jsonl").write_text(block)
    (tmp_path / "photos").mkdir()
    for name in ("cat.png", "dog.jpg"):
        (tmp_path / "photos" / name).write_bytes(picture())
    with open_source(tmp_path / "jobs.jsonl") as source:
        assert len(JobIndex.build(source)) >= len(block.splitlines())


@pytest.mark.no_cover
async def test_the_program_shown_runs(tmp_path, monkeypatch):
    ((_, program),) = blocks("python", [ROOT / "docs/library.md"])
    (tmp_path / "jobs.jsonl").write_text(
        '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    )
    async with serve(SandboxSettings(latency_s=0)) as sandbox:
        program = program.replace('"output/from-python")', f'"output/from-python", base_url="{sandbox.base_url}")')
        program = program.replace("options)", f'options, base_url="{sandbox.base_url}")')
        (tmp_path / "program.py").write_text(program)
        import anyio

        done = await anyio.run_process(
            [sys.executable, "program.py"], cwd=tmp_path, env={**os.environ, "VENICE_API_KEY": "k"}
        )
    assert done.stdout.decode() == "1 succeeded\na succeeded ['images/a.webp']\n"


def anchors(page):
    """Return the anchors that a link may name: the headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


def test_every_page_is_listed():
    listed = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs/README.md").read_text()))
    docs = ROOT / "docs"
    assert {str(page.relative_to(docs)) for page in docs.rglob("*.md") if page.name != "README.md"} == listed


def test_contributing_names_every_module_once():
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Every module")[2].partition("```text\n")[2]
    folder, named = "", []
    for line in text.partition("```")[0].splitlines()[1:]:
        if new := re.fullmatch(r"  (\w+/)", line):
            folder = new[1]
        indent = len(line) - len(line.lstrip())
        named += [(folder if indent == 4 else "") + name for name in re.findall(r"[\w/]+\.py", line)]
    package = ROOT / "venice_batch"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert sorted(named) == sorted(name for name in modules if not name.startswith("sandbox/art/"))


def test_contributing_lists_the_layers_from_the_top():
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Layers")[2].partition("```text\n")[2]
    listed = [set(line.split(", ")) for line in text.partition("```")[0].splitlines()]
    assert listed == [set(layer) for layer in reversed(LAYERS)]


def test_files_named_in_contributing_exist():
    package = ROOT / "venice_batch"
    for name in re.findall(r"`([\w./]+\.(?:py|json))`", (ROOT / "CONTRIBUTING.md").read_text()):
        places = (ROOT / name, package / name, package / "sandbox" / name)
        assert any(place.exists() for place in places), name


def test_options_named_in_the_docs_exist():
    commands = [cli.get_command(Context(cli), name) for name in COMMANDS]
    options = {
        name
        for command in commands
        for parameter in command.params
        for name in parameter.opts + parameter.secondary_opts
    }
    options |= {"--version", "--help"}
    for page in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r"`(--[a-z-]+)", page.read_text()):
            assert name in options or name in ("--sandbox-", "--no-"), f"{page.name}: {name}"


@pytest.mark.no_cover
def test_quickstart_makes_every_image_in_the_requested_size_and_format(tmp_path, monkeypatch):
    from PIL import Image

    from venice_batch.sandbox.request import pixels

    monkeypatch.chdir(tmp_path)
    assert main([str(ROOT / "jobs" / "quickstart.jsonl"), *FAST, "-q"]) == 0
    records = [json.loads(line) for line in (tmp_path / "output/quickstart/manifest.jsonl").read_text().splitlines()]
    assert len(records) == 19
    for record in records:
        request = record["request"]
        for file in record["files"]:
            with Image.open(tmp_path / "output/quickstart" / file["path"]) as image:
                image.load()
                asked = request.get("format") or request.get("output_format")
                default = "webp" if record["endpoint"] == "/image/generate" else "png"
                if request["model"].startswith("grok-"):
                    asked = "jpeg"  # the provider's own bytes, whatever was requested
                assert image.format.lower() == (asked or default) == file["format"]
                assert file["path"].endswith({"jpeg": ".jpg"}.get(file["format"], "." + file["format"]))
                if "aspect_ratio" in request:
                    expected = pixels(request["aspect_ratio"], request.get("resolution", ""))
                elif "size" in request:
                    expected = tuple(map(int, request["size"].split("x")))
                else:
                    expected = (request.get("width", 1024), request.get("height", 1024))
                assert image.size == expected


def test_the_example_of_changing_pictures_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(ROOT / "jobs" / "retouch.jsonl"), *FAST, "-q"]) == 0
    records = [json.loads(line) for line in (tmp_path / "output/retouch/manifest.jsonl").read_text().splitlines()]
    sizes = {file["path"]: (file["width"], file["height"]) for record in records for file in record["files"]}
    assert sizes["images/gondola-4x.png"] == (1600, 1216)
    assert sizes["images/gondola-night.webp"] == (400, 304)
    assert sizes["images/sailing-cutout.png"] == (304, 304)
    assert len(sizes) == 4
