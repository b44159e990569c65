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
    """Return the page of every command with its options, as `--help` shows them."""
    found = pages()
    parts = [
        NOTE + "# Commands and options\n",
        "`venice-batch JOBS` is short for `venice-batch run JOBS`. Every option has [a variable](environment.md)\n"
        "and can be set in [a settings file](../settings.md); `--no-` before its name turns a switch off.\n",
        " · ".join(f"[{page.name}](#{page.name})" for page in found) + "\n",
    ]
    parts += ["Every command has these:\n", table(("Options", ""), _rows(common()))]
    for page in found:
        parts += [f"## {page.name}\n", f"```text\n{page.usage}\n```\n", _prose(page.text) + "\n"]
        for heading, options in page.options.items():
            parts.append(table((heading, ""), _rows(options)))
    return "\n".join(parts)


def environment_page() -> str:
    """Return the page of the environment variables that the command reads."""
    rows = [
        ("`VENICE_API_KEY`", "the API key"),
        ("`XDG_CONFIG_HOME`", "folder of `venice-batch/config.toml`, your own settings (`~/.config`)"),
        ("`XDG_CACHE_HOME`", "folder of `venice-batch`, the cached list of models (`~/.cache`)"),
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
            "`1`, `true`, `yes` or `on` turns a switch on; `0`, `false`, `no` or `off` turns it off. Separate the\n"
            "values of an option that can be given several times with spaces. An empty variable counts as unset. The\n"
            "command line overrides the environment; the environment overrides [settings files](../settings.md).\n",
            table(("variable", "option", "commands"), options),
        ]
    )


def exit_codes() -> list[tuple[int, str]]:
    """Return each exit code with its meaning, also the code of a command whose reader has gone."""
    codes = {int(code): code.meaning for code in ExitCode}
    codes[128 + signal.SIGPIPE] = "the program that read the output has gone"
    return sorted(codes.items())


def exit_codes_page() -> str:
    """Return the page of exit codes."""
    rows = [(str(code), meaning) for code, meaning in exit_codes()]
    return "\n".join(
        [
            NOTE + "# Exit codes\n",
            table(("exit", "meaning"), rows),
            "With 0 and 1 the run came to its end; after 75, 130 and 143 the same command continues it. The summary\n"
            "(`--json`, `summary.json`) gives the code as `exit_code`, and as `reason` why a run ended early.\n",
            "141 is the code of any program that a closed pipe ends, as a shell with `pipefail` reports it for\n"
            "`venice-batch expand jobs.jsonl | head`. A run's own code stands even if nobody reads its output.\n",
        ]
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table; pipes in cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _rows(options: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [(f"`{spec}`", text) for spec, text in options]


def _prose(text: str) -> str:
    """Return the help's paragraphs; one that is set line by line (click's \\b) becomes a block."""
    parts = text.split("\n\n")
    return "\n\n".join(f"```text\n{part[2:]}\n```" if part.startswith("\b\n") else part for part in parts)
