"""An image's recipe as XMP: words that other programs show, and the whole job for `jobs-from`.

Sources: ISO 16684-1 (XMP), and the IPTC Photo Metadata Standard 2025.1 with its vocabulary of digital source types.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from venice_batch.errors import EmbedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "venice": "urn:venice-batch:recipe:",
}
_JOB = f"{_SPACES['venice']} job"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_DEEPEST = 100


class Words(NamedTuple):
    """What a packet says.

    `source_type` is a term of IPTC's vocabulary, such as `trainedAlgorithmicMedia`; `tool` the program that wrote the
    image, `system` the model, `job` everything that `jobs-from` needs, as JSON. Empty ones are left out.
    """

    source_type: str
    tool: str
    prompt: str = ""
    system: str = ""
    job: str = ""


def with_words(packet: bytes, words: Words) -> bytes:
    """Return an XMP packet that says this, in addition to what `packet` (which may be empty) says already.

    A property that is there already keeps its value, except for the job.

    Raises:
        EmbedError: `packet` cannot be read.
    """
    properties = _properties(words)
    if not packet:
        inside = _description(properties)
        text = (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
            f'<rdf:RDF xmlns:rdf="{_RDF}">\n{inside}</rdf:RDF>\n'
            '</x:xmpmeta>\n<?xpacket end="w"?>'
        )
        return text.encode()
    found = _Found.of(packet)
    if found is None or found.end is None:
        raise EmbedError("its XMP is damaged")
    if found.job_start is None:  # no job, or one in the short form of an attribute, which nobody writes
        found.names.discard((_SPACES["venice"], "job"))
    missing = {name: text for name, text in properties.items() if name not in found.names}
    packet = packet[: found.end] + (_description(missing).encode() if missing else b"") + packet[found.end :]
    if words.job and found.job_start is not None and found.job_end is not None:  # it stands before what was added
        packet = packet[: found.job_start] + _job_element(words.job).encode() + packet[found.job_end :]
    return packet


def job_of(packet: bytes) -> str:
    """Return the job that a packet holds, as JSON; "" if it holds none or cannot be read."""
    found = _Found.of(packet)
    return "" if found is None else found.job


def _properties(words: Words) -> dict[tuple[str, str], str]:
    """Return the elements to write, by namespace and name."""
    own = {
        ("Iptc4xmpExt", "DigitalSourceType"): _SOURCE_TYPE + words.source_type,
        ("Iptc4xmpExt", "AISystemUsed"): words.system,
        ("Iptc4xmpExt", "AIPromptInformation"): words.prompt,
        ("dc", "description"): words.prompt,
        ("xmp", "CreatorTool"): words.tool,
        ("venice", "job"): words.job,
    }
    return {(_SPACES[space], name): f"{space}:{name}\n{text}" for (space, name), text in own.items() if text}


def _job_element(text: str) -> str:
    return f'<venice:job xmlns:venice="{_SPACES["venice"]}">{_escaped(text)}</venice:job>'


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _description(properties: Mapping[tuple[str, str], str]) -> str:
    spaces = "".join(f' xmlns:{prefix}="{space}"' for prefix, space in _SPACES.items())
    lines = [f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about=""{spaces}>']
    for entry in properties.values():
        name, _, text = entry.partition("\n")
        content = _escaped(text)
        if name == "venice:job":
            lines.append(_job_element(text))
            continue
        if name == "dc:description":
            content = f'<rdf:Alt><rdf:li xml:lang="x-default">{content}</rdf:li></rdf:Alt>'
        lines.append(f"<{name}>{content}</{name}>")
    return "\n".join([*lines, "</rdf:Description>\n"])


class _Found:
    """What a packet holds: its properties' names, its job, and where in the bytes new properties can go."""

    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()
        self.end: int | None = None
        self.job_start: int | None = None
        self.job_end: int | None = None
        self._job: list[str] = []
        self._path: list[str] = []
        self._is_open = False
        self._packet = b""
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._stop
        parser.CharacterDataHandler = self._text
        # Nobody writes a document type into XMP, except to blow it up.
        parser.StartDoctypeDeclHandler = self._refuse

    @classmethod
    def of(cls, packet: bytes) -> _Found | None:
        """Return what the packet holds; None if it is no XML in UTF-8, or was made to waste time."""
        found = cls()
        found._packet = packet.rstrip(b"\0")
        try:
            found._packet.decode()
            found._parser.Parse(found._packet, True)
        except (expat.ExpatError, UnicodeDecodeError, _RefusedError):
            return None
        return None if b"\0" in found._packet else found

    @property
    def job(self) -> str:
        """The job as JSON; "" if there is none."""
        return "".join(self._job)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise _RefusedError
        if len(self._path) > 1 and self._path[-2] == f"{_RDF} Description":
            self._note(name)
            if name == _JOB and not self._job:
                self._is_open, self.job_start = True, self._parser.CurrentByteIndex
        elif name == f"{_RDF} Description":
            for attribute in attributes:
                self._note(attribute)

    def _note(self, name: str) -> None:
        space, _, local = name.rpartition(" ")
        self.names.add((space, local))

    def _stop(self, name: str) -> None:
        if self._is_open and name == _JOB:
            self._is_open = False
            at = self._parser.CurrentByteIndex  # of `</job>`, or behind `<job/>`
            self.job_end = self._packet.index(b">", at) + 1 if self._packet.startswith(b"</", at) else at
        if name == f"{_RDF} RDF" and self._packet.startswith(b"</", self._parser.CurrentByteIndex):
            self.end = self._parser.CurrentByteIndex
        self._path.pop()

    def _text(self, text: str) -> None:
        if self._is_open:
            self._job.append(text)

    def _refuse(self, *declaration: object) -> None:
        raise _RefusedError


class _RefusedError(Exception):
    pass
