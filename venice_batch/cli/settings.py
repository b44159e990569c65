"""What settings files say to a command, each value checked as the command line's would be."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from venice_batch.cli.config_file import SettingsFile, files
from venice_batch.cli.parameters import Option
from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from venice_batch.cli.command import Command

SETTLED = "venice_batch.settings"
"""Under which a command's click context keeps its `Settled` (`Context.meta`)."""

_NOT_IN_FILES = ("config", "no-config", "profile", "on-finish", "yes", "forget")
_PICTURES = ("image", "images")
_KEY_LIKE = re.compile(r"(^|[-_])(key|token|secret|password|authorization|bearer)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it stands."""

    value: Any
    file: SettingsFile
    keys: tuple[str, ...]

    @property
    def where(self) -> str:
        """`venice-batch.toml:4`, for a profile `venice-batch.toml:9 (profile nightly)`."""
        profile = f" (profile {self.keys[1]})" if self.keys[0] == "profile" else ""
        return one_line(self.file.where(self.keys) + profile)


@dataclass(frozen=True, slots=True)
class Settled:
    """What the files say to one command: its options by parameter, and the jobs' fields by name."""

    files: tuple[SettingsFile, ...] = ()
    profile: str | None = None
    options: Mapping[str, Setting] = field(default_factory=dict)
    defaults: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def default_map(self) -> dict[str, Any]:
        """The options' values as click wants them."""
        return {name: setting.value for name, setting in self.options.items()}


class _Layer(NamedTuple):
    """A file's own tables, or those of a profile in it."""

    file: SettingsFile
    prefix: tuple[str, ...]
    tables: Mapping[str, Any]


def settle(command: Command, found: tuple[SettingsFile, ...], profile: str | None) -> Settled:
    """What the files, the weaker first, say to `command`.

    A profile goes before what stands outside of it, the project's file before the user's, a command's own table
    before that of the command which it is like.

    Raises:
        UsageError: there is no such profile, or a file says what no command or option understands.
    """
    layers = _layers(found, profile)
    options: dict[str, Setting] = {}
    defaults: dict[str, Setting] = {}
    # Options of one name that read the same variable mean the same.
    common = {str(option.name) for option in settable(command).values() if option.envvar}
    for layer in layers:
        theirs = _checked(command_named(command.like), layer) if command.like else {}
        said = {name: setting for name, setting in theirs.items() if name in common} | _checked(command, layer)
        for name, other in (("sandbox", "base_url"), ("base_url", "sandbox")):
            # Two names of a server: one that is given with more weight puts the other aside.
            if name in said and said[name].value:
                options.pop(other, None)
        options |= said
        defaults |= _job_fields(layer, allow_unknown=True)
    return Settled(found, profile, options, defaults)


def check_all(found: Sequence[SettingsFile]) -> None:
    """Check every table, also those of other commands and of profiles that are not in use.

    Raises:
        UsageError: the first mistake.
    """
    for file in found:
        for profile in (None, *_profiles(file)):
            for layer in _layers((file,), profile):
                for name in _commands():
                    _checked(command_named(name), layer)
                _job_fields(layer, allow_unknown=_allows_unknown(file.tables) or _allows_unknown(layer.tables))


def profiles() -> list[str]:
    """The names of the profiles in the files at hand; none where a file is at fault, for completion."""
    try:
        return sorted({name for file in files() for name in _profiles(file)})
    except UsageError:
        return []


def job_settings(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    """The files' [defaults] as `FIELD=VALUE`, before those that were `given`: the last of a field wins."""
    import orjson

    settled: Settled = ctx.meta.get(SETTLED, Settled())
    texts = {
        name: setting.value if isinstance(setting.value, str) else orjson.dumps(setting.value).decode()
        for name, setting in settled.defaults.items()
    }
    return (*(f"{name}={text}" for name, text in texts.items()), *given)


def check_job_fields() -> None:
    """Check the files' [defaults] where fields and values that this version does not know are not allowed.

    Raises:
        UsageError: the first mistake.
    """
    settled: Settled = click.get_current_context().meta.get(SETTLED, Settled())
    for name, setting in settled.defaults.items():
        _check_field(name, setting.value, setting.file, setting.keys, allow_unknown=False)


def _layers(found: Sequence[SettingsFile], profile: str | None) -> list[_Layer]:
    """What goes by the files' own tables and by `profile`, the weaker first. Raises UsageError."""
    for file in found:
        _check_tables(file, (), file.tables, {"defaults", "profile", *_commands()})
        for name, tables in _profiles(file).items():
            _check_tables(file, ("profile", name), tables, {"defaults", *_commands()})
    layers = [_Layer(file, (), file.tables) for file in found]
    if profile is None:
        return layers
    chosen = [
        _Layer(file, ("profile", profile), _profiles(file)[profile]) for file in found if profile in _profiles(file)
    ]
    if not chosen:
        known = {name for file in found for name in _profiles(file)}
        listed = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise UsageError(f"--profile {one_line(profile)}: no such profile; {listed}")
    return layers + chosen


def _profiles(file: SettingsFile) -> Mapping[str, Any]:
    """The tables of each profile; none where `profile` itself is no table, which `_check_tables` tells."""
    found = file.tables.get("profile")
    return found if isinstance(found, dict) else {}


def _check_tables(file: SettingsFile, prefix: tuple[str, ...], tables: object, known: Collection[str]) -> None:
    if not isinstance(tables, dict):
        raise _mistake(file, prefix, f"expected a table, as in [{'.'.join(prefix)}.run]")
    for name, table in tables.items():
        keys = (*prefix, name)
        if name not in known:
            raise _mistake(file, keys, _refused(name) or f"no such table; {_nearest(name, known)}")
        if not isinstance(table, dict):
            raise _mistake(file, keys, f"expected a table, as in [{'.'.join(keys)}]")


def _checked(command: Command, layer: _Layer) -> dict[str, Setting]:
    """What the layer's table for `command` gives, by parameter. Raises UsageError."""
    known = settable(command)
    found = {}
    for key, value in layer.tables.get(str(command.name), {}).items():
        keys = (*layer.prefix, str(command.name), key)
        if key == "set" and takes_job_fields(command):
            raise _mistake(layer.file, keys, f"job fields stand in [{'.'.join((*layer.prefix, 'defaults'))}]")
        if key not in known:
            what = _refused(key) or f"`{command.name}` has no such option; {_nearest(key, known)}"
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
    """Refuse a path by which a project's file, which is a stranger's, reaches out of its own folder."""
    from venice_batch.cli.export import errors_beside

    others = f"give --{option.long_name}, set {option.envvar}, or say it in your own settings file"
    if option.name == "api_key_file":
        raise _mistake(file, keys, f"a project's file names no key file; {others}")
    for path in value if isinstance(value, list) else [value]:
        # Export's second file stands beside its first, where a link may wait for it.
        beside = [errors_beside(Path(str(path)))] if option.name == "openai_to" else []
        if not all(_is_inside(file, place) for place in (Path(str(path)), *beside)):
            raise _mistake(file, keys, f"leads out of the folder of the project's file; {others}")


def _is_inside(file: SettingsFile, path: Path) -> bool:
    """Tell whether `path`, all links followed, is below the folder of `file`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(file.path.parent))


def _job_fields(layer: _Layer, *, allow_unknown: bool) -> dict[str, Setting]:
    found = {}
    for name, value in layer.tables.get("defaults", {}).items():
        keys = (*layer.prefix, "defaults", name)
        if what := _refused(name):
            raise _mistake(layer.file, keys, what)
        _check_field(name, value, layer.file, keys, allow_unknown=allow_unknown)
        if layer.file.is_project and name in _PICTURES:
            pictures = value if isinstance(value, list) else [value]
            if not all(_is_own_picture(layer.file, picture) for picture in pictures):
                raise _mistake(layer.file, keys, "leads out of the folder of the project's file; name it in the jobs")
        found[name] = Setting(value, layer.file, keys)
    return found


def _is_own_picture(file: SettingsFile, value: object) -> bool:
    """Tell whether a picture is no file, or one below the folder of `file` (of the jobs, where it is relative)."""
    from venice_batch.jobfile.pictures import local_file

    path = local_file(value)[0]
    if path is None:
        return True
    is_climbing = not os.path.isabs(path) and ".." in Path(path).parts
    return not is_climbing and _is_inside(file, file.path.parent / path)


def _check_field(name: str, value: object, file: SettingsFile, keys: tuple[str, ...], *, allow_unknown: bool) -> None:
    from venice_batch.jobfile.defaults import complaint

    if wrong := complaint(name, value, allow_unknown=allow_unknown):
        raise _mistake(file, (*keys[:-1], wrong[0]), wrong[1])


def _allows_unknown(tables: Mapping[str, Any]) -> bool:
    return any(isinstance(table, dict) and table.get("allow-unknown") is True for table in tables.values())


def settable(command: Command) -> dict[str, Option]:
    """The options that a file may give, by the key that they have there."""
    options = {option.long_name: option for option in command.params if isinstance(option, Option)}
    return {
        name: option
        for name, option in options.items()
        if name not in _NOT_IN_FILES and option.callback is not job_settings
    }


def takes_job_fields(command: Command) -> bool:
    """Whether the command's `--set` gives fields to jobs that lack them; in a file those stand in [defaults]."""
    return any(param.callback is job_settings for param in command.params)


def _value(option: Option, value: object, folder: Path) -> object:
    """`value` as click takes it from a default. Raises click.BadParameter if the option does not."""
    if not option.multiple:
        return _single(option, value, folder)
    if not isinstance(value, list):
        raise click.BadParameter("expected a list, as the option may be given several times")
    return [_single(option, item, folder) for item in value]


def _single(option: Option, value: object, folder: Path) -> object:
    if option.is_bool_flag:
        if not isinstance(value, bool):
            raise click.BadParameter("expected true or false")
        return value
    kinds, expected = _takes(option.type)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise click.BadParameter(f"expected {expected}")
    if isinstance(option.type, click.Path):
        option.type.convert(
            str(value), option, None
        )  # as it is written: joined to the folder, an address is none any more
        value = str(folder / Path(str(value)).expanduser())
    option.type.convert(value, option, None)
    return value


def _takes(kind: click.ParamType[Any]) -> tuple[tuple[type, ...], str]:
    """The types that TOML may have for an option's values, with their name."""
    match kind:
        case click.types.IntParamType():
            return (int,), "an integer"
        case click.types.FloatParamType():
            return (int, float), "a number"
        case click.Choice() | click.Path() | click.types.StringParamType():
            return (str,), "a text in quotes"
        case _:
            return (str, int, float), "a number, or a text in quotes"


def _refused(key: str) -> str:
    """Why no file may have `key`; "" if that is not the reason."""
    if key == "on-finish":
        # Who runs the jobs of a folder that is not his own does not expect its programs to run too.
        return "no command is run because a file says so; give --on-finish, or set VENICE_BATCH_ON_FINISH"
    if not _KEY_LIKE.search(key):
        return ""
    return "the API key does not go into a file of settings; set VENICE_API_KEY, or give its own file by --api-key-file"


def _nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"


def _mistake(file: SettingsFile, keys: tuple[str, ...], what: str) -> UsageError:
    return UsageError(one_line(f"{file.where(keys)}: {'.'.join(keys)}: {what}"))


def _commands() -> Collection[str]:
    from venice_batch.cli.commands import COMMANDS

    return COMMANDS


def command_named(name: str) -> Command:
    """The subcommand of that name."""
    from venice_batch.cli.command import Command
    from venice_batch.cli.commands import cli

    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, Command)  # noqa: S101 - told to the type checker; a test sees that all are
    return found
