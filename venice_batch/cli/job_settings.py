"""What settings files say about jobs: `[defaults]`, `[map]`, and the prompt sets of `[from.NAME]`."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from venice_batch.cli.config_file import SettingsFile
    from venice_batch.jobfile.sets import PromptSet

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


class Layer(NamedTuple):
    """A file's own tables, or those of a profile in it; `prefix` is where they stand."""

    file: SettingsFile
    prefix: tuple[str, ...]
    tables: Mapping[str, Any]


def job_fields(layer: Layer, *, allow_unknown: bool) -> dict[tuple[str, ...], Setting]:
    found = {}
    for keys, own_keys, value in _for_jobs(layer):
        found[keys] = setting = Setting(value, layer.file, (*layer.prefix, "defaults", *own_keys))
        if what := forbidden(keys[-1]):
            raise mistake(layer.file, setting.keys, what)
        check_job_field(keys, setting, allow_unknown=allow_unknown)
        pictures = _single_values(value) if keys[-1] in _PICTURES and keys[0] != "vars" else []
        if layer.file.is_project and not all(_is_own_picture(layer.file, picture) for picture in pictures):
            what = "leads out of the folder of the project's file; name it in the jobs"
            raise mistake(layer.file, setting.keys, what)
    for keys in found:
        if keys[0] == "matrix" and keys[1:] in found:
            raise mistake(layer.file, found[keys].keys, "has a value in [defaults] too; keep one of them")
    return found


def _for_jobs(layer: Layer) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Any]]:
    """Yield the keys (as `Settled` has them, and as the file does) and the value of everything in `[defaults]`.

    `models` is `model` by another name: TOML allows no table `model` beside a default model.
    """

    def tables(name: str, found: object, form: str) -> Mapping[str, Any]:
        if isinstance(found, dict) and found:
            return found
        raise mistake(layer.file, (*layer.prefix, "defaults", name), f"expected a table, as in {form}")

    for name, value in layer.tables.get("defaults", {}).items():
        if name in ("matrix", "vars"):
            form = "[defaults.matrix] seed = [1, 2]" if name == "matrix" else '[defaults.vars] subject = ["cat", "dog"]'
            for key, values in tables(name, value, form).items():
                yield (name, key), (name, key), values
        elif name == "models" or (name == "model" and isinstance(value, dict)):
            form = '[defaults.model."NAME"] width = 768'
            for model, table in tables(name, value, form).items():
                for key, one in tables(f"{name}.{model}", table, form).items():
                    yield ("model", model, key), (name, model, key), one
        else:
            yield (name,), (name,), value


def _single_values(value: object) -> list[object]:
    """Return a value, or all those in a list of lists."""
    return [one for item in value for one in _single_values(item)] if isinstance(value, list) else [value]


def _is_own_picture(file: SettingsFile, value: object) -> bool:
    """Return whether a picture is not a file, or one below the folder of `file` (of the jobs, if it is relative)."""
    from venice_batch.jobfile.pictures import local_file

    path = local_file(value)[0]
    if path is None:
        return True
    is_climbing = not os.path.isabs(path) and ".." in Path(path).parts
    return not is_climbing and is_inside(file, file.path.parent / path)


def check_job_field(keys: tuple[str, ...], setting: Setting, *, allow_unknown: bool) -> None:
    import msgspec

    from venice_batch.jobfile.defaults import complaint
    from venice_batch.jobfile.variables import matrix_fault, variable_fault

    name, value = keys[-1], setting.value
    if keys[0] == "vars":
        what = variable_fault(name, value)
        wrong = (name, what) if what else None
    elif keys[0] == "matrix":
        wrong = matrix_fault(name, msgspec.to_builtins(value), allow_unknown=allow_unknown)
    elif len(keys) > 1 and name in ("model", "modelId"):
        wrong = name, "the table of a model cannot name another"
    else:
        wrong = complaint(name, value, allow_unknown=allow_unknown)
    if wrong:
        raise mistake(setting.file, (*setting.keys[:-1], wrong[0]), wrong[1])


def field_columns(layer: Layer) -> dict[str, Setting]:
    """Return the layer's `[map]`: for each field the name of a column, or a list. Raises UsageError."""
    from venice_batch.jobfile.sets import columns_fault

    found = {}
    for name, value in layer.tables.get("map", {}).items():
        found[name] = setting = Setting(value, layer.file, (*layer.prefix, "map", name))
        if what := columns_fault(name, value):
            raise mistake(layer.file, setting.keys, what)
    return found


def prompt_sets(file: SettingsFile) -> dict[str, PromptSet]:
    """Return the prompt sets of a file's `[from.NAME]`. Raises UsageError."""
    tables = file.tables.get("from", {})
    if not isinstance(tables, dict) or not tables:
        return {}  # `settings` reports what is no table
    from venice_batch.jobfile.sets import prompt_set

    try:
        return {name: prompt_set(name, table, str(file.path)) for name, table in tables.items()}
    except UsageError as error:
        raise UsageError(one_line(f"{file.path}: from.{error}")) from None


def is_inside(file: SettingsFile, path: Path) -> bool:
    """Return whether `path`, with all links followed, is below the folder of `file`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(file.path.parent))


def forbidden(key: str) -> str:
    """Return why no file may have `key`; "" if one may, or if the key is unknown."""
    if key == "on-finish":
        # Otherwise the owner of the jobs' folder could run programs as another user.
        return "a file cannot name a command to run; give --on-finish, or set VENICE_BATCH_ON_FINISH"
    if not _KEY_LIKE.search(key):
        return ""
    return "the API key must not be in a settings file; set VENICE_API_KEY, or give its own file with --api-key-file"


def nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the known ones are {', '.join(sorted(known))}"


def mistake(file: SettingsFile, keys: tuple[str, ...], what: str) -> UsageError:
    return UsageError(one_line(f"{file.path}: {'.'.join(keys)}: {what}"))
