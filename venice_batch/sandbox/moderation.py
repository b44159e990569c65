"""Pretended content policy, steered by whole words in the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from venice_batch.sandbox.errors import Refusal

_WORDS = re.compile(r"\w+")
EDIT_VIOLATION = Refusal(422, "Your prompt violates the content policy of Venice.ai or the model provider")
"""Answer of edits to a violation (source: Venice's agent skills, venice-image-edit, 2026-10-02)."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the policy makes of one prompt."""

    adult: bool
    violation: bool
    refusal: Refusal | None


def judge(prompt: str) -> Opinion:
    """Return the opinion: "nsfw" is adult content, "violation" breaks the terms, "forbidden" is refused with
    422.
    """
    words = set(_WORDS.findall(prompt.lower()))
    refusal = None
    if "forbidden" in words:
        kept = " ".join(word for word in prompt.split() if "forbidden" not in word.lower())
        refusal = Refusal(
            422,
            "Your prompt violates the content policy of this model. Please modify it and try again.",
            code="CONTENT_POLICY_VIOLATION",
            extra={"suggested_prompt": kept or "a quiet landscape"},
        )
    return Opinion(adult="nsfw" in words, violation="violation" in words, refusal=refusal)


def may_enhance(prompt: str) -> bool:
    """Return whether enhance_prompt changes this prompt: the word "verbatim" keeps it as it is."""
    return "verbatim" not in _WORDS.findall(prompt.lower())


def enhance(prompt: str) -> str:
    """Return the prompt with visual detail added, as enhance_prompt promises."""
    return f"{prompt}, finely detailed, balanced composition, soft natural light"
