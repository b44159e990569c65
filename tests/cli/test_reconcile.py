import json
from pathlib import Path

import pytest
from command import run, served

from venice_batch.api import client

GOOD = {"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
FAST = {"latency_s": 0, "rpm": 0, "draw": "plain"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VENICE_API_KEY", "vn-0123456789")


def write(name, *jobs):
    Path(name).write_text("".join(json.dumps({**GOOD, **job}) + "\n" for job in jobs))


def make(base_url, jobs, output):
    assert run(jobs, "-o", output, "--base-url", base_url, "-q").code == 0


def reconcile(base_url, *arguments):
    return run("reconcile", *arguments, "--base-url", base_url)


JOBS = [
    *({"id": f"a{number}"} for number in range(11)),
    {"id": "trait", "model": "fastest", "variants": 4},
    {"id": "dear", "model": "nano-banana-pro", "resolution": "4K", "aspect_ratio": "1:1"},
    {"id": "rewritten", "enhance_prompt": True},
]


def test_every_image_is_found_among_other_programs_rows_two_currencies_and_pages(monkeypatch):
    monkeypatch.setattr(client, "USAGE_ROWS", 10)
    write("jobs.jsonl", *JOBS)
    write("theirs.jsonl", *({"id": f"t{number}", "model": "qwen-image-2"} for number in range(9)))
    with served(**FAST, diem=0.06) as base_url:
        make(base_url, "theirs.jsonl", "theirs")
        make(base_url, "jobs.jsonl", "ours")
        found = reconcile(base_url, "ours")
        summary = json.loads(reconcile(base_url, "ours", "--json").out)
        both = reconcile(base_url, "ours", "theirs")
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines()[-1] == "17 of 17 images found, 0 missing; 0 charged in no record"
    assert "lines of other products: qwen-image-2-image-unit, prompt-enhancement-unit" in found.out
    charged = {name: match["charged"].keys() for name, match in summary["models"].items()}
    assert charged.keys() == {"venice-sd35", "z-image-turbo", "nano-banana-pro"}
    assert set().union(*charged.values()) == {"USD", "DIEM"}
    assert (summary["images"], summary["found"], summary["missing"], summary["unrecorded"]) == (17, 17, [], [])
    assert both.out.splitlines()[-1] == "26 of 26 images found, 0 missing; 0 charged in no record"


def test_a_missing_image_and_a_charge_without_a_record_are_named(tmp_path):
    write("jobs.jsonl", *JOBS[:11])
    manifest = Path("ours/manifest.jsonl")
    with served(**FAST) as base_url:
        make(base_url, "jobs.jsonl", "ours")
        records = [json.loads(line) for line in manifest.read_text().splitlines()]
        lost = records.pop()  # a run that was killed has no record of this one
        never = {**records[0], "id": "never", "lane": "flux-2-pro"}
        manifest.write_text("".join(json.dumps(record) + "\n" for record in [*records, records[0], never]))
        found = reconcile(base_url, "ours")
        summary = json.loads(reconcile(base_url, "ours", "--json").out)
    assert found.code == 1
    assert f"missing: never: 1 image of flux-2-pro, {summary['missing'][0]['at']}" in found.out
    assert "in no record: venice-sd35-image-unit: 1 image, 0.01 USD, 20" in found.out
    assert found.out.splitlines()[-1] == "10 of 11 images found, 1 missing; 1 charged in no record"
    assert [one["id"] for one in summary["missing"]] == ["never"]
    assert lost["id"] not in found.out


def test_long_lists_are_shortened_for_people_and_whole_in_json():
    write("jobs.jsonl", *({"id": f"a{number}"} for number in range(25)))
    with served(**FAST) as base_url:
        make(base_url, "jobs.jsonl", "ours")
    with served(**FAST) as another:
        found = reconcile(another, "ours")
        assert len(json.loads(reconcile(another, "ours", "--json").out)["missing"]) == 25
    assert found.code == 1
    assert found.out.count("missing: a") == 20
    assert "… and 5 more jobs; --json names them all" in found.out


def test_possibly_billed_requests_are_resolved():
    write("jobs.jsonl", *JOBS[:4])
    with served(**FAST, fault_schedule={1: "no-images", 2: "502"}) as base_url:
        make(base_url, "jobs.jsonl", "ours")
        found = reconcile(base_url, "ours")
    assert found.code == 0
    assert "possibly billed: 2 requests without an image, 1 of them charged" in found.out


def test_a_key_without_the_right_is_one_line():
    write("jobs.jsonl", *JOBS[:1])
    with served(**FAST, usage_history_endpoint="forbidden") as base_url:
        make(base_url, "jobs.jsonl", "ours")
        found = reconcile(base_url, "ours")
    assert (found.code, found.out) == (3, "")
    assert found.err == "venice-batch: reconcile needs an ADMIN key: Admin API key required\n"


def test_a_folder_without_a_manifest_is_refused_before_anything_is_asked():
    found = reconcile("http://127.0.0.1:9", "none")
    assert (found.code, found.err) == (
        5, "venice-batch: none: holds no manifest.jsonl; is it a run's output folder?\n"
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_charged_record_there_is_nothing_to_compare(arguments):
    write("jobs.jsonl", {"id": "a", "prompt": "forbidden"})
    with served(**FAST) as base_url:
        assert run("jobs.jsonl", "-o", "ours", "--base-url", base_url, "-q").code == 1
        found = reconcile(base_url, "ours", *arguments)
    assert found.code == 0
    told = "ours: no record of an image that was charged; nothing to compare\n"
    assert found.out == ('{"images":0,"found":0}\n' if arguments else told)


def test_real_records_are_not_compared_with_a_sandboxs_history():
    write("jobs.jsonl", *JOBS[:1])
    with served(**FAST) as base_url:
        make(base_url, "jobs.jsonl", "ours")
        manifest = Path("ours/manifest.jsonl")
        manifest.write_text(manifest.read_text().replace('"sandbox":true', '"sandbox":false'))
        found = reconcile(base_url, "ours")
    assert (found.code, found.err) == (
        2, "venice-batch: ours: its records are real, and the usage history is a sandbox's; is --base-url right?\n"
    )  # fmt: skip
