"""Settings from files: defaults for a command's options (click's `default_map`) and for the jobs' fields."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from venice_batch.cli.config_file import SettingsFile, files
from venice_batch.cli.destinations import errors_beside
from venice_batch.cli.parameters import Option, stronger
from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from venice_batch.cli.commands import Command

SETTLED = "venice_batch.settings"
"""Key of a context's `meta` that holds the running command's `Settled`."""

_CHOICE = "venice_batch.settings.choice"
_CHOICE_NAMES = ("config", "no_config", "profile")
_PICTURES = ("image", "images")
_KEY_LIKE = re.compile(r"(^|[-_])(key|token|secret|password|authorization|bearer)$", re.IGNORECASE)


class Setting(NamedTuple):
    """A value, its file, and its keys in that file."""

    value: Any
    file: SettingsFile
    keys: tuple[str, ...]

    @property
    def where(self) -> str:
        """The file's name; for a profile `venice-batch.toml (profile nightly)`."""
        profile = f" (profile {self.keys[1]})" if self.keys[0] == "profile" else ""
        return one_line(f"{self.file.path}{profile}")


@dataclass(frozen=True, slots=True)
class Settled:
    """One command's settings from all files: its options by parameter, and the jobs' fields by name."""

    files: tuple[SettingsFile, ...] = ()
    profile: str | None = None
    options: Mapping[str, Setting] = field(default_factory=dict)
    job_fields: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def default_map(self) -> dict[str, Any]:
        """The options' values as click's `Context.default_map`."""
        return {name: setting.value for name, setting in self.options.items()}


class _Layer(NamedTuple):
    """A file's own tables, or those of a profile in it; `prefix` is where they stand."""

    file: SettingsFile
    prefix: tuple[str, ...]
    tables: Mapping[str, Any]


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
    job_fields: dict[str, Setting] = {}
    # Options of one name that read the same variable mean the same.
    shared = {str(option.name) for option in settable(command).values() if option.envvar}
    for layer in _layers(ctx, found, profile):
        of_other = _options(layer, command_named(ctx, command.like)) if command.like else {}
        given = {name: setting for name, setting in of_other.items() if name in shared} | _options(layer, command)
        for name, other in (("sandbox", "base_url"), ("base_url", "sandbox")):
            if name in given and given[name].value:
                options.pop(other, None)  # the stronger layer names the server
        options |= {name: setting for name, setting in given.items() if not _lifts_budget(setting, options.get(name))}
        job_fields |= _job_fields(layer, allow_unknown=True)
    return Settled(found, profile, options, job_fields)


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
        for profile in (None, *_profiles(file)):
            for layer in _layers(ctx, (file,), profile):
                for name in _command_names(ctx):
                    _options(layer, command_named(ctx, name))
                _job_fields(layer, allow_unknown=_allows_unknown(file.tables) or _allows_unknown(layer.tables))


def job_fields(*, allow_unknown: bool) -> dict[str, Any]:
    """Return the running command's `[defaults]` as JSON values (TOML's dates as text) by the names of job fields.

    Raises:
        UsageError: without `allow_unknown`, a field or value is unknown; it names file and key.
    """
    import msgspec

    settled: Settled = click.get_current_context().meta.get(SETTLED, Settled())
    if not allow_unknown:
        for name, setting in settled.job_fields.items():
            _check_job_field(name, setting, allow_unknown=False)
    return {name: msgspec.to_builtins(setting.value) for name, setting in settled.job_fields.items()}


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


def _layers(ctx: click.Context, found: Sequence[SettingsFile], profile: str | None) -> list[_Layer]:
    """Return the files' own tables and then those of `profile`, the weaker first. Raises UsageError."""
    commands = _command_names(ctx)
    for file in found:
        _check_tables(file, (), file.tables, {"defaults", "profile", *commands})
        for name, tables in _profiles(file).items():
            _check_tables(file, ("profile", name), tables, {"defaults", *commands})
    layers = [_Layer(file, (), file.tables) for file in found]
    if profile is None:
        return layers
    chosen = [
        _Layer(file, ("profile", profile), _profiles(file)[profile]) for file in found if profile in _profiles(file)
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
        raise _mistake(file, prefix, f"expected a table, as in [{'.'.join(prefix)}.run]")
    for name, table in tables.items():
        keys = (*prefix, name)
        if name not in known:
            raise _mistake(file, keys, _forbidden(name) or f"no such table; {_nearest(name, known)}")
        if not isinstance(table, dict):
            raise _mistake(file, keys, f"expected a table, as in [{'.'.join(keys)}]")


def _options(layer: _Layer, command: Command) -> dict[str, Setting]:
    """Return the settings in the layer's table for `command`, by parameter. Raises UsageError."""
    known = settable(command)
    found = {}
    for key, value in layer.tables.get(str(command.name), {}).items():
        keys = (*layer.prefix, str(command.name), key)
        if key == "set" and takes_job_fields(command):
            raise _mistake(layer.file, keys, f"job fields belong in [{'.'.join((*layer.prefix, 'defaults'))}]")
        if key not in known:
            what = _forbidden(key) or f"`{command.name}` has no such option; {_nearest(key, known)}"
            raise _mistake(layer.file, keys, what)
        option = known[key]
        try:
            given = _value(option, value, layer.file.path.parent)
        except click.BadParameter as error:
            raise _mistake(layer.file, keys, error.message) from None
        if layer.file.is_project and isinstance(option.type, click.Path):
            _confine(layer.file, keys, option, given)
        found[str(option.name)] = Setting(given, layer.file, keys)
    return found


def _confine(file: SettingsFile, keys: tuple[str, ...], option: Option, value: object) -> None:
    """Refuse a path outside the folder of a project's file, as anybody may have written that file."""
    others = f"give --{option.long_name}, set {option.envvar}, or use your own settings file"
    if option.name == "api_key_file":
        raise _mistake(file, keys, f"a project's file cannot name a key file; {others}")
    for path in value if isinstance(value, list) else [value]:
        # `export` writes a second file beside the first, and a link may be there.
        beside = [errors_beside(Path(str(path)))] if option.name == "openai_to" else []
        if not all(_is_inside(file, place) for place in (Path(str(path)), *beside)):
            raise _mistake(file, keys, f"leads out of the folder of the project's file; {others}")


def _is_inside(file: SettingsFile, path: Path) -> bool:
    """Return whether `path`, with all links followed, is below the folder of `file`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(file.path.parent))


def _job_fields(layer: _Layer, *, allow_unknown: bool) -> dict[str, Setting]:
    found = {}
    for name, value in layer.tables.get("defaults", {}).items():
        found[name] = setting = Setting(value, layer.file, (*layer.prefix, "defaults", name))
        if what := _forbidden(name):
            raise _mistake(layer.file, setting.keys, what)
        _check_job_field(name, setting, allow_unknown=allow_unknown)
        if layer.file.is_project and name in _PICTURES:
            pictures = value if isinstance(value, list) else [value]
            if not all(_is_own_picture(layer.file, picture) for picture in pictures):
                what = "leads out of the folder of the project's file; name it in the jobs"
                raise _mistake(layer.file, setting.keys, what)
    return found


def _is_own_picture(file: SettingsFile, value: object) -> bool:
    """Return whether a picture is not a file, or one below the folder of `file` (of the jobs, if it is relative)."""
    from venice_batch.jobfile.pictures import local_file

    path = local_file(value)[0]
    if path is None:
        return True
    is_climbing = not os.path.isabs(path) and ".." in Path(path).parts
    return not is_climbing and _is_inside(file, file.path.parent / path)


def _check_job_field(name: str, setting: Setting, *, allow_unknown: bool) -> None:
    from venice_batch.jobfile.defaults import complaint

    if wrong := complaint(name, setting.value, allow_unknown=allow_unknown):
        raise _mistake(setting.file, (*setting.keys[:-1], wrong[0]), wrong[1])


def _allows_unknown(tables: Mapping[str, Any]) -> bool:
    return any(isinstance(table, dict) and table.get("allow-unknown") is True for table in tables.values())


def _value(option: Option, value: object, folder: Path) -> object:
    """Return `value` for click's `default_map`. Raises click.BadParameter if the option does not take it."""
    if not option.multiple:
        return _single(option, value, folder)
    if not isinstance(value, list):
        raise click.BadParameter("expected a list, as the option can be given several times")
    return [_single(option, item, folder) for item in value]


def _single(option: Option, value: object, folder: Path) -> object:
    if option.is_bool_flag:
        if not isinstance(value, bool):
            raise click.BadParameter("expected true or false")
        return value
    kinds, expected = _toml_types(option.type)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise click.BadParameter(f"expected {expected}")
    option.type.convert(value, option, None)  # as written: joined to the folder, an address would pass for a path
    if isinstance(option.type, click.Path):
        return str(folder / Path(str(value)).expanduser())
    return value


def _toml_types(kind: click.ParamType[Any]) -> tuple[tuple[type, ...], str]:
    """Return the types that TOML may have for an option of this kind, and their name."""
    match kind:
        case click.types.IntParamType():
            return (int,), "an integer"
        case click.types.FloatParamType():
            return (int, float), "a number"
        case click.Choice() | click.Path() | click.types.StringParamType():
            return (str,), "a quoted string"
        case _:
            return (str, int, float), "a number or a quoted string"


def _forbidden(key: str) -> str:
    """Return why no file may have `key`; "" if one may, or if the key is unknown."""
    if key == "on-finish":
        # Otherwise the owner of the jobs' folder could run programs as another user.
        return "a file cannot name a command to run; give --on-finish, or set VENICE_BATCH_ON_FINISH"
    if not _KEY_LIKE.search(key):
        return ""
    return "the API key must not be in a settings file; set VENICE_API_KEY, or give its own file with --api-key-file"


def _nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the known ones are {', '.join(sorted(known))}"


def _mistake(file: SettingsFile, keys: tuple[str, ...], what: str) -> UsageError:
    return UsageError(one_line(f"{file.path}: {'.'.join(keys)}: {what}"))
