"""Fields and values that no version knows: refused by default, sent as written where that is allowed."""

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pictures import picture

from venice_batch import JobsFileError, run_jobs
from venice_batch.cli.main import main

JOB = {"model": "venice-sd35", "prompt": "p"}
UNKNOWN = [
    {"brand_new": True},
    {"brand_new": {"deep": [1, 2.5, None, "x"]}},
    {"format": "avif"},
    {"quality": "ultra"},
    {"width": 1536},
    {"variants": 8, "return_binary": False},
    {"seed": 12_345_678_901},
    {"cfg_scale": 99.5},
    {"safe_mode": "strict"},
    {"style_preset": "Of Next Year"},
]
JOBS = [{"id": f"j{number}", **JOB, **fields} for number, fields in enumerate(UNKNOWN)]


@asynccontextmanager
async def recording():
    """A server that takes everything, lists one model of Venice's and keeps the bodies that it is sent."""
    bodies = []

    async def generate(request):
        bodies.append(await request.json())
        return web.Response(body=picture(), content_type="image/png")

    async def models(request):
        spec = {"constraints": {"promptCharacterLimit": 100, "widthHeightDivisor": 16, "qualities": ["low"]}}
        listed = [{"id": "venice-sd35", "type": "image", "owned_by": "venice.ai", "model_spec": spec}]
        return web.json_response({"data": listed if request.query.get("type") == "image" else []})

    async def styles(request):
        return web.json_response({"data": ["Anime"]})

    app = web.Application()
    app.router.add_post("/api/v1/image/generate", generate)
    app.router.add_get("/api/v1/models", models)
    app.router.add_get("/api/v1/image/styles", styles)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/api/v1", bodies
    finally:
        await runner.cleanup()


def sent(job):
    return {name: value for name, value in job.items() if name != "id"}


async def test_what_no_version_knows_is_sent_exactly_as_it_is_written(tmp_path):
    async with recording() as (url, bodies):
        options = {"api_key": "k", "base_url": url, "allow_unknown": True, "response": "json"}
        summary = await run_jobs(JOBS, tmp_path / "out", **options)
    assert summary.succeeded == len(JOBS)
    by_fields = {json.dumps({**{"return_binary": False}, **body}, sort_keys=True) for body in bodies}
    assert by_fields == {json.dumps({**{"return_binary": False}, **sent(job)}, sort_keys=True) for job in JOBS}


async def test_what_no_version_knows_is_refused_without_being_asked_for(tmp_path):
    async with recording() as (url, bodies):
        with pytest.raises(JobsFileError) as caught:
            await run_jobs(JOBS, tmp_path / "out", api_key="k", base_url=url)
    assert [problem.line for problem in caught.value.problems] == list(range(1, 11))
    assert bodies == []


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    return path


def test_the_command_refuses_each_line_with_a_line(file, capsys):
    assert main(["check", "jobs.jsonl", "--offline"]) == 2
    err = capsys.readouterr().err
    fields = ["brand_new", "brand_new", "format", "quality", "width", "variants", "seed", "cfg_scale", "safe_mode"]
    assert [line.split(": ")[:2] for line in err.splitlines() if line.startswith("jobs.jsonl:")] == [
        [f"jobs.jsonl:{number}", field] for number, field in enumerate([*fields, "style_preset"], 1)
    ]


def test_the_command_warns_once_of_equal_things_where_they_are_allowed(file, capsys):
    file.write_text(file.read_text() + json.dumps({"id": "again", **JOB, "brand_new": 5}) + "\n")
    assert main(["check", "jobs.jsonl", "--offline", "--allow-unknown"]) == 0
    out, err = capsys.readouterr()
    assert "jobs.jsonl:1: brand_new: warning: unknown field (2 more: line 2, 11)\n" in err
    assert "jobs.jsonl:10: style_preset: warning: no style 'Of Next Year'" in err
    assert out.startswith("11 jobs, all lines valid, ")


def test_strict_refuses_what_is_allowed_otherwise(file):
    assert main(["check", "jobs.jsonl", "--offline", "--allow-unknown", "--strict"]) == 2


def test_a_setting_for_all_jobs_may_be_unknown_too(file, capfd):
    file.write_text(json.dumps({"id": "a", **JOB}) + "\n")
    assert main(["expand", "jobs.jsonl", "--set", "brand_new=[1]", "--allow-unknown"]) == 0
    assert json.loads(capfd.readouterr().out) == {"id": "a", "brand_new": [1], **JOB}
    assert main(["expand", "jobs.jsonl", "--set", "brand_new=[1]"]) == 2
    assert "--set brand_new: no endpoint has this field" in capfd.readouterr().err


def test_a_run_in_the_sandbox_is_refused_by_the_server_not_by_the_check(file, capsys):
    file.write_text(json.dumps({"id": "a", **JOB, "brand_new": 5}) + "\n")
    assert main(["jobs.jsonl", "--sandbox", "--allow-unknown", "--sandbox-latency", "0", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rejected"] == 1
    assert main(["jobs-from", "output/jobs", "-o", "again.jsonl"]) == 2
    assert main(["jobs-from", "output/jobs", "-o", "again.jsonl", "--allow-unknown"]) == 0
    assert main(["jobs-from", "output/jobs", "-o", "b.jsonl", "--allow-unknown", "--unset", "brand_new"]) == 0


@pytest.mark.parametrize("given", [["--allow-unknown"], []])
def test_a_settings_file_may_give_unknown_fields_to_all_jobs_where_they_are_allowed(file, capfd, given):
    allowed = "" if given else "[expand]\nallow-unknown = true\n"
    file.with_name("venice-batch.toml").write_text(f"[defaults]\nbrand_new = [1]\n{allowed}")
    file.write_text(json.dumps({"id": "a", **JOB}) + "\n")
    assert main(["expand", "jobs.jsonl", *given]) == 0
    assert json.loads(capfd.readouterr().out) == {"id": "a", "brand_new": [1], **JOB}
    assert main(["config"]) == (2 if given else 0)


def test_an_unknown_field_in_a_settings_file_is_told_with_its_place(file, capsys):
    file.with_name("venice-batch.toml").write_text("[defaults]\nbrand_new = 1\n")
    assert main(["expand", "jobs.jsonl"]) == 2
    assert "venice-batch.toml: defaults.brand_new: no endpoint has this field" in capsys.readouterr().err
