"""How a finished file gets its name without taking another's."""

from __future__ import annotations

import errno
import os

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links (FAT, some network shares) answer to a link."""


def put(part: str, target: str) -> None:
    """Give `part` the name `target`; raises FileExistsError where anything stands, even a dangling symlink."""
    try:
        # Not a rename, which would overwrite.
        os.link(part, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        os.replace(part, target)
    else:
        os.unlink(part)
