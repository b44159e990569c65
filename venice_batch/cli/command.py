"""A subcommand, with settings from files beside what click gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options, settings
from venice_batch.cli.option import Option
from venice_batch.cli.refusal import print_refusal
from venice_batch.cli.settings_options import settings_options
from venice_batch.errors import VeniceBatchError, one_line

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
        """Run the command; where a file decides where the key is sent, say so first."""
        address = ctx.meta[settings.SETTLED].options.get("base_url")
        is_used = address and ctx.params["base_url"] == address.value and not ctx.params["sandbox"]
        if address and is_used and not ctx.params.get("quiet"):
            click.echo(f"venice-batch: the API is at {one_line(address.value)}, by {address.where}", err=True)
        try:
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


def command(**attrs: Any) -> Callable[[Callable[..., int]], Command]:
    """A decorator that makes a function a subcommand."""
    return click.command(cls=Command, context_settings=CONTEXT, **attrs)


def _negative(name: str, command: click.Command) -> bool:
    return any(name in param.secondary_opts for param in command.params)
