"""An option of a subcommand, with its variable of the environment beside what click gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

PREFIX = "VENICE_BATCH_"


class Option(click.Option):
    """An option that also reads VENICE_BATCH_<ITS NAME>; a switch is turned off again by `--no-<name>`.

    With `allow_from_autoenv=False` it reads no variable: for one that means something else than its namesakes do.
    `heading` is the one that `--help` shows it under ("": with the rest).
    """

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.heading = ""
        self.envvar = PREFIX + self.long_name.upper().replace("-", "_") if self.allow_from_autoenv else None
        if self.is_bool_flag and not self.long_name.startswith("no-"):
            self.secondary_opts.append(f"--no-{self.long_name}")

    @property
    def long_name(self) -> str:
        """The name as in `--long-name`, without the dashes."""
        return max(self.opts, key=len).lstrip("-")

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What `--help` shows; that there is a `--no-<name>` is told once for all switches, in the docs."""
        record = super().get_help_record(ctx)
        return record and (record[0].partition(" / ")[0], record[1])

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """What stands in brackets behind the help: the default; a range is told to who leaves it."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra and isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra

    def make_metavar(self, ctx: click.Context) -> str:
        """N for an integer, X for any other number; else as click has it."""
        if self.metavar is None and isinstance(self.type, click.types.IntParamType):
            return "N"
        if self.metavar is None and isinstance(self.type, click.types.FloatParamType):
            return "X"
        return super().make_metavar(ctx)

    def process_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 - as click has it
        """The value as the option's type has it; a complaint names the variable that it comes from, if it does."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(self.name or "") is not ParameterSource.ENVIRONMENT:
                raise
            raise click.BadParameter(f"{error.message.rstrip('.')} (from {self.envvar})", ctx, self) from None


def weightier(ctx: click.Context, one: str, other: str) -> str | None:
    """Which parameter has the stronger source: command line, environment, file, default; None if they are equal."""
    sources = list(ParameterSource)  # the strongest first
    first, second = (sources.index(ctx.get_parameter_source(name) or sources[-1]) for name in (one, other))
    return None if first == second else one if first < second else other
