"""Temporary name."""

from __future__ import annotations

from venice_batch.output.resume import Resume as Standing

__all__ = ["Standing"]
