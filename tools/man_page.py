"""The manual page venice-batch(1), in the man macros that groff and mandoc share."""

from __future__ import annotations

import re
import textwrap

from tools.commands import CommandPage, common, pages
from tools.option_pages import exit_codes
from venice_batch.cli.commands import EXAMPLES, cli

FILES = (
    ("venice-batch.toml", "settings of a project, in the current folder or above it"),
    ("~/.config/venice-batch/config.toml", "your own settings"),
    ("~/.cache/venice-batch", "the cached list of models"),
    ("OUT/images", "the images"),
    ("OUT/manifest.jsonl", "a record of each finished job"),
    ("OUT/summary.json", "the figures of the last run"),
)


def man_page() -> str:
    """Return the whole page."""
    found = pages()
    lines = [
        '.\\" Made by `python -m tools.reference`; edit what it is made from.',
        ".TH VENICE\\-BATCH 1",
        ".SH NAME",
        f"venice\\-batch \\- {roff('every prompt in a file becomes an image on disk, once')}",
        ".SH SYNOPSIS",
        ".B venice\\-batch",
        roff("JOBS [OPTIONS]"),
    ]
    for page in found:
        lines += [".br", f".B venice\\-batch {roff(page.name)}", roff(page.usage.split(maxsplit=2)[2])]
    lines += [".SH DESCRIPTION", *_paragraphs(cli.help or "")]
    lines += [prose("`venice-batch JOBS` is short for `venice-batch run JOBS`.")]
    lines += [".SH COMMANDS"]
    for page in found:
        lines += _command(page)
    lines += [".SH OPTIONS OF EVERY COMMAND", *_options(common())]
    lines += [".SH EXIT STATUS"]
    for code, meaning in exit_codes():
        lines += [".TP", f".B {code}", prose(meaning)]
    lines += [".SH ENVIRONMENT", ".TP", ".B VENICE_API_KEY", "the API key", ".TP", ".B VENICE_BATCH_OPTION"]
    lines += [prose("the value of --option, for every option of every command: VENICE_BATCH_MAX_TIME=2h")]
    lines += [".TP", ".B XDG_CONFIG_HOME, XDG_CACHE_HOME", "folders that replace ~/.config and ~/.cache"]
    lines += [".SH FILES"]
    for name, text in FILES:
        lines += [".TP", f".I {roff(name)}", prose(text)]
    lines += [".SH EXAMPLES"]
    for command, text in EXAMPLES:
        lines += [".TP", f".B {roff(command)}", prose(text)]
    return "\n".join(lines) + "\n"


def prose(text: str) -> str:
    """Return a paragraph in short lines, as roff source has them."""
    return roff(textwrap.fill(text, 74, break_long_words=False, break_on_hyphens=False))


def roff(text: str) -> str:
    """Escape text so that roff shows it unchanged: backslashes, hyphens, dots and quotes that begin a line."""
    escaped = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("`", "\\`").replace("→", "\\(->")
    )
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def _command(page: CommandPage) -> list[str]:
    lines = [f".SS {roff(page.name)}", *_paragraphs(page.text)]
    for heading, options in page.options.items():
        if heading != "Options":
            lines += [".P", f".I {roff(heading)}"]
        lines += _options(options)
    return lines


def _options(options: list[tuple[str, str]]) -> list[str]:
    return [line for spec, text in options for line in (".TP", f".B {roff(spec)}", prose(text))]


def _paragraphs(text: str) -> list[str]:
    lines = []
    for part in text.split("\n\n"):
        if part.startswith("\b\n"):
            lines += [".P", ".nf", roff(part[2:]), ".fi"]
        else:
            lines += [".P", prose(part)]
    return lines[1:] if lines[:1] == [".P"] else lines
