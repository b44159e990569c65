"""The cost of a mixed file: planned by `check`, reported by the run, charged by the server."""

import json
import urllib.request
from decimal import Decimal

import pytest
from command import run, served
from PIL import Image

from venice_batch.catalogue import snapshot
from venice_batch.cli.main import main

SMALL = {"width": 64, "height": 64}


@pytest.fixture
def server():
    """The address of a sandbox; its stats are beside it."""
    with served(latency_s=0, rpm=0, draw="plain", balance_usd=1000) as base_url:
        yield base_url


def get(url):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer k"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def ledger(base_url):
    return get(base_url.removesuffix("/api/v1") + "/sandbox/stats")["charged_usd"]


def balance(base_url):
    return usd(get(base_url + "/api_keys/rate_limits")["data"]["balances"]["USD"])


def tool(folder, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VENICE_API_KEY", "k")
        done = run(*arguments)
    assert done.code == 0, done.err
    return json.loads(done.out)


def usd(amount):
    return Decimal(str(amount))


def every_price():
    """A line for each price that the list of models has, and for each other way to come to one."""
    models = snapshot().catalogue(0.0).models.values()
    for model in (model for model in models if model.kind == "image"):
        line = {
            "model": model.id,
            "format": "jpeg",
            **(SMALL if model.divisor and not model.by_ratio and model.id != "qwen-image" else {}),
        }
        yield line
        yield from ({**line, "resolution": tier} for tier in model.pricing.tiers if not model.pricing.qualities)
        yield from ({**line, "resolution": tier, "quality": quality} for tier, quality in model.pricing.qualities)
    for model in (model for model in models if model.kind == "inpaint"):
        line = {"endpoint": "/image/edit", "model": model.id, "image": "picture.png", "output_format": "jpeg"}
        yield line
        yield from ({**line, "resolution": tier} for tier in model.pricing.tiers if not model.pricing.qualities)
        # The price of further pictures is compared only for models that charge nothing for them.
        most = model.pricing.included if model.pricing.input else model.max_inputs or 1
        line = {"endpoint": "/image/multi-edit", "modelId": model.id, "output_format": "jpeg"}
        yield from ({**line, "images": ["picture.png"] * count} for count in {1, most} if 0 < count <= most)
        line |= {"images": ["picture.png"] * most}
        if most:
            yield from ({**line, "resolution": tier, "quality": quality} for tier, quality in model.pricing.qualities)
    yield from (
        {"endpoint": "/image/upscale", "image": "picture.png", **scale} for scale in ({}, {"scale": 4}, {"scale": 2.5})
    )
    yield {"endpoint": "/image/background-remove", "image": "picture.png"}
    sd35 = {"model": "venice-sd35", **SMALL}
    yield from ({**sd35, "variants": count} for count in (1, 2, 3, 4))
    yield {"model": "gpt-image-2", "resolution": "1k", "quality": "low", "variants": 3, "format": "jpeg"}
    yield {**sd35, "matrix": {"seed": [1, 2, 3], "style_preset": ["Anime", "Cinematic"], "variants": [1, 2]}}
    yield {**sd35, "enhance_prompt": True}
    yield {**sd35, "enhance_prompt": True, "variants": 4}
    yield {"endpoint": "/image/edit", "image": "picture.png", "enhance_prompt": True, "output_format": "jpeg"}
    yield {"model": "nano-banana-2", "enable_web_search": True, "format": "jpeg"}
    yield {**sd35, "quality": "high"}
    yield {"model": "fastest", **SMALL}
    yield {**sd35, "return_binary": False}
    yield {"endpoint": "/images/generations", "model": "qwen-image-2", "size": "256x256", "quality": "hd"}
    yield {"endpoint": "/images/generations", "model": "gpt-image-2", "size": "256x256"}
    yield {"endpoint": "/images/generations", "model": "dall-e-3", "size": "256x256"}
    yield {"endpoint": "/images/generations", "model": "default", "size": "256x256"}


@pytest.mark.no_cover
def test_plan_records_summary_and_ledger_agree_to_the_cent(server, tmp_path):
    promptless = ("/image/upscale", "/image/background-remove")
    lines = [
        {"id": f"j{number}", **line, **({} if line.get("endpoint") in promptless else {"prompt": "p"})}
        for number, line in enumerate(every_price())
    ]
    batch = {"model": "qwen-image", "prompt": "p", "n": 1, "size": "256x256"}
    lines.append({"custom_id": "batch", "method": "POST", "url": "/v1/images/generations", "body": batch})
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Image.new("RGB", (256, 256), "teal").save(tmp_path / "picture.png")
    before = balance(server)

    plan = tool(tmp_path, "check", "jobs.jsonl", "--base-url", server, "--json")
    assert (plan["unpriced"], plan["enhancement_usd"], plan["suffices"]) == (0, 0.12, True)
    assert ledger(server) == 0
    limit = ("--max-cost", str(plan["usd"]))  # exactly the planned cost is enough
    summary = tool(tmp_path, "jobs.jsonl", "--base-url", server, "--json", "-q", "-c", "32", *limit)

    records = [json.loads(record) for record in (tmp_path / "output/jobs/manifest.jsonl").read_text().splitlines()]
    assert summary["succeeded"] == plan["pending"] == len(records) > 150
    assert summary["images"] == plan["images"] == sum(len(record["files"]) for record in records)
    by_lane = sum(usd(lane["usd"]) for lane in plan["lanes"].values())
    by_record = sum(usd(record["cost_usd"]) for record in records)
    assert usd(plan["usd"]) == by_lane == by_record == usd(summary["cost_usd"]) == usd(ledger(server))
    assert before - balance(server) == usd(ledger(server))

    again = tool(tmp_path, "check", "jobs.jsonl", "--base-url", server, "--json")
    assert (again["pending"], again["usd"]) == (0, 0.0)


def test_run_report_gallery_and_metrics_give_the_same_cost(tmp_path, capsys, monkeypatch):
    """A priced job, one that may have been charged without an image, one whose price is not known."""
    monkeypatch.chdir(tmp_path)
    lines = [{"id": "fine", "model": "venice-sd35", **SMALL}, {"id": "lost", "model": "venice-sd35", **SMALL}]
    lines[1] |= {"variants": 2, "enhance_prompt": True}
    lines.append({"id": "dear", "model": "gpt-image-2-5-flare", "resolution": "4K"})
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps({**line, "prompt": "p"}) + "\n" for line in lines))
    options = ["--sandbox", "--sandbox-latency", "0", "--sandbox-set", "fault_schedule=3:no-images"]
    options += ["-c", "1", "--max-attempts", "1", "--metrics-file", "run.prom", "--gallery"]
    assert main(["jobs.jsonl", *options]) == 1
    run = capsys.readouterr()
    text = "≥ 0.07 USD of sandbox money"
    assert f"images, {text}\n" in run.out
    assert main(["report", "output/jobs"]) == 0
    report = capsys.readouterr().out
    assert f"\ncost: {text}\n" in report
    for table in (run.out + run.err, report):
        (row,) = (line for line in table.splitlines() if line.startswith("in all   ") and "≥" in line)
        assert row.endswith("≥ 0.07")
        assert "sandbox usd\n" in table
    page = (tmp_path / "output/jobs/gallery.html").read_text()
    assert text in page
    assert "1 job possibly billed, 1 of unknown price" in page
    metrics = (tmp_path / "run.prom").read_text()
    assert 'venice_batch_cost_usd{output="output/jobs",sandbox="true"} 0.07\n' in metrics
    assert 'venice_batch_unpriced_requests{output="output/jobs"} 1.0\n' in metrics
    assert 'venice_batch_possibly_billed_requests{output="output/jobs"} 1.0\n' in metrics
    records = {}
    for line in (tmp_path / "output/jobs/manifest.jsonl").read_text().splitlines():
        record = json.loads(line)
        records[record["id"]] = (record["cost_usd"], record.get("at_most_usd"))
    assert records == {"fine": (0.01, None), "lost": (None, 0.06), "dear": (None, None)}
