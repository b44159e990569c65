import json
from collections import Counter
from pathlib import Path

import pytest

from venice_batch.sandbox import generate as native_request
from venice_batch.sandbox import openai_request
from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.request import Order

JOBS = Path(__file__).parents[2] / "jobs"


def orders(name):
    for line in (JOBS / name).read_text(encoding="utf-8").splitlines():
        job = json.loads(line)
        if "body" in job:
            yield job["custom_id"], openai_request.read(job["body"], shipped())
            continue
        endpoint = job.pop("endpoint", "/image/generate")
        reader = openai_request if endpoint == "/images/generations" else native_request
        job.pop("metadata", None)
        yield job.pop("id"), reader.read(job, shipped())


@pytest.mark.parametrize("name", ["quickstart.jsonl", "four-seasons.jsonl"])
def test_every_job_that_comes_with_the_project_is_accepted(name):
    found = list(orders(name))
    assert [(job, order) for job, order in found if not isinstance(order, Order)] == []
    assert len({job for job, _ in found}) == len(found)
    assert max(Counter(order.model.id for _, order in found).values()) <= 10


def test_the_quickstart_shows_every_kind_of_request():
    found = [order for _, order in orders("quickstart.jsonl")]
    assert sum(order.resolution == "4K" for order in found) == 1
    assert {order.format for order in found} == {"webp", "png", "jpeg"}
    assert {order.delivery for order in found} == {"json", "binary", "b64_json", "url"}
    assert max(order.variants for order in found) >= 3


def test_the_seasons_have_no_duplicate_prompt():
    prompts = [order.prompt for _, order in orders("four-seasons.jsonl")]
    assert len(set(prompts)) == len(prompts) == 60
