"""XMP packets: words added to those that are there; nothing in them blows up."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import EmbedError
from venice_batch.report.export.xmp import Words, job_of, with_words

WORDS = Words("trainedAlgorithmicMedia", "tool", "a <cat>", "m", '{"id": "a"}')
FOREIGN = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:z="http://ns.adobe.com/xap/1.0/"
 z:CreatorTool="theirs">
<dc:description><r:Alt><r:li xml:lang="x-default">their words</r:li></r:Alt></dc:description>
</r:Description></r:RDF></x:xmpmeta>"""
DC = "{http://purl.org/dc/elements/1.1/}description"


def test_a_packet_of_others_keeps_its_words():
    packet = with_words(FOREIGN, WORDS)
    assert job_of(packet) == '{"id": "a"}'
    found = ET.fromstring(packet)
    assert ["".join(each.itertext()) for each in found.iter(DC)] == ["their words"]
    assert b"theirs" in packet
    assert b">tool<" not in packet
    assert packet.count(b"trainedAlgorithmicMedia") == 1
    assert packet.startswith(FOREIGN[: FOREIGN.index(b"</r:RDF>")])


def test_a_second_job_takes_the_place_of_the_first():
    once = with_words(b"", WORDS)
    twice = with_words(once, WORDS._replace(job='{"id": "b"}'))
    assert job_of(twice) == '{"id": "b"}'
    assert len(twice) == len(once)
    assert with_words(twice, WORDS._replace(job="")) == twice
    ET.fromstring(twice)


def test_a_job_in_other_words_is_replaced_too():
    short = FOREIGN.replace(b"<dc:description>", b'<v:job xmlns:v="urn:venice-batch:recipe:"/><dc:description>')
    assert job_of(short) == ""
    assert job_of(with_words(short, WORDS)) == '{"id": "a"}'
    attribute = FOREIGN.replace(b"z:CreatorTool", b'xmlns:v="urn:venice-batch:recipe:" v:job="x" z:CreatorTool')
    assert job_of(with_words(attribute, WORDS)) == '{"id": "a"}'


@pytest.mark.parametrize(
    "packet",
    [
        b"no xml",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        FOREIGN.decode().encode("utf-16"),
        b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        b"<a>" * 1_000 + b"</a>" * 1_000,
        FOREIGN[:-20],
        b"\xff",
    ],
)
def test_damaged_and_hostile_packets_are_refused(packet):
    assert job_of(packet) == ""
    with pytest.raises(EmbedError, match="its XMP is damaged"):
        with_words(packet, WORDS)


@given(st.text())
def test_any_words_make_xml(text):
    packet = with_words(b"", Words("algorithmicMedia", "t", text, text, text))
    ET.fromstring(packet)
    assert len(job_of(packet)) == len(text)


def test_padding_behind_a_packet_is_no_damage():
    assert job_of(with_words(b"", WORDS) + bytes(20)) == '{"id": "a"}'
