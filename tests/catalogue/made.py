"""Jobs and models for the tests of the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from venice_batch.catalogue import Catalogue, Preflight, price_micro_usd, snapshot
from venice_batch.catalogue.constraints import ModelProblem
from venice_batch.catalogue.models import parse
from venice_batch.jobfile.identity import request_hash
from venice_batch.model import Endpoint, Job
from venice_batch.money import usd

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STYLES = snapshot().styles
SHIPPED = Catalogue(
    [model for entry in snapshot().entries if (model := parse(entry))], listed=NOW, now=NOW, former={"old-model": None}
)


def job(endpoint: Endpoint = Endpoint.GENERATE, line: int = 1, **request: Any) -> Job:
    request = {"model": "venice-sd35", "prompt": "a gondola", **request}
    request = {name: value for name, value in request.items() if value is not None}
    return Job(f"job-{line}", line, line - 1, endpoint, request, request_hash(endpoint, request))


def entry(model_id: str = "made", *, constraints: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    limits = {"promptCharacterLimit": 100, "steps": {"default": 5, "max": 10}, "widthHeightDivisor": 8}
    return {"id": model_id, "type": "image", "model_spec": {"constraints": {**limits, **(constraints or {})}, **spec}}


def catalogue(*entries: dict[str, Any], **options: Any) -> Catalogue:
    models = [model for one in entries if (model := parse(one))]
    return Catalogue(models, **{"listed": NOW, "now": NOW, **options})


def complaints(job: Job, catalogue: Catalogue, *, styles: Any = None, **options: Any) -> list[ModelProblem]:
    """What a preflight finds wrong with a job: errors, then warnings."""
    preflight = Preflight(catalogue, styles, **options)
    errors = [ModelProblem(field, what) for field, what in preflight.examine(job)]
    return errors + [ModelProblem(warned.field, warned.what, is_error=False) for warned in preflight.warnings]


def price_usd(job: Job, catalogue: Catalogue) -> Decimal | None:
    micro = price_micro_usd(job, catalogue)
    return None if micro is None else usd(micro)
