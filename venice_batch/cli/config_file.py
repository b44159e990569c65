"""Settings files: where they are looked for, what stands in them, which of them may be obeyed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venice_batch.errors import FolderError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "venice-batch.toml"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One file; `path` is as messages show it, relative for a file in the current folder.

    `is_project` marks a file that was found beside the jobs: anybody may have written it, so it decides neither where
    the key goes nor what is written elsewhere. `sha256` is of its bytes.
    """

    path: Path
    text: str
    tables: Mapping[str, Any]
    is_project: bool = False
    sha256: str = ""

    def where(self, keys: tuple[str, ...]) -> str:
        """`path:line` of the value (or table) under `keys`; the path alone where no line is its own."""
        line = next((line for found, line in _statements(self.text) if found[: len(keys)] == keys), None)
        return f"{self.path}:{line}" if line else str(self.path)


def files(
    config: str | None = None, no_config: bool = False, environment: Mapping[str, str] = os.environ
) -> tuple[SettingsFile, ...]:
    """The files that count, the weaker first: the user's own, then the project's; or `config` alone.

    Raises:
        UsageError: one cannot be read or is not TOML, or others than the user may have written the project's.
    """
    if config is not None and no_config:
        raise UsageError("--config and --no-config exclude each other")
    if config is not None:
        return (read(Path(config)),)
    if no_config:
        return ()
    own, project = of_user(environment), None
    with suppress(FileNotFoundError):  # a current folder that was removed
        project = of_project(Path.cwd(), _home())
    found = [read(own)] if own is not None else []
    return (*found, read(project, is_project=True)) if project is not None else tuple(found)


def of_user(environment: Mapping[str, str]) -> Path | None:
    """The user's own file, `$XDG_CONFIG_HOME/venice-batch/config.toml`, by default below `~/.config`."""
    path = _of_base_directory(environment, "XDG_CONFIG_HOME", ".config", "config.toml")
    return path if path is not None and path.is_file() else None


def _of_base_directory(environment: Mapping[str, str], variable: str, usual: str, name: str) -> Path | None:
    """Return the program's file `name` by the XDG Base Directory Specification; None for a user without a home."""
    folder = environment.get(variable, "")
    if not os.path.isabs(folder):  # the specification: anything else is to be ignored
        home = _home()
        if home is None:
            return None
        folder = str(home / usual)
    return Path(folder) / "venice-batch" / name


def of_project(folder: Path, home: Path | None) -> Path | None:
    """The nearest `venice-batch.toml` in `folder` or above it.

    The search ends at a repository's root, at the home folder, and before a folder that everybody may write to, which
    is searched only if it is the current one: `read` refuses what it finds there.
    """
    for candidate in (folder, *folder.parents):
        if candidate != folder and _open_to_all(candidate):
            return None
        if (candidate / NAME).is_file():
            return Path(NAME) if candidate == folder else candidate / NAME
        if candidate == home or (candidate / ".git").exists():
            return None
    return None


def read(path: Path, *, is_project: bool = False) -> SettingsFile:
    """Read the file at `path`.

    Raises:
        UsageError: it cannot be read or is not TOML, or it is a project's and others than the user may have written it.
    """
    import tomllib  # late: most runs have no such file

    try:
        with path.open("rb") as file:
            if is_project and (why := _open_to_others(path, os.fstat(file.fileno()))):
                by_hand = f"--config {path} if these settings are yours, else --no-config"
                raise UsageError(one_line(f"{path}: not obeyed, as {why}; give {by_hand}"))
            data = file.read()
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        found = SettingsFile(path, text, tomllib.loads(text), is_project, hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"{path}: is not valid TOML: nested too deeply") from None
    except ValueError as error:  # beside the parser's own, that of Python for an integer of thousands of digits
        raise UsageError(f"{path}: is not valid TOML: {error}") from None
    if "\\u0000" in json.dumps(found.tables, default=str):
        raise UsageError(f"{path}: a value holds a NUL character, which no path and no option has")
    return found


def _open_to_others(path: Path, status: os.stat_result) -> str:
    """Return why somebody else may have written the open file at `path`; "" if only the user or root may have."""
    trusted = (os.geteuid(), 0)
    if status.st_uid not in trusted or path.lstat().st_uid not in trusted:
        return "it belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if _open_to_all(path.parent):
        return "everybody may write to its folder"
    return ""


def is_trusted(file: SettingsFile, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the user has consented to the server that `file` names, with the content that it has now."""
    return _consents(environment).get(os.path.realpath(file.path)) == file.sha256


def remember(file: SettingsFile, environment: Mapping[str, str] = os.environ, *, trusted: bool) -> None:
    """Record that the user consents to `file` as it is, or no longer does; readable by the user alone.

    Raises:
        FolderError: there is no folder for it, or it cannot be written.
    """
    import json

    store = _store(environment)
    if store is None:
        raise FolderError(Path("~/.local/state"), "there is no home folder; set XDG_STATE_HOME to a folder of yours")
    known = _consents(environment)
    known.pop(os.path.realpath(file.path), None)
    if trusted:
        known[os.path.realpath(file.path)] = file.sha256
    part = ""
    try:
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".trusted-", dir=store.parent)  # mode 0600
        with os.fdopen(handle, "w") as written:
            json.dump(known, written, indent=0)
        os.replace(part, store)
    except OSError as error:
        with suppress(OSError):
            os.unlink(part)
        raise FolderError(store, f"cannot be written: {error.strerror}") from None


def _consents(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each trusted file by its absolute path; none where somebody else may have written that."""
    import json

    store = _store(environment)
    try:
        if store is None or store.stat().st_uid != os.geteuid() or store.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return {}
        found = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    return {path: digest for path, digest in found.items() if isinstance(digest, str)} if type(found) is dict else {}


def _store(environment: Mapping[str, str]) -> Path | None:
    """Return the file that consents are kept in, `$XDG_STATE_HOME/venice-batch/trusted.json`."""
    return _of_base_directory(environment, "XDG_STATE_HOME", ".local/state", "trusted.json")


def _statements(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each key that the file gives, with the line on which its statement begins.

    The parser tells no positions; but a statement is the fewest lines that parse on their own.
    """
    import tomllib

    table: tuple[str, ...] = ()
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        lines.append(line)
        try:
            parsed = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError:
            continue
        begins, is_header = number - len(lines) + 1, lines[0].lstrip().startswith("[")
        lines = []
        if is_header:
            table = next(_paths(parsed))
            yield table, begins
        else:
            yield from ((table + path, begins) for path in _paths(parsed))


def _paths(value: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from ((key, *path) for path in _paths(inner))
        else:
            yield (key,)


def _open_to_all(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a user without a home
        return None
