"""The journal of a bucket: records as segments that one run each writes once, and their compaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.bucket.store import Bucket

FOLDER = "journal"


class Journal:
    """Writes one run's records as segments `journal/<run>/<n>.jsonl`. Calls block; any thread may make them.

    When `write` returns, the records are in the bucket and survive the death of the machine.
    """

    def __init__(self, bucket: Bucket, run_id: str) -> None:
        """Prepare; nothing is sent before the first `write`."""
        raise NotImplementedError

    def write(self, lines: bytes) -> None:
        """Store whole lines, each with its line feed, as one segment (one PUT).

        Raises:
            BucketError: it is not known to be stored. Its number is not used again, so a late arrival harms nothing.
        """
        raise NotImplementedError

    def compact(self) -> None:
        """Join the run's segments into one and delete them; call it at the end of the run. Raises BucketError."""
        raise NotImplementedError


def copy(bucket: Bucket, target: BinaryIO) -> int:
    """Write all records of a bucket to the seekable file `target`, oldest run first; return their bytes.

    Raises:
        BucketError: the store refused, or cannot be reached.
        OSError: the file cannot be written.
    """
    raise NotImplementedError


def read(bucket: Bucket) -> Iterator[bytes]:
    """Yield all records of a bucket as lines, oldest run first. Raises as `copy` does."""
    raise NotImplementedError
