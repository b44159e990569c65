"""A command's connection to the API."""

from venice_batch.cli.connection import NoKey


def test_a_missing_key_sends_nothing_and_redacts_nothing():
    key = NoKey()
    assert (key.header(), key.redact("none"), key.redact_bytes(b"none")) == ("", "none", b"none")
