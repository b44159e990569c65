"""Runs in which jobs work on other jobs' images, with the command, against the sandbox."""

import json
from pathlib import Path

import pytest
from command import run
from records import read_outcomes

from venice_batch.output.marks import Mark, MarksFile

CAT = {"id": "cat", "model": "venice-sd35", "prompt": "a cat", "width": 512, "height": 512, "seed": 1}
X4 = {"id": "x4", "endpoint": "/image/upscale", "image": {"job": "cat"}, "scale": 4}
CUT = {"id": "cut", "endpoint": "/image/background-remove", "image": {"job": "x4"}}
DOGS = {**CAT, "id": "dogs", "prompt": "dogs", "variants": 3}
BOTH = {
    "id": "both",
    "endpoint": "/image/multi-edit",
    "images": [{"job": "cat"}, {"job": "dogs", "variant": 3}],
    "prompt": "together",
}
PICKED = {"id": "picked", "endpoint": "/image/upscale", "image": {"job": "dogs", "pick": True}}
SANDBOX = ("--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def go(*lines, options=(), command=()):
        Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run(*command, "jobs.jsonl", *(SANDBOX[:1] if command == ("check",) else SANDBOX), *options)

    return go


def records():
    return {outcome.id: outcome for outcome in read_outcomes(Path("output/jobs/manifest.jsonl"))}


def summary():
    return json.loads(Path("output/jobs/summary.json").read_text())


def pick(job_id, number):
    sha256 = records()[job_id].files[number - 1].sha256
    with MarksFile(Path("output/jobs")) as marks:
        marks.append([Mark(sha256, job_id, number, "picked", None, "2026-01-01T00:00:00Z")])


def test_images_are_made_enlarged_cut_out_and_put_together_in_one_run(desk):
    assert desk(CUT, X4, CAT, BOTH, DOGS).code == 0
    made = records()
    assert [(made[name].files[0].width, made[name].files[0].height) for name in ("cat", "x4", "cut")] == [
        (512, 512), (2048, 2048), (2048, 2048),
    ]  # fmt: skip
    assert made["cut"].parent.sha256 == made["x4"].files[0].sha256
    assert [picture["sha256"] for picture in made["both"].request["images"]] == [
        made["cat"].files[0].sha256, made["dogs"].files[2].sha256,
    ]  # fmt: skip
    assert made["both"].parent.id == "cat", "the first of them"
    assert desk(CUT, X4, CAT, BOTH, DOGS).code == 0
    assert (summary()["already_done"], summary()["attempts"]) == (5, 0)


@pytest.mark.no_cover
def test_other_processes_may_fetch_the_images(desk):
    assert desk(CUT, X4, CAT, options=("--processes", "2")).code == 0
    assert len(records()) == 3


def test_the_manifest_of_a_chain_is_a_jobs_file_of_the_same_jobs(desk):
    desk(CAT, X4)
    assert run("output/jobs/manifest.jsonl", "-o", "output/jobs", *SANDBOX).code == 0
    assert (summary()["already_done"], summary()["attempts"]) == (2, 0)


def test_expanded_jobs_are_the_same_jobs(desk):
    desk(CAT, X4)
    expanded = run("expand", "jobs.jsonl").out
    assert [json.loads(line) for line in expanded.splitlines()][1] == X4
    Path("expanded.jsonl").write_text(expanded)
    assert run("expanded.jsonl", "-o", "output/jobs", *SANDBOX).code == 0
    assert summary()["already_done"] == 2


def test_a_rejected_job_keeps_those_behind_it_back_with_the_reason(desk):
    bad = {**CAT, "prompt": "forbidden"}
    ended = desk(bad, X4, CUT)
    assert ended.code == 1
    assert "2 pending: waiting for cat, which was rejected (x4, cut)" in ended.out
    assert (summary()["reason"], summary()["pending"]) == (None, 2)
    assert summary()["waiting"] == [
        {
            "status": "pending",
            "kind": "rejected",
            "message": "waiting for cat, which was rejected",
            "count": 2,
            "ids": ["x4", "cut"],
        }
    ]
    again = desk(bad, X4, CUT)
    assert (again.code, again.out.splitlines()[-1][-16:]) == (1, "--retry-rejected")
    assert "waiting for cat" in again.out
    accepted = desk(bad, X4, CUT, options=("--known-rejected", "ok"))
    assert (accepted.code, summary()["pending"]) == (0, 2), "they come to nothing with it"
    assert desk(CAT, X4, CUT).code == 0


def test_a_run_that_waits_for_a_pick_ends_with_75_and_a_later_one_goes_on(desk):
    for _ in range(2):
        ended = desk(DOGS, PICKED)
        assert ended.code == 75
        assert "1 pending: waiting for an image of dogs to be picked (picked)" in ended.out
    assert summary()["reason"] == "1 job waiting for an image of dogs to be picked; mark one as picked, then run again"
    pick("dogs", 2)
    assert desk(DOGS, PICKED).code == 0
    assert records()["picked"].parent.variant == 2
    assert "picked-1" not in str(records()["picked"].files)


def test_a_failure_outweighs_a_missing_pick(desk):
    assert desk(DOGS, PICKED, {**CAT, "prompt": "forbidden"}).code == 1


def test_the_limit_on_cost_holds_over_the_whole_chain(desk):
    refused = desk(CAT, X4, CUT, options=("--max-cost", "0.11"))
    assert refused.code == 4
    assert "the 3 jobs left would cost 0.12 USD, above --max-cost; nothing was sent" in refused.err
    assert desk(CAT, X4, CUT, options=("--max-cost", "0.12")).code == 0


def test_a_circle_is_refused_before_anything_is_sent(desk):
    refused = desk(CAT, {**X4, "image": {"job": "cut"}}, CUT)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "jobs.jsonl:2: image: waits for 'cut' (line 3), which waits for this job: a circle",
        "venice-batch: 1 problem; nothing was sent",
    ]
    assert not Path("output").exists()


def test_check_shows_and_prices_the_whole_graph(desk):
    checked = desk(CUT, X4, CAT, BOTH, DOGS, PICKED, command=("check",))
    assert checked.code == 0
    assert checked.out.splitlines()[6:] == [
        "in all                     6       8  0.21           -",
        "4 jobs work on other jobs' images, in chains of up to 3 jobs:",
        "job       model                usd  works on",
        "cat       venice-sd35         0.01",
        "└ x4      upscaler            0.08  cat",
        "  └ cut   bria-bg-remover     0.03  x4",
        "└ both    firered-image-edit  0.04  cat; dogs, image 3",
        "dogs      venice-sd35         0.03",
        "└ picked  upscaler            0.02  dogs, once picked",
        "6 requests for 8 images would go out, into output/jobs",
        "they take about 30 s and cost 0.21 USD",
    ]


def test_check_shows_what_is_done_and_what_waits(desk):
    desk(CAT, X4, DOGS, PICKED)
    checked = desk(CAT, X4, CUT, DOGS, PICKED, command=("check",))
    assert checked.out.splitlines()[5:] == [
        "3 jobs work on other jobs' images, in chains of up to 3 jobs:",
        "job       model             usd  works on           state",
        "cat       venice-sd35      0.01                     done",
        "└ x4      upscaler         0.08  cat                done",
        "  └ cut   bria-bg-remover  0.03  x4                 -",
        "dogs      venice-sd35      0.03                     done",
        "└ picked  upscaler         0.02  dogs, once picked  -",
        "1 job waiting for an image of dogs to be picked",
        "1 of 2 requests would go out, into output/jobs",
        "they take about 10 s and cost 0.05 USD",
    ]
    report = json.loads(desk(CAT, X4, CUT, DOGS, PICKED, command=("check",), options=("--json",)).out)
    assert (report["chains"]["jobs"], report["chains"]["steps"]) == (3, 3)
    assert report["chains"]["listed"][1] == {
        "id": "x4", "lane": "upscaler", "depth": 1, "works_on": ["cat"], "usd": 0.08, "done": True,
    }  # fmt: skip
    assert report["chains"]["waiting"][0]["kind"] == "pick"


def test_check_shows_the_first_jobs_of_many(desk):
    many = [{**X4, "id": f"x{number}"} for number in range(30)]
    checked = desk(CAT, *many, command=("check",))
    assert "└ x18" in checked.out
    assert "└ x19" not in checked.out
    assert "… and more" in checked.out


def test_a_file_without_chains_is_checked_as_before(desk):
    assert "images" not in desk(CAT, command=("check",)).out.splitlines()[-2]
    assert json.loads(desk(CAT, command=("check",), options=("--json",)).out)["chains"] is None
