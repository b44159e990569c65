"""Small pictures for the tests of what is sent along."""

from __future__ import annotations

import io

from PIL import Image


def picture(width: int = 320, height: int = 240, *, kind: str = "PNG", colour: str = "#c03020") -> bytes:
    """A picture of one colour, whole and valid; another colour is another content."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, kind)
    return out.getvalue()
