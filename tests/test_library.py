import json
import re
from dataclasses import replace
from functools import partial

import anyio
import pytest
from command import run, served
from fake_bucket import FakeBucket

import venice_batch
from venice_batch import (
    ApiError,
    FolderError,
    JobsFileError,
    KeyMissingError,
    NotApprovedError,
    RunOptions,
    Status,
    UsageError,
    run_jobs,
    stream_outcomes,
)
from venice_batch.bucket import copies
from venice_batch.events import Notice
from venice_batch.sandbox import SandboxSettings, serve

FAST = SandboxSettings(rpm=0, latency_s=0, draw="plain", failure_limit=0)


def jobs(count):
    return [{"id": f"j{n}", "model": "venice-sd35", "prompt": f"p{n}", "width": 64, "height": 64} for n in range(count)]


async def test_one_call_runs_mappings_into_a_folder(tmp_path):
    async with serve(FAST) as sandbox:
        summary = await run_jobs(jobs(3), tmp_path / "out", api_key="k", base_url=sandbox.base_url)
    assert summary.succeeded == 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


async def test_images_of_a_bucket_can_be_reused(tmp_path, monkeypatch):
    async with serve(FAST) as sandbox:
        await run_jobs(jobs(3), tmp_path / "first", api_key="k", base_url=sandbox.base_url)
        bucket = FakeBucket("s3://bucket/first").fill(tmp_path / "first")
        monkeypatch.setattr(copies, "Bucket", lambda address, environ: bucket)
        given = {"api_key": "k", "base_url": sandbox.base_url}
        summary = await run_jobs(jobs(3), tmp_path / "out", reuse=(bucket.address,), **given)
    assert (summary.reused, summary.attempts) == (3, 0)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_the_event_loop_may_be_another_one_than_the_standard_one(tmp_path):
    async def run():
        async with serve(FAST) as sandbox:
            return await run_jobs(jobs(80), tmp_path / "out", api_key="k", base_url=sandbox.base_url, concurrency=32)

    assert anyio.run(run, backend_options={"use_uvloop": True}).succeeded == 80
    assert len(list((tmp_path / "out" / "images").iterdir())) == 80


async def test_one_call_runs_a_file_with_defaults(tmp_path, monkeypatch):
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps({"id": "a", "prompt": "p"}) + "\n")
    monkeypatch.setenv("VENICE_API_KEY", "k")
    defaults = {"model": "venice-sd35", "width": 64, "height": 64}
    async with serve(FAST) as sandbox:
        summary = await run_jobs(path, tmp_path / "out", base_url=sandbox.base_url, defaults=defaults)
    assert summary.images == 1


async def test_foreign_columns_and_prompt_sets_are_read_as_by_the_command(tmp_path):
    path = tmp_path / "wise.json"
    path.write_text(json.dumps([{"prompt_id": 7, "Prompt": "p", "Category": "c"}]))
    defaults = {"model": "venice-sd35", "width": 64, "height": 64}
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url, "defaults": defaults}
        named = await run_jobs(path, tmp_path / "out", prompt_set="wise", **options)
        columns = {"prompt": "prompt", "id": "prompt_id"}
        mapped = await run_jobs(path, tmp_path / "out", field_map=columns, unknown="metadata", **options)
        lines = [{"Text": "p", "tag": "x"}]
        given = await run_jobs(lines, tmp_path / "b", field_map={"prompt": "Text"}, unknown="metadata", **options)
        with pytest.raises(JobsFileError, match=r"^<jobs>: --map prompt=Txt: nothing is called 'Txt'"):
            await run_jobs(lines, tmp_path / "b", field_map={"prompt": "Txt"}, **options)
        with pytest.raises(UsageError, match="no such prompt set"):
            await run_jobs(lines, tmp_path / "b", prompt_set="zzz", **options)
        with pytest.raises(UsageError, match="--map promt=x: no job has this field"):
            await run_jobs(lines, tmp_path / "b", field_map={"promt": "x"}, **options)
    assert (named.succeeded, mapped.already_done, given.succeeded) == (1, 1, 1)
    record = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
    assert (record["id"], record["metadata"]) == ("7", {"Category": "c"})


async def test_outcomes_come_as_they_end(tmp_path):
    events = []
    async with (
        serve(FAST) as sandbox,
        stream_outcomes(
            jobs(5), tmp_path / "out", api_key="k", base_url=sandbox.base_url, on_event=events.append
        ) as outcomes,
    ):
        found = [outcome async for outcome in outcomes]
    assert sorted(outcome.id for outcome in found) == [f"j{n}" for n in range(5)]
    assert all(outcome.status is Status.SUCCEEDED for outcome in found)
    assert events


async def test_leaving_the_block_stops_the_run_and_the_next_one_goes_on(tmp_path):
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url, "concurrency": 1}
        async with stream_outcomes(jobs(50), tmp_path / "out", **options) as outcomes:
            async for _ in outcomes:
                break
        summary = await run_jobs(jobs(50), tmp_path / "out", **options)
    assert 1 <= summary.already_done < 50
    assert summary.succeeded + summary.already_done == 50


async def test_invalid_jobs_raise_what_they_are_before_anything_is_sent(tmp_path):
    with pytest.raises(JobsFileError, match="promt"):
        await run_jobs([{"model": "m", "promt": "x"}], tmp_path, api_key="k")
    with pytest.raises(JobsFileError, match="promt"):
        async with stream_outcomes([{"model": "m", "promt": "x"}], tmp_path, api_key="k") as outcomes:
            assert [outcome async for outcome in outcomes] == []


async def test_a_missing_key_is_told(tmp_path):
    with pytest.raises(KeyMissingError, match="VENICE_API_KEY"):
        await run_jobs(jobs(1), tmp_path)


def test_every_public_name_can_be_had():
    for name in venice_batch.__all__:
        assert getattr(venice_batch, name) is not None
    with pytest.raises(AttributeError):
        venice_batch.nothing  # noqa: B018


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path):
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url}
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the error of the block is the point)
            async with stream_outcomes(jobs(3), tmp_path / "out", **options) as outcomes:
                async for _ in outcomes:
                    raise ZeroDivisionError


async def test_an_address_is_no_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="output: https://host/run is an address, neither of a folder nor of a bucket"):
        await run_jobs(jobs(1), "https://host/run", api_key="k")
    assert list(tmp_path.iterdir()) == []


async def test_a_mistyped_option_comes_out_as_it_is(tmp_path):
    with pytest.raises(TypeError, match="concurency"):
        async with stream_outcomes(jobs(1), tmp_path / "out", api_key="k", concurency=3) as outcomes:
            assert [outcome async for outcome in outcomes] == []


async def test_attempts_that_may_be_charged_are_bounded(tmp_path):
    lossy = replace(FAST, fault_rate=1.0, fault_kinds=("no-images",))
    async with serve(lossy) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url}
        summary = await run_jobs(jobs(1), tmp_path / "out", **options, max_paid_attempts=1)
    assert (summary.failed, summary.attempts, summary.possibly_billed) == (1, 1, 1)


@pytest.mark.parametrize(
    "bad", [{"rpm": 0}, {"concurrency": 0}, {"max_attempts": 0}, {"max_paid_attempts": 0}, {"timeout_s": -1}]
)
async def test_options_that_make_no_sense_are_refused(tmp_path, bad):
    with pytest.raises(UsageError):
        await run_jobs(jobs(1), tmp_path, api_key="k", **bad)


@pytest.mark.parametrize("value", [{1, 2}, 2**70, "\ud800"])
async def test_a_mapping_that_is_no_json_is_told_by_its_number(tmp_path, value):
    with pytest.raises(JobsFileError, match="<jobs>:1: cannot be written as JSON"):
        await run_jobs([{"model": "m", "prompt": "p", "metadata": {"x": value}}], tmp_path, api_key="k")


async def test_jobs_are_checked_against_the_apis_own_models_unless_told_not_to(tmp_path):
    bad = [{"id": "a", "model": "venice-sd35", "prompt": "p", "steps": 99}]
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url}
        with pytest.raises(JobsFileError, match="limit of 30"):
            await run_jobs(bad, tmp_path / "out", **options)
        summary = await run_jobs(bad, tmp_path / "out", **options, check_models=False)
    assert (summary.rejected, summary.cost_usd) == (1, None)


async def test_a_cap_without_prices_lets_nothing_out(tmp_path):
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url, "max_cost_usd": 5}
        summary = await run_jobs(jobs(3), tmp_path / "out", **options, check_models=False)
        assert sandbox.stats()["requests"] == 0
    assert (summary.exit_code, summary.pending) == (4, 3)


async def test_a_shared_budget_without_prices_lets_nothing_out(tmp_path):
    async with serve(FAST) as sandbox:
        budget = {"max_cost_per_usd": {"day": 5}, "budget_file": tmp_path / "budget.jsonl"}
        options = {"api_key": "k", "base_url": sandbox.base_url, **budget}
        summary = await run_jobs(jobs(3), tmp_path / "out", **options, check_models=False)
        assert sandbox.stats()["requests"] == 0
    assert (summary.exit_code, summary.reason) == (4, "--max-cost-per: the price of the next job is not known")


async def test_runs_of_one_program_share_a_budget(tmp_path):
    async with serve(FAST) as sandbox:
        budget = {"max_cost_per_usd": {"month": 0.25}, "budget_file": str(tmp_path / "budget.jsonl")}
        options = {"api_key": "k", "base_url": sandbox.base_url, **budget}
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(partial(run_jobs, jobs(10), tmp_path / f"out-{number}", **options))
        charged = sandbox.stats()["charged_usd"]
    assert charged == pytest.approx(0.25)


async def test_no_more_than_the_cap_is_spent_with_any_concurrency(tmp_path):
    async with serve(FAST) as sandbox:
        options = {"api_key": "k", "base_url": sandbox.base_url, "concurrency": 32}
        summary = await run_jobs(jobs(40), tmp_path / "out", **options, max_cost_usd=0.17)
        charged = sandbox.stats()["charged_usd"]
    assert (summary.exit_code, summary.succeeded, summary.cost_usd) == (4, 17, 0.17)
    assert charged == pytest.approx(0.17)


async def test_another_run_in_the_folder_is_waited_for_if_asked(tmp_path, monkeypatch):
    from contextlib import ExitStack

    from venice_batch import Waiting
    from venice_batch.output import folder
    from venice_batch.run import folder_wait

    monkeypatch.setattr(folder_wait, "POLL_S", 0.01)
    with ExitStack() as held:
        held.enter_context(folder.hold(tmp_path / "out"))

        def free(event):
            if isinstance(event, Waiting):
                held.close()

        options = {"api_key": "k", "check_models": False, "on_event": free}
        async with serve(FAST) as sandbox:
            with pytest.raises(FolderError, match="is using this folder"):
                await run_jobs(jobs(1), tmp_path / "out", base_url=sandbox.base_url, **options)
            summary = await run_jobs(jobs(1), tmp_path / "out", base_url=sandbox.base_url, lock_wait_s=60, **options)
    assert summary.succeeded == 1


ONLY_OF_THE_COMMAND = {
    "jobs", "output", "api_key_file", "sandbox", "sandbox_set", "offline", "dry_run", "as_json", "quiet", "no_progress",
    "log_format", "verbose", "gallery", "layout", "junit", "metrics_file", "on_finish", "config", "no_config",
    "profile",
}  # fmt: skip
"""Options about where input and output are, and about messages."""

ONLY_OF_THE_LIBRARY = {"check_models", "model_defaults"}
"""The command has `--offline` for the first, and always knows some list; settings files have the second."""


def test_the_command_and_run_options_have_the_same_names():
    from venice_batch.cli.run import run

    asked = {option.name for option in run.params} - ONLY_OF_THE_COMMAND
    asked = {"defaults" if name == "settings" else name for name in asked if not name.startswith("sandbox_")}
    known = {name.removesuffix("_s").removesuffix("_usd") for name in RunOptions.__dataclass_fields__}
    assert asked - {"help"} == known - ONLY_OF_THE_LIBRARY


async def test_options_come_as_one_value_or_one_by_one(tmp_path):
    async with serve(FAST) as sandbox:
        chosen = RunOptions(base_url=sandbox.base_url, name="{index}", max_attempts=2)
        await run_jobs(jobs(1), tmp_path / "out", chosen, api_key="k", name="again-{index}")
    assert [path.stem for path in (tmp_path / "out" / "images").iterdir()] == ["again-1"]


async def test_prices_and_quotas_are_compared_with_the_approved_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    path, approved = tmp_path / "jobs.jsonl", tmp_path / "approved.json"
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs(1)))
    with served(latency_s=0) as base_url:
        command = ["check", str(path), "--base-url", base_url, "--freeze", str(approved)]
        assert (await anyio.to_thread.run_sync(lambda: run(*command))).code == 0
        assert (await run_jobs(path, tmp_path / "out", base_url=base_url, frozen=str(approved))).succeeded == 1
        approved.write_text(approved.read_text().replace('"image": 0.01', '"image": 0.001'))
        with pytest.raises(NotApprovedError, match=r"an image: 0\.001 USD approved, 0\.01 USD now"):
            await run_jobs(jobs(2), tmp_path / "out", base_url=base_url, frozen=approved)
    approved.write_text(approved.read_text().replace('"image": 0.001', '"image": 0.01'))
    with served(latency_s=0, rpm=5) as base_url:
        with pytest.raises(NotApprovedError, match="images_a_minute: 20 approved, 5 now") as caught:
            await run_jobs(jobs(2), tmp_path / "out", base_url=base_url, frozen=approved)
        assert [problem.field for problem in caught.value.problems] == ["venice-sd35"]
        with pytest.raises(ApiError, match="no list of models is known"):
            await run_jobs(jobs(2), tmp_path / "out", base_url=f"{base_url}/none", frozen=approved)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1


def test_approved_prices_need_the_list_of_models():
    with pytest.raises(UsageError, match="check_models=False"):
        RunOptions(frozen="approved.json", check_models=False)


async def test_a_program_sweeps_over_a_file_of_prompts_and_runs_a_part_of_it(tmp_path):
    path, seen = tmp_path / "ideas.txt", []
    path.write_text("# animals\nA {animal}\nA street\n")
    sweep = RunOptions(
        defaults={"width": 64, "height": 64},
        model_defaults={"venice-sd35": {"steps": 5}},
        matrix={"model": ("venice-sd35", "z-image-turbo")},
        variables={"animal": ("cat", "dog")},
    )
    async with serve(FAST) as sandbox:
        given = {"api_key": "k", "base_url": sandbox.base_url, "on_event": seen.append}
        first = await run_jobs(path, tmp_path / "out", sweep, ids=("0002-*",), sample=3, seed=1, limit=2, **given)
        rest = await run_jobs(path, tmp_path / "out", sweep, **given)
    assert (first.jobs, rest.jobs, rest.already_done) == (2, 6, 2)
    names = [path.stem for path in (tmp_path / "out" / "images").iterdir()]
    assert "0002-a-dog__model-z-image-turbo" in names
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert sum("1 comment (line 1) left out" in text for text in notices) == 2


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"sample": 0}, "--sample must be at least 1"),
        ({"limit": 0}, "--limit must be at least 1"),
        ({"matrix": {"sead": (1,)}}, "--matrix sead: no endpoint has this field"),
        ({"variables": {"animal": ()}}, "--var animal: expected an array of at least one value"),
        ({"ids": ("lake*",)}, "no job of <jobs> has such an id or name"),
    ],
)
async def test_a_wrong_part_or_sweep_of_a_program_is_an_error_before_anything_is_sent(tmp_path, wrong, found):
    with pytest.raises(UsageError, match=re.escape(found)):
        await run_jobs(jobs(1), tmp_path / "out", api_key="k", check_models=False, **wrong)
    assert not (tmp_path / "out").exists()
