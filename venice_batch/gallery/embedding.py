"""Data as the text of a script element."""

from __future__ import annotations

import re

import msgspec
from markupsafe import Markup

_encoder = msgspec.json.Encoder()

# Of these only "<" can end a script element (HTML, "restrictions for contents of script elements"); the others keep
# the text whole in XHTML, in attributes and before readers that take U+2028 for the end of a line.
_ESCAPED = re.compile("[<>&\u2028\u2029]")


def script_json(value: object) -> Markup:
    """`value` as JSON that can stand in a `<script type="application/json">`, whatever its strings hold."""
    text = _encoder.encode(value).decode()
    return Markup(_ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text))  # noqa: S704 - escaped just here
