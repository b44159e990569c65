"""Settings files: where they are looked for, what stands in them."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "venice-batch.toml"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One file; `path` is as messages show it, relative for a file in the current folder."""

    path: Path
    text: str
    tables: Mapping[str, Any]

    def where(self, keys: tuple[str, ...]) -> str:
        """`path:line` of the value (or table) under `keys`; the path alone where no line is its own."""
        line = next((line for found, line in _statements(self.text) if found[: len(keys)] == keys), None)
        return f"{self.path}:{line}" if line else str(self.path)


def files(
    config: str | None = None, no_config: bool = False, environment: Mapping[str, str] = os.environ
) -> tuple[SettingsFile, ...]:
    """The files that count, the weaker first: the user's own, then the project's; or `config` alone.

    Raises:
        UsageError: one cannot be read or is not TOML.
    """
    if config is not None and no_config:
        raise UsageError("--config and --no-config exclude each other")
    if config is not None:
        return (read(Path(config)),)
    if no_config:
        return ()
    found = [of_user(environment)]
    with suppress(FileNotFoundError):  # a current folder that was removed
        found.append(of_project(Path.cwd(), _home()))
    return tuple(read(path) for path in found if path is not None)


def of_user(environment: Mapping[str, str]) -> Path | None:
    """The user's own file, `$XDG_CONFIG_HOME/venice-batch/config.toml`, by default below `~/.config`."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = _home()
    if not os.path.isabs(folder):  # the specification: anything else is to be ignored
        if home is None:
            return None
        folder = str(home / ".config")
    path = Path(folder) / "venice-batch" / "config.toml"
    return path if path.is_file() else None


def of_project(folder: Path, home: Path | None) -> Path | None:
    """The nearest `venice-batch.toml` in `folder` or above it.

    The search ends at a repository's root, at the home folder, and before a folder that everybody may write to: what
    others leave in /tmp must not decide where the key is sent.
    """
    for candidate in (folder, *folder.parents):
        if candidate != folder and _open_to_all(candidate):
            return None
        if (candidate / NAME).is_file():
            return Path(NAME) if candidate == folder else candidate / NAME
        if candidate == home or (candidate / ".git").exists():
            return None
    return None


def read(path: Path) -> SettingsFile:
    """The file at `path`.

    Raises:
        UsageError: it cannot be read or is not TOML.
    """
    import tomllib  # late: most runs have no such file

    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        found = SettingsFile(path, text, tomllib.loads(text))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is not valid TOML: {error}") from None
    if "\\u0000" in json.dumps(found.tables, default=str):
        raise UsageError(f"{path}: a value holds a NUL character, which no path and no option has")
    return found


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
