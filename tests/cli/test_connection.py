"""A command's connection to the API."""

from venice_batch.cli.connection import NoKey


def test_no_key_is_sent_as_nothing_and_hides_nothing():
    key = NoKey()
    assert (key.header(), key.redact("none"), key.redact_bytes(b"none")) == ("", "none", b"none")
