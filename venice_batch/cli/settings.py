"""Settings from files: defaults for a command's options (click's `default_map`) and for the jobs' fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli.config_file import SettingsFile, files
from venice_batch.cli.destinations import errors_beside
from venice_batch.cli.job_settings import (
    Layer,
    Setting,
    check_job_field,
    field_columns,
    forbidden,
    is_inside,
    job_fields,
    mistake,
    nearest,
    prompt_sets,
)
from venice_batch.cli.parameters import Option, is_bucket, stronger, value_from_file
from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from venice_batch.cli.commands import Command
    from venice_batch.jobfile.sets import PromptSet

SETTLED = "venice_batch.settings"
"""Key of a context's `meta` that holds the running command's `Settled`."""

_CHOICE = "venice_batch.settings.choice"
_CHOICE_NAMES = ("config", "no_config", "profile")


@dataclass(frozen=True, slots=True)
class Settled:
    """One command's settings from all files: its options by parameter, and those for jobs by their keys.

    The keys of `job_fields` are those below `[defaults]`: `("width",)`, `("matrix", "seed")`, `("vars", "subject")`,
    and `("model", NAME, "width")` for a field of one model. `columns` are those of `[map]`, by the field that they
    become; `sets` the prompt sets of `[from.NAME]`.
    """

    files: tuple[SettingsFile, ...] = ()
    profile: str | None = None
    options: Mapping[str, Setting] = field(default_factory=dict)
    job_fields: Mapping[tuple[str, ...], Setting] = field(default_factory=dict)
    columns: Mapping[str, Setting] = field(default_factory=dict)
    sets: Mapping[str, PromptSet] = field(default_factory=dict)

    @property
    def default_map(self) -> dict[str, Any]:
        """The options' values as click's `Context.default_map`."""
        return {name: setting.value for name, setting in self.options.items()}


def settings_options() -> list[Option]:
    """Return --config, --no-config and --profile. click reads them first, so that files give the others' defaults."""
    first: dict[str, Any] = {"is_eager": True, "expose_value": False, "in_files": False, "callback": _settle_once_known}
    return [
        Option(
            ["--config"],
            type=click.Path(),
            metavar="FILE",
            help="Read settings from FILE only, not from venice-batch.toml and your own file.",
            **first,
        ),
        Option(["--no-config"], is_flag=True, help="Read no settings file.", **first),
        Option(
            ["--profile"],
            metavar="NAME",
            help="Prefer the settings in [profile.NAME].",
            shell_complete=_complete_profiles,
            **first,
        ),
    ]


def _settle_once_known(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - as in click
    """Read the files after the last of the three options, whichever that is."""
    choice = ctx.meta.setdefault(_CHOICE, {})
    choice[param.name] = value
    if len(choice) == len(_CHOICE_NAMES) and not ctx.resilient_parsing:
        config, no_config, profile = map(choice.get, _CHOICE_NAMES)
        if config is not None and no_config:
            kept = stronger(ctx, "config", "no_config")
            config, no_config = (config if kept != "no_config" else None), kept != "config"
        command: Any = ctx.command
        ctx.meta[SETTLED] = settled = settle(ctx, command, files(config, no_config), profile)
        ctx.default_map = settled.default_map
    return value


def _complete_profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        found = {name for file in files() for name in _profiles(file)}
    except UsageError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def settle(ctx: click.Context, command: Command, found: tuple[SettingsFile, ...], profile: str | None) -> Settled:
    """Return the settings that the files (the weakest first) give to `command`, a subcommand of `ctx`'s root.

    A profile beats the tables outside it, the project's file beats the user's, and a command's own table beats that
    of the command it is like. The budget that the user's own file sets is not replaced by a project's file.

    Raises:
        UsageError: there is no such profile, or a file has a key or value that no command or option takes.
    """
    options: dict[str, Setting] = {}
    fields: dict[tuple[str, ...], Setting] = {}
    columns: dict[str, Setting] = {}
    # Options of one name that read the same variable mean the same.
    shared = {str(option.name) for option in settable(command).values() if option.envvar}
    for layer in _layers(ctx, found, profile):
        of_other = _options(layer, command_named(ctx, command.like)) if command.like else {}
        given = {name: setting for name, setting in of_other.items() if name in shared} | _options(layer, command)
        for name, other in (("sandbox", "base_url"), ("base_url", "sandbox")):
            if name in given and given[name].value:
                options.pop(other, None)  # the stronger layer names the server
        options |= {name: setting for name, setting in given.items() if not _lifts_budget(setting, options.get(name))}
        stronger_fields = job_fields(layer, allow_unknown=True)
        for keys in stronger_fields:
            _drop_weaker(fields, keys)
        fields |= stronger_fields
        columns |= field_columns(layer)
    sets = {name: one for file in found for name, one in prompt_sets(file).items()}
    return Settled(found, profile, options, fields, columns, sets)


def _lifts_budget(setting: Setting, before: Setting | None) -> bool:
    """Return whether a project's file would replace the budget that the user's own file has set `before`."""
    is_own = before is not None and not before.file.is_project
    return setting.file.is_project and is_own and setting.keys[-1] in ("budget-file", "max-cost-per")


def check_all(ctx: click.Context, found: Sequence[SettingsFile]) -> None:
    """Check every table, also those of other commands and of unused profiles.

    Raises:
        UsageError: the first mistake.
    """
    for file in found:
        prompt_sets(file)
        for profile in (None, *_profiles(file)):
            for layer in _layers(ctx, (file,), profile):
                for name in _command_names(ctx):
                    _options(layer, command_named(ctx, name))
                field_columns(layer)
                job_fields(layer, allow_unknown=_allows_unknown(file.tables) or _allows_unknown(layer.tables))


def _drop_weaker(fields: dict[tuple[str, ...], Setting], keys: tuple[str, ...]) -> None:
    """Remove other kinds of values for the field of `keys`, which a weaker layer gave."""
    if keys[0] == "matrix":
        fields.pop(keys[1:], None)
    elif len(keys) == 1:
        for other in [
            other for other in fields if other[0] in ("matrix", "model") and other[1:] and other[-1:] == keys
        ]:
            del fields[other]


def of_command() -> Settled:
    """Return the settings of the running command."""
    settled: Settled = click.get_current_context().meta.get(SETTLED, Settled())
    return settled


def job_values(*, allow_unknown: bool) -> dict[tuple[str, ...], Any]:
    """Return the running command's `[defaults]` as JSON values (TOML's dates as text) by the keys of `Settled`.

    Raises:
        UsageError: without `allow_unknown`, a field or value is unknown; it names file and key.
    """
    import msgspec

    settled = of_command()
    if not allow_unknown:
        for keys, setting in settled.job_fields.items():
            check_job_field(keys, setting, allow_unknown=False)
    return {keys: msgspec.to_builtins(setting.value) for keys, setting in settled.job_fields.items()}


def settable(command: Command) -> dict[str, Option]:
    """Return the options that a file may set, by their keys there."""
    options = [option for option in command.params if isinstance(option, Option)]
    return {option.long_name: option for option in options if option.in_files}


def takes_job_fields(command: Command) -> bool:
    """Return whether the command's `--set` gives fields to jobs; a file gives them in `[defaults]`."""
    return any(isinstance(option, Option) and _sets_job_fields(option) for option in command.params)


def _sets_job_fields(option: Option) -> bool:
    return option.long_name == "set" and not option.in_files


def command_named(ctx: click.Context, name: str) -> Command:
    """Return the subcommand `name` of `ctx`'s root."""
    group: Any = ctx.find_root().command
    found: Command = group.get_command(ctx, name)
    return found


def _command_names(ctx: click.Context) -> list[str]:
    root = ctx.find_root().command
    return root.list_commands(ctx) if isinstance(root, click.Group) else [str(root.name)]


def _layers(ctx: click.Context, found: Sequence[SettingsFile], profile: str | None) -> list[Layer]:
    """Return the files' own tables and then those of `profile`, the weaker first. Raises UsageError."""
    commands = _command_names(ctx)
    for file in found:
        _check_tables(file, (), file.tables, {"defaults", "map", "from", "profile", *commands})
        for name, tables in _profiles(file).items():
            _check_tables(file, ("profile", name), tables, {"defaults", "map", *commands})
    layers = [Layer(file, (), file.tables) for file in found]
    if profile is None:
        return layers
    chosen = [
        Layer(file, ("profile", profile), _profiles(file)[profile]) for file in found if profile in _profiles(file)
    ]
    if not chosen:
        known = {name for file in found for name in _profiles(file)}
        listed = f"the profiles are {', '.join(sorted(known))}" if known else "no file has profiles"
        raise UsageError(f"--profile {one_line(profile)}: no such profile; {listed}")
    return layers + chosen


def _profiles(file: SettingsFile) -> Mapping[str, Any]:
    """Return the tables of each profile; none if `profile` is not a table, which `_check_tables` reports."""
    found = file.tables.get("profile")
    return found if isinstance(found, dict) else {}


def _check_tables(file: SettingsFile, prefix: tuple[str, ...], tables: object, known: Collection[str]) -> None:
    if not isinstance(tables, dict):
        raise mistake(file, prefix, f"expected a table, as in [{'.'.join(prefix)}.run]")
    for name, table in tables.items():
        keys = (*prefix, name)
        if name not in known:
            raise mistake(file, keys, forbidden(name) or f"no such table; {nearest(name, known)}")
        if not isinstance(table, dict):
            raise mistake(file, keys, f"expected a table, as in [{'.'.join(keys)}]")


def _options(layer: Layer, command: Command) -> dict[str, Setting]:
    """Return the settings in the layer's table for `command`, by parameter. Raises UsageError."""
    known = settable(command)
    found = {}
    for key, value in layer.tables.get(str(command.name), {}).items():
        keys = (*layer.prefix, str(command.name), key)
        if key == "set" and takes_job_fields(command):
            raise mistake(layer.file, keys, f"job fields belong in [{'.'.join((*layer.prefix, 'defaults'))}]")
        if key == "map" and takes_job_fields(command):
            raise mistake(layer.file, keys, f"columns belong in [{'.'.join((*layer.prefix, 'map'))}]")
        if key not in known:
            what = forbidden(key) or f"`{command.name}` has no such option; {nearest(key, known)}"
            raise mistake(layer.file, keys, what)
        option = known[key]
        try:
            given = value_from_file(option, value, layer.file.path.parent)
        except click.BadParameter as error:
            raise mistake(layer.file, keys, error.message) from None
        if layer.file.is_project and isinstance(option.type, click.Path):
            _confine(layer.file, keys, option, given)
        found[str(option.name)] = Setting(given, layer.file, keys)
    return found


def _confine(file: SettingsFile, keys: tuple[str, ...], option: Option, value: object) -> None:
    """Refuse a path outside the folder of a project's file, as anybody may have written that file."""
    others = f"give --{option.long_name}, set {option.envvar}, or use your own settings file"
    if option.name == "api_key_file":
        raise mistake(file, keys, f"a project's file cannot name a key file; {others}")
    paths = value if isinstance(value, list) else [value]
    for path in (path for path in paths if not is_bucket(path)):  # `commands` asks for consent to those
        # `export` writes a second file beside the first, and a link may be there.
        beside = [errors_beside(Path(str(path)))] if option.name == "openai_to" else []
        if not all(is_inside(file, place) for place in (Path(str(path)), *beside)):
            raise mistake(file, keys, f"leads out of the folder of the project's file; {others}")


def _allows_unknown(tables: Mapping[str, Any]) -> bool:
    return any(isinstance(table, dict) and table.get("allow-unknown") is True for table in tables.values())
