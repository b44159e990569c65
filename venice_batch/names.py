"""File names that are safe on every system, made from job ids."""

from __future__ import annotations

import hashlib
import re
import unicodedata

LONGEST_BYTES = 180
"""Leaves room within the usual 255 bytes for a variant's number, an extension and the temporary name."""

SHORTEST_BYTES = 60
"""Fits wherever a temporary name does."""

_NOT_PLAIN = re.compile("[^A-Za-z0-9_-]+")
_UNSAFE = re.compile(
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]'
)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)")


def safe_name(job_id: str) -> str:
    """A file name's stem for `job_id`: itself when it is safe everywhere, else cleaned with a digest added.

    No path can be escaped by it: separators, control characters and leading dots are replaced, Windows'
    reserved names and trailing dots avoided (Microsoft, "Naming Files, Paths, and Namespaces"), and it is at most
    `LONGEST_BYTES` long in UTF-8. Distinct ids give distinct names: it takes an id made to look like another's
    digest to meet it, and on some systems two that differ only in case.
    """
    name = unicodedata.normalize("NFC", job_id)
    name = _UNSAFE.sub("_", name)
    if name.startswith((".", "~", "-", " ")) or _RESERVED.match(name) or not name:
        name = "_" + name
    if name.endswith((".", " ")):
        name = name[:-1] + "_"
    if name == job_id and len(name.encode()) <= LONGEST_BYTES:
        return name
    return with_digest(name, job_id)


def with_digest(name: str, job_id: str) -> str:
    """`name`, cut to fit, with twelve hex digits that tell `job_id` from every other id."""
    digest = hashlib.blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    room = name.encode("utf-8", "replace")[: LONGEST_BYTES - 13]
    return f"{room.decode('utf-8', 'ignore').rstrip(' .')}-{digest}"


def short_name(name: str) -> str:
    """A name of at most `SHORTEST_BYTES` plain letters and digits for one that a disk refuses; tells it by a digest."""
    return with_digest(_NOT_PLAIN.sub("_", name)[: SHORTEST_BYTES - 13], name)


def case_key(name: str) -> str:
    """Equal for two names that a case-insensitive or normalising file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
