"""The options that every command has to say which settings files count."""

from __future__ import annotations

from typing import Any

import click

from venice_batch.cli import settings
from venice_batch.cli.config_file import files
from venice_batch.cli.parameters import Option, weightier

_CHOSEN = "venice_batch.settings_files"
_NAMES = ("config", "no_config", "profile")


def settings_options() -> list[Option]:
    """--config, --no-config, --profile; by the time that any other option is read, theirs are the defaults."""
    # Eager ones are read first. Nothing of them reaches the command's own function.
    eager: dict[str, Any] = {"is_eager": True, "expose_value": False, "callback": _settle}
    return [
        Option(
            ["--config"],
            type=click.Path(),
            metavar="FILE",
            help="Read settings from FILE alone, not from venice-batch.toml and the user's own.",
            **eager,
        ),
        Option(["--no-config"], is_flag=True, help="Read settings from no file.", **eager),
        Option(
            ["--profile"],
            metavar="NAME",
            help="Prefer the settings under [profile.NAME].",
            shell_complete=_profiles,
            **eager,
        ),
    ]


def _settle(ctx: click.Context, param: click.Parameter, value: object) -> object:
    """Read the files once it is known which: with whichever of the three options click comes to last."""
    chosen = ctx.meta.setdefault(_CHOSEN, {})
    chosen[param.name] = value
    if len(chosen) == len(_NAMES) and not ctx.resilient_parsing:
        ctx.meta[settings.SETTLED] = settled = _settled(ctx, **chosen)
        ctx.default_map = settled.default_map
    return value


def _settled(ctx: click.Context, config: str | None, no_config: bool, profile: str | None) -> settings.Settled:
    if config is not None and no_config:
        stronger = weightier(ctx, "config", "no_config")
        config, no_config = (config if stronger != "no_config" else None), stronger != "config"
    command: Any = ctx.command
    return settings.settle(command, files(config, no_config), profile)


def _profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in settings.profiles() if name.startswith(incomplete)]
