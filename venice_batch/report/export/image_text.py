"""The texts inside image files: found and replaced byte by byte, without touching the pixels.

PNG keeps texts in chunks, JPEG in segments, WebP in chunks of its own. Files may come from anybody: what is read is
bounded, and lengths are checked before they are used.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import EmbedError
from venice_batch.image_format import START_BYTES, format_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


MAX_TEXT_BYTES = 256 * 1024
"""The longest text that is read from a file, compressed or not."""

_MOST_PARTS = 200_000
"""A file of more chunks or segments was made to waste time."""

_MOST_TEXTS = 16
"""Chunks of a PNG that are tried for its two texts: each may be a small one that unpacks to a long text."""

_PARAMETERS = b"parameters"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONGEST_SEGMENT = 0xFFFF - 2
_ALPHA, _HAS_EXIF, _HAS_XMP = 0x10, 0x08, 0x04
_LARGEST_FILE = 0xFFFF_FFFE


class Texts(NamedTuple):
    """An image's texts: the `parameters` of a PNG as A1111 writes them, EXIF as a TIFF structure, an XMP packet."""

    parameters: str = ""
    exif: bytes = b""
    xmp: bytes = b""


def read_texts(file: BinaryIO) -> Texts:
    """Return the texts of the image that `file` holds; empty ones for a damaged file or another format.

    Of several texts of a kind the first counts. Texts longer than `MAX_TEXT_BYTES` are passed over.
    """
    file.seek(0)
    read = _READ.get(format_of(file.read(START_BYTES)) or "")
    return Texts() if read is None else read(file)


def with_texts(data: bytes, texts: Texts) -> bytes:
    """Return the image with these texts in place of earlier ones of the same kind; an empty one changes nothing.

    Everything else stays byte for byte. Only PNG keeps `parameters`; elsewhere they are ignored.

    Raises:
        EmbedError: the format has no place for texts, a text is too long for it, or the file is damaged.
    """
    name = format_of(data[:START_BYTES])
    write = _WRITE.get(name or "")
    if write is None:
        raise EmbedError(f"{(name or 'unknown').upper()} has no place for a recipe")
    return write(data, texts)


# PNG: https://www.w3.org/TR/png-3/


def _read_png(file: BinaryIO) -> Texts:
    parameters, exif, xmp = "", b"", b""
    tried, at = 0, 8
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4])
        if len(head) < 8 or head[4:] == b"IEND" or (parameters and xmp):
            break
        if length <= MAX_TEXT_BYTES and head[4:] in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            body = file.read(length)
            if head[4:] == b"eXIf":
                exif = exif or body
            elif tried < _MOST_TEXTS and (keyword := _keyword(body)) in (_PARAMETERS, _XMP_KEYWORD):
                tried += 1
                if keyword == _PARAMETERS:
                    parameters = parameters or _png_text(head[4:], body)
                else:
                    xmp = xmp or _png_text(head[4:], body).encode()
        at += 12 + length
    return Texts(parameters, exif, xmp)


def _keyword(body: bytes) -> bytes:
    return body[:80].partition(b"\0")[0]


def _png_text(kind: bytes, body: bytes) -> str:
    """Return the text of a chunk; "" for a damaged one, and for one that unpacks to too much."""
    _, _, rest = body.partition(b"\0")
    try:
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"zTXt":
            return _unpacked(rest[1:]).decode("latin-1")
        is_packed, _, rest = rest[0], rest[1], rest[2:]
        _, _, rest = rest.partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        return (_unpacked(rest) if is_packed else rest).decode()
    except (IndexError, UnicodeDecodeError, zlib.error):
        return ""


def _unpacked(data: bytes) -> bytes:
    """Return the decompressed data; raise zlib.error if there is more of it than `MAX_TEXT_BYTES`."""
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MAX_TEXT_BYTES)
    if not unpacker.eof:
        raise zlib.error("too long, or cut short")
    return text


def _write_png(data: bytes, texts: Texts) -> bytes:
    replaced, added = set[bytes](), list[bytes]()
    if texts.exif:
        replaced.add(b"eXIf")
        added.append(_png_chunk(b"eXIf", texts.exif))
    if texts.parameters:
        replaced.add(_PARAMETERS)
        added.append(_png_chunk(*_parameters_chunk(texts.parameters)))
    if texts.xmp:
        replaced.add(_XMP_KEYWORD)
        added.append(_png_chunk(b"iTXt", _XMP_KEYWORD + b"\0" * 5 + texts.xmp))
    pieces = [data[:8]]
    for kind, start, end in _png_chunks(data):
        name = _keyword(data[start + 8 : start + 88]) if kind in (b"tEXt", b"zTXt", b"iTXt") else kind
        if name not in replaced:
            pieces.append(data[start:end])
        if kind == b"IHDR":
            pieces += added
        if kind == b"IEND":
            pieces.append(data[end:])
    return b"".join(pieces)


def _parameters_chunk(text: str) -> tuple[bytes, bytes]:
    """Return type and body of the chunk, as A1111 chooses them: Latin-1 where that will do, else UTF-8."""
    try:
        return b"tEXt", _PARAMETERS + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", _PARAMETERS + b"\0" * 5 + text.encode()


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type with its start and end, up to the last chunk. Raises EmbedError."""
    at = 8
    for number in range(_MOST_PARTS):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data) or (number == 0) != (kind == b"IHDR"):
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise EmbedError("the PNG file is damaged")


# JPEG: ITU-T T.81, B.1.1.4; the places of EXIF and XMP: CIPA DC-008, ISO 16684-3


def _read_jpeg(file: BinaryIO) -> Texts:
    exif, xmp = b"", b""
    at = 2
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        if head[1] == 0xFF:
            at += 1
            continue
        if _stands_alone(head[1]):
            at += 2
            continue
        length = int.from_bytes(head[2:])
        if head[1] == 0xE1:
            body = file.read(max(0, length - 2))
            exif = exif or _behind(_EXIF, body)
            xmp = xmp or _behind(_XMP, body)
        at += 2 + length
    return Texts("", exif, xmp)


def _stands_alone(marker: int) -> bool:
    return marker == 1 or 0xD0 <= marker <= 0xD8


def _behind(prefix: bytes, body: bytes) -> bytes:
    return body[len(prefix) :] if body.startswith(prefix) else b""


def _write_jpeg(data: bytes, texts: Texts) -> bytes:
    added, replaced = [], []
    for prefix, text in ((_EXIF, texts.exif), (_XMP, texts.xmp)):
        if text:
            replaced.append(prefix)
            added.append(_jpeg_segment(prefix + text))
    pieces, before = [data[:2]], list[bytes]()
    at = 2
    for start, body, end in _jpeg_segments(data):
        segment = data[start:end]
        if data[body - 3] == 0xE0 and not pieces[1:]:
            before.append(segment)  # JFIF stays in front, where its readers look for it
        elif data[body - 3] != 0xE1 or not any(data.startswith(prefix, body) for prefix in replaced):
            pieces.append(segment)
        at = end
    return b"".join([pieces[0], *before, *added, *pieces[1:], data[at:]])


def _jpeg_segment(body: bytes) -> bytes:
    if len(body) > _LONGEST_SEGMENT:
        raise EmbedError(f"the recipe is too long for JPEG, which holds {_LONGEST_SEGMENT:,} bytes")
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the start, body and end of each segment in front of the pixels. Raises EmbedError."""
    start = at = 2
    for _ in range(_MOST_PARTS):
        marker = data[at : at + 2]
        if len(marker) < 2 or marker[0] != 0xFF:
            break
        if marker[1] == 0xFF:  # padding, which goes with the segment behind it
            at += 1
            continue
        if marker[1] == 0xDA:
            return
        end = at + 2 if _stands_alone(marker[1]) else at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker[1] == 0xD9 or end > len(data) or (end < at + 4 and not _stands_alone(marker[1])):
            break
        if not _stands_alone(marker[1]):
            yield start, at + 4, end
            start = end
        at = end
    raise EmbedError("the JPEG file is damaged")


# WebP: RFC 9649


def _read_webp(file: BinaryIO) -> Texts:
    exif, xmp = b"", b""
    at = 12
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        if length <= MAX_TEXT_BYTES and head[:4] in (b"EXIF", b"XMP "):
            body = file.read(length)
            if head[:4] == b"EXIF":
                exif = exif or body.removeprefix(_EXIF)
            else:
                xmp = xmp or body
        at += 8 + length + length % 2
    return Texts("", exif, xmp)


def _write_webp(data: bytes, texts: Texts) -> bytes:
    end = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_webp_chunks(data, end))
    if not chunks or chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _extended(chunks)))
    replaced, flags = set(), chunks[0][1][0]
    added = []
    for kind, text, flag in ((b"EXIF", texts.exif, _HAS_EXIF), (b"XMP ", texts.xmp, _HAS_XMP)):
        if text:
            replaced.add(kind)
            added.append((kind, text))
            flags |= flag
    if b"EXIF" in replaced and b"XMP " not in replaced:  # EXIF stands in front of XMP
        kept = [chunk for chunk in chunks if chunk[0] == b"XMP "]
        chunks = [chunk for chunk in chunks if chunk[0] != b"XMP "]
        added += kept
    chunks = [(b"VP8X", bytes((flags,)) + chunks[0][1][1:]), *chunks[1:]]
    chunks = [chunk for chunk in chunks if chunk[0] not in replaced] + added
    body = b"".join(_webp_chunk(kind, text) for kind, text in chunks)
    if len(body) + 4 > _LARGEST_FILE:
        raise EmbedError("the WebP file would be too large")
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body + data[end:]


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _webp_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and body. Raises EmbedError."""
    at = 12
    for _ in range(_MOST_PARTS):
        if at >= min(end, len(data)):
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > min(end, len(data)):
            break
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise EmbedError("the WebP file is damaged")


def _extended(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return the body of the header that a simple file lacks; texts need it. Raises EmbedError."""
    kind, body = chunks[0] if chunks else (b"", b"")
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        flags = 0
    elif kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        packed = int.from_bytes(body[1:5], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        flags = _ALPHA if packed >> 28 & 1 else 0
    else:
        raise EmbedError("the WebP file is damaged")
    if not width or not height:
        raise EmbedError("the WebP file is damaged")
    return bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


_READ = {"png": _read_png, "jpeg": _read_jpeg, "webp": _read_webp}
_WRITE = {"png": _write_png, "jpeg": _write_jpeg, "webp": _write_webp}
