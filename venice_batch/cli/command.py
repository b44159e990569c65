"""A subcommand, with settings from files beside what click gives it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from venice_batch.cli import options, settings
from venice_batch.cli.config_file import is_trusted
from venice_batch.cli.parameters import Option
from venice_batch.cli.refusal import print_refusal
from venice_batch.cli.settings_options import settings_options
from venice_batch.errors import UsageError, VeniceBatchError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

OTHERS = "Other options"
"""The heading of the options that every command has."""

COLUMN = 30
"""Width of the column of options in `--help`, at most."""


class Command(click.Command):
    """A subcommand whose options have defaults from `venice-batch.toml`.

    `like` names another command: what this one has in common with it is read from that one's table too.
    """

    def __init__(self, name: str | None, *, like: str = "", **attrs: Any) -> None:
        super().__init__(name, **attrs)
        self.like = like
        for option in settings_options():
            option.heading = OTHERS
            self.params.append(option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, then settle which server is meant."""
        is_json = "--json" in args  # click takes them out of the list
        try:
            left = super().parse_args(ctx, args)
            options.weigh_servers(ctx)
        except (click.UsageError, VeniceBatchError) as error:
            if is_json:
                print_refusal(error)
            raise
        return left

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run the command; first see to where a settings file has the key sent."""
        try:
            _see_to_server(ctx)
            return super().invoke(ctx)
        except VeniceBatchError as error:
            if ctx.params.get("as_json"):
                print_refusal(error)
            raise

    def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """The options as (how to write it, what it does) under their headings, as `--help` shows them."""
        found: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                heading = param.heading if isinstance(param, Option) else OTHERS  # click's own --help
                found.setdefault(heading or "Options", []).append(record)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in columns that are the same for all."""
        sections = self.sections(ctx)
        width = max(len(spec) for records in sections.values() for spec, _ in records if len(spec) <= COLUMN)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(spec.ljust(width), told) for spec, told in records], col_max=COLUMN)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """What may stand here; the `--no-` forms only for who begins to write one."""
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if incomplete.startswith("--no") or not _negative(str(item.value), self)]


def _see_to_server(ctx: click.Context) -> None:
    """Say which server a settings file has the key sent to, unless the user himself wants quiet.

    Raises:
        UsageError: the file is a project's, and the user has not consented to its server.
    """
    address = ctx.meta[settings.SETTLED].options.get("base_url")
    is_used = address and ctx.get_parameter_source("base_url") is ParameterSource.DEFAULT_MAP
    if not is_used or ctx.params["base_url"] != address.value or ctx.params["sandbox"]:
        return
    shown = one_line(address.value)
    if address.file.is_project and address.value.rstrip("/") != options.VENICE and not is_trusted(address.file):
        consent = shlex.join(["venice-batch", "trust", str(address.file.path)])
        raise UsageError(f"{address.where}: the API key would go to {shown}; if that is right: {one_line(consent)}")
    if not ctx.params.get("quiet") or ctx.get_parameter_source("quiet") is ParameterSource.DEFAULT_MAP:
        click.echo(f"venice-batch: the API is at {shown}, by {address.where}", err=True)


def command(**attrs: Any) -> Callable[[Callable[..., int]], Command]:
    """A decorator that makes a function a subcommand."""
    return click.command(cls=Command, context_settings=CONTEXT, **attrs)


def _negative(name: str, command: click.Command) -> bool:
    return any(name in param.secondary_opts for param in command.params)
