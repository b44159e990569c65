"""Temporary name."""

from __future__ import annotations

from venice_batch.output.resume import LatestRecords

__all__ = ["LatestRecords"]
