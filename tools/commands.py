"""The command line as data, for the pages that are made from it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import click

from venice_batch.cli.commands import COMMANDS, OTHERS, Command, cli
from venice_batch.cli.parameters import Option
from venice_batch.cli.settings import command_named

_ROOT = click.Context(cli, info_name="venice-batch")


@dataclass(frozen=True, slots=True)
class CommandPage:
    """The `--help` of one command; `options` are (how to write it, what it does) by heading.

    Options that every command has are left out.
    """

    name: str
    usage: str
    text: str
    options: dict[str, list[tuple[str, str]]]


def pages() -> list[CommandPage]:
    """Return every command, in the order of `venice-batch --help`."""
    return [_page(command_named(_ROOT, name)) for name in COMMANDS]


def common() -> list[tuple[str, str]]:
    """Return the options that every command has."""
    command = command_named(_ROOT, "run")
    return command.sections(click.Context(command))[OTHERS]


def variables() -> dict[str, tuple[str, list[str]]]:
    """Return the options' variables, each with its option and the commands that have it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name in COMMANDS:
        for option in command_named(_ROOT, name).params:
            if isinstance(option, Option) and option.envvar and not option.hidden:
                found.setdefault(str(option.envvar), (f"--{option.long_name}", []))[1].append(name)
    return dict(sorted(found.items()))


def _page(command: Command) -> CommandPage:
    context = click.Context(command, info_name=command.name, parent=_ROOT, **command.context_settings)
    return CommandPage(
        name=str(command.name),
        usage=" ".join(["venice-batch", str(command.name), *command.collect_usage_pieces(context)]),
        text=inspect.cleandoc(command.help or ""),
        options={heading: rows for heading, rows in command.sections(context).items() if heading != OTHERS},
    )
