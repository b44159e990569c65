"""Settings files: where they are, how they are read, and which of them the user trusts."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from venice_batch.errors import FolderError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "venice-batch.toml"
"""Name of a project's settings file."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One file; `path` is as messages show it, relative for a file in the current folder.

    `is_project` marks a file found beside the jobs. Anybody may have written it, so it can neither choose where the
    key goes nor have anything written outside its folder. `sha256` is the hash of its bytes.
    """

    path: Path
    tables: Mapping[str, Any]
    is_project: bool = False
    sha256: str = ""


def files(config: str | None = None, no_config: bool = False) -> tuple[SettingsFile, ...]:
    """Return the files to read, the weakest first: the user's own, then the project's; or `config` alone.

    Raises:
        UsageError: a file cannot be read or is not TOML, or somebody else may have written the project's.
    """
    if config is not None and no_config:
        raise UsageError("--config and --no-config exclude each other")
    if config is not None:
        return (read(Path(config)),)
    if no_config:
        return ()
    own, project = of_user(), None
    with suppress(FileNotFoundError):  # the current folder was removed
        project = of_project(Path.cwd(), _home())
    found = [read(own)] if own is not None else []
    return (*found, read(project, is_project=True)) if project is not None else tuple(found)


def of_user() -> Path | None:
    """Return the user's own file, `~/.config/venice-batch/config.toml`; None if it does not exist."""
    folder = _user_folder("config")
    path = folder and folder / "config.toml"
    return path if path and path.is_file() else None


def _user_folder(kind: Literal["config", "state"]) -> Path | None:
    """Return the program's folder by the XDG Base Directory Specification; None for a user without a home."""
    from platformdirs.unix import Unix  # its places on every system, as the docs name them

    try:
        folder = Unix("venice-batch").user_config_path if kind == "config" else Unix("venice-batch").user_state_path
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def of_project(folder: Path, home: Path | None) -> Path | None:
    """Return the nearest `venice-batch.toml` in `folder` or above it.

    The search ends at a repository's root, at `home`, and before a folder that everybody may write to. Such a folder is
    searched only if it is the current one, and `read` refuses the file in it.
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
        UsageError: it cannot be read or is not TOML, or it is a project's and somebody else may have written it.
    """
    import hashlib  # late: most runs have no such file
    import json
    import tomllib

    try:
        with path.open("rb") as file:
            if is_project and (why := _open_to_others(path, os.fstat(file.fileno()))):
                by_hand = f"--config {path} if these settings are yours, else --no-config"
                raise UsageError(one_line(f"{path}: not used, because {why}; give {by_hand}"))
            data = file.read()
        text = data.decode("utf-8-sig")
        found = SettingsFile(path, tomllib.loads(text), is_project, hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"{path}: is not valid TOML: nested too deeply") from None
    except ValueError as error:  # also Python's, for an integer of thousands of digits
        raise UsageError(f"{path}: is not valid TOML: {error}") from None
    if "\\u0000" in json.dumps(found.tables, default=str):
        raise UsageError(f"{path}: a value holds a NUL character, which no path or option can have")
    return found


def _open_to_others(path: Path, status: os.stat_result) -> str:
    """Return why somebody else may have written the open file at `path`; "" if only the user or root can have."""
    if not hasattr(os, "geteuid"):
        return ""  # Windows: Python sees neither owners nor write permissions
    trusted = (os.geteuid(), 0)
    if status.st_uid not in trusted or path.lstat().st_uid not in trusted:
        return "it belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if _open_to_all(path.parent):
        return "everybody may write to its folder"
    return ""


def is_trusted(file: SettingsFile) -> bool:
    """Return whether the user has consented to the server that `file` names, with its present content."""
    return _consents().get(os.path.realpath(file.path)) == file.sha256


def remember(file: SettingsFile, *, trusted: bool) -> None:
    """Record that the user consents to `file` as it is, or no longer does; only the user can read the record.

    Raises:
        FolderError: there is no folder for the record, or it cannot be written.
    """
    import json

    from venice_batch.output.atomic_file import whole_file

    store = _store()
    if store is None:
        raise FolderError(Path("~/.local/state"), "there is no home folder; set XDG_STATE_HOME to a folder of yours")
    known = _consents()
    known.pop(os.path.realpath(file.path), None)
    if trusted:
        known[os.path.realpath(file.path)] = file.sha256
    try:
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(store, f"cannot be written: {error.strerror}") from None
    with whole_file(store) as written:
        if hasattr(os, "fchmod"):
            os.fchmod(written.fileno(), 0o600)
        written.write(json.dumps(known, indent=0).encode())


def _consents() -> dict[str, str]:
    """Return the SHA-256 of each trusted file by its absolute path; empty if somebody else may have written it."""
    import json

    store = _store()
    try:
        if store is None or _is_others(store.stat()):
            return {}
        found = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    return {path: digest for path, digest in found.items() if isinstance(digest, str)} if type(found) is dict else {}


def _is_others(status: os.stat_result) -> bool:
    """Return whether somebody other than the user may have written a file with this status."""
    if not hasattr(os, "geteuid"):
        return False
    return status.st_uid != os.geteuid() or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _store() -> Path | None:
    """Return the file that records consents, `~/.local/state/venice-batch/trusted.json`."""
    folder = _user_folder("state")
    return folder and folder / "trusted.json"


def _open_to_all(folder: Path) -> bool:
    try:
        return hasattr(os, "geteuid") and bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a user without a home
        return None
