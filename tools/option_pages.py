"""The reference of commands, variables and exit codes in Markdown."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tools.commands import common, pages, variables
from venice_batch.cli.commands import COMMANDS
from venice_batch.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTE = "<!-- Made by `python -m tools.reference`; edit what it is made from. -->\n\n"


def options_page() -> str:
    """Every command with its options, as `--help` has them."""
    found = pages()
    parts = [
        NOTE + "# Commands and options\n",
        "`venice-batch JOBS` is short for `venice-batch run JOBS`. Every option has [a variable](environment.md)\n"
        "and may stand in [a file of settings](../settings.md); a switch is turned off by `--no-` before its name.\n",
        " · ".join(f"[{page.name}](#{page.name})" for page in found) + "\n",
    ]
    parts += ["Every command has these:\n", table(("Options", ""), _rows(common()))]
    for page in found:
        parts += [f"## {page.name}\n", f"```text\n{page.usage}\n```\n", _prose(page.text) + "\n"]
        for heading, options in page.options.items():
            parts.append(table((heading, ""), _rows(options)))
    return "\n".join(parts)


def environment_page() -> str:
    """Every variable of the environment that is read."""
    rows = [
        ("`VENICE_API_KEY`", "the API key"),
        ("`XDG_CONFIG_HOME`", "where `venice-batch/config.toml`, your own settings, is looked for (`~/.config`)"),
        ("`XDG_CACHE_HOME`", "where `venice-batch` keeps the last list of models (`~/.cache`)"),
    ]
    options = [
        (f"`{name}`", f"`{option}`", "all" if len(commands) == len(COMMANDS) else ", ".join(commands))
        for name, (option, commands) in variables().items()
    ]
    return "\n".join(
        [
            NOTE + "# Environment\n",
            table(("variable", "is"), rows),
            "## Options\n",
            "A switch is on by `1`, `true`, `yes` or `on`, off by `0`, `false`, `no` or `off`. Spaces stand between\n"
            "the values of an option that may be given several times. An empty variable counts as unset. The command\n"
            "line goes before the environment, the environment before [files of settings](../settings.md).\n",
            table(("variable", "stands for", "of"), options),
        ]
    )


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code with its meaning: those that scripts rely on, and that of a command whose reader has gone."""
    codes = {int(code): code.meaning for code in ExitCode}
    codes[128 + signal.SIGPIPE] = "whoever read the output went away"
    return sorted(codes.items())


def exit_codes_page() -> str:
    """What each exit code means."""
    rows = [(str(code), meaning) for code, meaning in exit_codes()]
    return "\n".join(
        [
            NOTE + "# Exit codes\n",
            table(("exit", "meaning"), rows),
            "0 and 1 are of a run that has come to its end; after 75, 130 and 143 the same command goes on from\n"
            "there. The summary (`--json`, `summary.json`) has the code as `exit_code`, and as `reason` why a run\n"
            "ended early.\n",
            "141 is what a shell with `pipefail` reports of any program that a closed pipe ends, as in\n"
            "`venice-batch expand jobs.jsonl | head`. A run's own code stands even if nobody reads its output.\n",
        ]
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; a pipe in a cell is no border."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _rows(options: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [(f"`{spec}`", told) for spec, told in options]


def _prose(text: str) -> str:
    """The help's paragraphs; one that is set line by line (click's \\b) becomes a block."""
    parts = text.split("\n\n")
    return "\n\n".join(f"```text\n{part[2:]}\n```" if part.startswith("\b\n") else part for part in parts)
