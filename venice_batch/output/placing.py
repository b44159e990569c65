"""How a finished file gets its name without taking another's."""

from __future__ import annotations

import errno
import os
import stat
import threading

NOT_THE_NAME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Refusals that another name, or another way to give it, would meet too."""

_reserving = threading.Lock()
"""Held while a name is reserved and not yet replaced: another thread's reservation looks like a left-over."""


def put(part: str, target: str) -> None:
    """Give `part` the name `target`; what stands there already stays, unless it is an empty plain file.

    An empty file is a name that a killed run had reserved: no run records one. Where hard links are refused, for
    whatever reason, the name is reserved first and then replaced.

    Raises:
        FileExistsError: something stands there, be it a dangling symlink.
        OSError: neither way works; `part` is as it was, and nothing has the name.
    """
    try:
        # Not a rename, which would overwrite.
        os.link(part, target, follow_symlinks=False)
    except FileExistsError:
        with _reserving:
            if not _is_reserved(target):
                raise
            os.replace(part, target)
    except OSError as error:
        if error.errno in NOT_THE_NAME:
            raise
        with _reserving:
            _reserve_and_replace(part, target)
    else:
        os.unlink(part)


def _reserve_and_replace(part: str, target: str) -> None:
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        if not _is_reserved(target):
            raise
    try:
        os.replace(part, target)
    except OSError:
        os.unlink(target)
        raise


def _is_reserved(target: str) -> bool:
    found = os.lstat(target)
    return stat.S_ISREG(found.st_mode) and not found.st_size
