"""Pretended content policy, steered by whole words in the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from venice_batch.sandbox.refusal import Refusal

_WORDS = re.compile(r"\w+")


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


def enhance(prompt: str) -> str:
    """Return the prompt with visual detail added, as enhance_prompt promises."""
    return f"{prompt}, finely detailed, balanced composition, soft natural light"
