"""Runs with `--reuse`: jobs take the images that other folders have of the same request."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
from command import run, served
from records import read_outcomes

from venice_batch import portable
from venice_batch.cli.main import main
from venice_batch.output import image_part
from venice_batch.output.images import JobImages
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.reuse import ReusableImages
from venice_batch.run.reuse import Reuser

CAT = {"id": "cat", "model": "venice-sd35", "prompt": "a cat", "width": 64, "height": 64, "seed": 1}
DOG = {**CAT, "id": "dog", "prompt": "a dog", "seed": 2}
FREE = {"id": "free", "model": "venice-sd35", "prompt": "anything", "width": 64, "height": 64}
BIG = {**CAT, "width": 512, "height": 512}
X4 = {"id": "x4", "endpoint": "/image/upscale", "image": {"job": "cat"}, "scale": 4}
CUT = {"id": "cut", "endpoint": "/image/background-remove", "image": {"job": "x4"}}
SANDBOX = ("--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def go(output, *lines, options=(), command=()):
        Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        served_by = SANDBOX[:1] if command == ("check",) else () if "--base-url" in options else SANDBOX
        return run(*command, "jobs.jsonl", "-o", output, *served_by, *options)

    return go


def records(output):
    return {outcome.id: outcome for outcome in read_outcomes(Path(output, "manifest.jsonl"))}


def summary(output):
    return json.loads(Path(output, "summary.json").read_text())


def rewrite(output, change):
    """Change every record of a folder."""
    path = Path(output, "manifest.jsonl")
    path.write_bytes(b"".join(msgspec.json.encode(change(one)) + b"\n" for one in read_outcomes(path)))


def figures(output):
    found = summary(output)
    return found["succeeded"], found["reused"], found["attempts"], found["cost_usd"]


def test_an_image_of_the_same_request_is_taken_under_the_jobs_own_name(desk):
    assert desk("a", CAT, DOG).code == 0
    ended = desk(
        "b", {**CAT, "id": "mieze", "metadata": {"k": 1}}, {**CAT, "id": "new", "seed": 9}, options=("--reuse", "a")
    )
    assert ended.code == 0
    assert "2 jobs: 1 succeeded, 1 reused; 1 image, 0.01 USD of sandbox money" in ended.out
    assert "2 jobs for venice-sd35 → b, 1 reused" in ended.err
    assert figures("b") == (2, 1, 1, 0.01)
    before, after = records("a")["cat"], records("b")["mieze"]
    assert (after.files[0].path, after.files[0].sha256) == ("images/mieze.webp", before.files[0].sha256)
    assert os.path.samefile("a/images/cat.webp", "b/images/mieze.webp"), "no second copy on the disk"
    assert msgspec.to_builtins(after.reused) == {"folder": "a", "run_id": before.run_id, "id": "cat"}
    assert (after.cost_usd, after.attempts, after.metadata, after.index, after.sandbox) == (0.0, (), {"k": 1}, 0, True)
    assert after.request_hash == before.request_hash
    assert records("b")["new"].reused is None


def test_the_next_run_finds_it_done_and_buys_no_copy_of_it(desk):
    desk("a", CAT)
    desk("b", CAT, options=("--reuse", "a"))
    assert desk("b", CAT, options=("--reuse", "a")).code == 0
    assert (summary("b")["already_done"], summary("b")["reused"]) == (1, 0)
    assert desk("b", CAT, {**CAT, "id": "twin"}, options=("--reuse", "a")).code == 0
    assert figures("b") == (1, 0, 1, 0.01), "the one purchase serves one job"


def test_each_purchase_serves_one_job(desk):
    """Two jobs of one request want two images, which differ unless they have a seed."""
    desk("a", FREE, {**FREE, "id": "free-2"})
    ended = desk("b", FREE, {**FREE, "id": "second"}, {**FREE, "id": "third"}, options=("--reuse", "a"))
    assert "1 succeeded, 2 reused" in ended.out
    found = records("b")
    assert {one.reused.id for one in found.values() if one.reused} == {"free", "free-2"}
    assert found["free"].reused.id == "free", "the job of the same id comes first"
    assert found["third"].reused is None


def test_copies_of_one_purchase_in_several_folders_count_once(desk):
    desk("a", FREE)
    assert run("merge", "a", "-o", "c").code == 0
    desk("d", FREE, options=("--reuse", "a"))
    folders = ("--reuse", "a", "--reuse", "c", "--reuse", "d")
    ended = desk("b", FREE, {**FREE, "id": "second"}, options=folders)
    assert "1 succeeded, 1 reused" in ended.out
    assert records("b")["free"].reused.run_id == records("a")["free"].run_id
    Path("a/images/free.webp").unlink()
    assert "2 reused" not in desk("e", FREE, options=folders).out
    assert figures("e")[1] == 1, "where one folder has lost it, another has it"


def test_several_images_of_a_job_come_together(desk):
    many = {**FREE, "variants": 3}
    desk("a", many)
    desk("b", {**many, "id": "x"}, options=("--reuse", "a"))
    assert [file.path for file in records("b")["x"].files] == ["images/x-1.webp", "images/x-2.webp", "images/x-3.webp"]
    Path("a/images/free-2.webp").unlink()
    assert "missing or changed (free)" in desk("c", many, options=("--reuse", "a")).err
    assert figures("c")[:2] == (1, 0)


def test_an_image_that_has_changed_is_bought(desk):
    desk("a", CAT, DOG)
    image = Path("a/images/cat.webp")
    data = image.read_bytes()
    image.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))  # of the same size
    ended = desk("b", CAT, DOG, options=("--reuse", "a"))
    assert "cat is not reused from a: images/cat.webp has changed since it was made" in ended.err
    assert figures("b")[:3] == (2, 1, 1)
    assert [path.name for path in Path("b/images").iterdir() if path.name.startswith(".")] == []


def test_where_one_folder_has_a_changed_copy_the_next_one_serves(desk):
    desk("a", CAT, DOG)
    shutil.copytree("a", "a2")
    image = Path("a2/images/cat.webp")
    data = image.read_bytes()
    image.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))  # of the same size
    ended = desk("b", CAT, {**CAT, "id": "twin"}, DOG, options=("--reuse", "a2", "--reuse", "a"))
    assert "cat is not reused from a2: images/cat.webp has changed since it was made" in ended.err
    found = records("b")
    assert (found["cat"].reused.folder, found["dog"].reused.folder) == ("a", "a2")
    assert Path("b/images/cat.webp").read_bytes() == data
    assert found["twin"].reused is None, "the one whole image serves one job"
    assert figures("b")[:3] == (3, 2, 1)


def test_links_are_not_followed(desk):
    desk("a", CAT)
    os.replace("a/images/cat.webp", "elsewhere.webp")
    os.symlink("../../elsewhere.webp", "a/images/cat.webp")
    assert "missing or changed (cat)" in desk("b", CAT, options=("--reuse", "a")).err
    assert figures("b")[1] == 0


def test_images_of_unknown_formats_are_not_taken(desk):
    desk("a", CAT)
    Path("a/images/cat.webp").write_bytes(b"\1" * 100)
    file = records("a")["cat"].files[0]
    digest = hashlib.sha256(b"\1" * 100).hexdigest()
    rewrite(
        "a", lambda one: msgspec.structs.replace(one, files=(msgspec.structs.replace(file, bytes=100, sha256=digest),))
    )
    assert "images/cat.webp is no image" in desk("b", CAT, options=("--reuse", "a")).err
    assert not Path("b/unrecognised").exists()


def test_rejected_images_are_not_taken(desk):
    desk("a", CAT, DOG)
    with MarksFile(Path("a")) as marks:
        marks.append([Mark(records("a")["cat"].files[0].sha256, "cat", 1, "rejected", None, "2026-01-01T00:00:00Z")])
    ended = desk("b", CAT, DOG, options=("--reuse", "a"))
    assert (
        "a: images of 1 job with the same request are not reused, because they are rejected by a person (cat)"
        in ended.err
    )
    assert figures("b")[1] == 1
    assert run("prune", "a", "--rejected").code == 0
    assert desk("c", CAT, DOG, options=("--reuse", "a")).code == 0
    assert figures("c")[1] == 1


def test_blurred_images_are_taken_with_their_flag_and_violations_are_not(desk):
    desk("a", CAT, DOG)
    flags = {"cat": {"blurred": True}, "dog": {"content_violation": True}}
    rewrite("a", lambda one: msgspec.structs.replace(one, flags=msgspec.structs.replace(one.flags, **flags[one.id])))
    ended = desk("b", CAT, DOG, options=("--reuse", "a", "--fail-on", "blurred"))
    assert ended.code == 1
    assert "flagged by the API: 1 blurred" in ended.out
    assert (records("b")["cat"].flags.blurred, records("b")["dog"].reused) == (True, None)


def test_a_sandbox_takes_only_what_a_sandbox_made(desk):
    desk("a", CAT)
    rewrite("a", lambda one: msgspec.structs.replace(one, sandbox=False))
    assert "because they are not made by the sandbox (cat)" in desk("b", CAT, options=("--reuse", "a")).err
    assert figures("b")[1] == 0


def test_a_real_run_takes_nothing_that_a_sandbox_made(desk):
    desk("a", CAT)
    found = desk("b", CAT, options=("--reuse", "a", "--offline"), command=("check",))
    assert "1 job, all lines valid, 1 reused" in found.out
    Path("jobs.jsonl").write_text(json.dumps(CAT))
    real = run("check", "jobs.jsonl", "-o", "b", "--reuse", "a", "--offline")
    assert "1 request would go out" in real.out
    assert "because they are made by the sandbox (cat)" in real.err


def test_a_server_on_this_machine_may_be_either(desk, monkeypatch):
    desk("a", CAT, DOG)
    rewrite("a", lambda one: msgspec.structs.replace(one, sandbox=one.id == "cat"))
    monkeypatch.setenv("VENICE_API_KEY", "sandbox")
    with served(latency_s=0) as url:
        assert desk("b", CAT, DOG, options=("--reuse", "a", "--base-url", url)).code == 0
    assert figures("b")[1] == 2


def test_a_run_of_which_all_is_reused_needs_no_server(desk, monkeypatch):
    desk("a", CAT)
    rewrite("a", lambda one: msgspec.structs.replace(one, sandbox=False))
    monkeypatch.setenv("VENICE_API_KEY", "a-key")
    Path("jobs.jsonl").write_text(json.dumps(CAT))
    ended = run("jobs.jsonl", "-o", "b", "--reuse", "a", "--offline")
    assert ended.code == 0
    assert ended.out.splitlines()[-2] == "1 job: 0 succeeded, 1 reused"
    assert figures("b") == (1, 1, 0, 0.0)


def test_check_and_a_dry_run_count_and_price_without_them(desk):
    desk("a", CAT, DOG)
    jobs = (CAT, DOG, {**CAT, "id": "new", "seed": 9})
    for command, options in ((("check",), ()), ((), ("--dry-run",))):
        found = desk("b", *jobs, options=("--reuse", "a", *options), command=command)
        assert "3 jobs, all lines valid, 2 reused" in found.out
        assert "1 request would go out, into b" in found.out
        assert "cost 0.01 USD" in found.out or "costs 0.01 USD" in found.out
        planned = json.loads(desk("b", *jobs, options=("--reuse", "a", "--json", *options), command=command).out)
        assert (planned["reused"], planned["pending"], planned["usd"]) == (2, 1, 0.01)
        assert planned["already_rejected"] == planned["already_done"] == 0
    assert not Path("b").exists()
    assert desk("b", *jobs, options=("--reuse", "a", "--max-cost", "0.01")).code == 0
    assert desk("c", *jobs, options=("--max-cost", "0.01")).code == 4


def test_chains_take_their_images_from_link_to_link(desk):
    desk("a", BIG, X4, CUT)
    jobs = ({**BIG, "id": "tom"}, {**X4, "image": {"job": "tom"}, "id": "big"}, {**CUT, "image": {"job": "big"}})
    planned = desk("b", *jobs, options=("--reuse", "a"), command=("check",))
    assert "3 jobs, all lines valid, 3 reused" in planned.out
    assert "0 requests would go out" in planned.out
    ended = desk("b", *jobs, options=("--reuse", "a"))
    assert ended.code == 0
    assert figures("b")[:3] == (3, 3, 0)
    assert "→ b, 3 reused" in ended.err
    found = records("b")
    assert (found["big"].parent.id, found["cut"].parent.id) == ("tom", "big")
    assert found["big"].request_hash == records("a")["x4"].request_hash
    assert desk("b", *jobs, options=("--reuse", "a")).code == 0
    assert summary("b")["already_done"] == 3


def test_a_chain_whose_first_image_is_new_is_bought(desk):
    desk("a", BIG, X4)
    assert desk("b", {**BIG, "seed": 5}, X4, CUT, options=("--reuse", "a")).code == 0
    assert figures("b")[:3] == (3, 0, 3)
    assert desk("c", BIG, {**X4, "scale": 2}, CUT, options=("--reuse", "a")).code == 0
    assert figures("c")[:3] == (3, 1, 2)


def test_a_job_in_a_chain_prefers_the_record_of_its_id(desk):
    twin = {**X4, "id": "twin"}
    desk("a", BIG, X4, twin)
    desk("b", BIG, twin, options=("--reuse", "a"))
    assert records("b")["twin"].reused.id == "twin"
    desk(
        "c",
        BIG,
        {**X4, "image": {"job": "cat"}, "id": "one"},
        {**X4, "id": "two"},
        {**X4, "id": "three"},
        options=("--reuse", "a"),
    )
    assert figures("c")[1] == 3


def test_waiting_for_a_pick_reuses_nothing(desk):
    picked = {**X4, "image": {"job": "cat", "pick": True}}
    desk("a", BIG, X4)
    assert desk("b", BIG, picked, options=("--reuse", "a")).code == 75
    assert figures("b")[1] == 1


def test_jobs_with_pictures_of_their_own_are_recognised_by_content(desk, tmp_path):
    desk("a", BIG)
    edit = {"id": "e", "endpoint": "/image/upscale", "image": {"path": "a/images/cat.webp"}, "scale": 2}
    desk("b", edit)
    Path("other.webp").write_bytes(Path("a/images/cat.webp").read_bytes())
    desk("c", {**edit, "image": {"path": "other.webp"}}, options=("--reuse", "b"))
    assert figures("c")[1] == 1


def test_the_output_folder_itself_serves_jobs_that_were_renamed(desk):
    desk("a", CAT, DOG)
    assert desk("a", {**CAT, "id": "renamed"}, DOG, options=("--reuse", "a")).code == 0
    assert figures("a")[:3] == (1, 1, 0)
    assert os.path.samefile("a/images/cat.webp", "a/images/renamed.webp")


def test_where_the_disk_cannot_link_images_are_copied(desk, monkeypatch):
    desk("a", CAT)

    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(image_part.portable, "link", refuse)
    assert desk("b", CAT, options=("--reuse", "a")).code == 0
    assert Path("b/images/cat.webp").read_bytes() == Path("a/images/cat.webp").read_bytes()
    assert not os.path.samefile("a/images/cat.webp", "b/images/cat.webp")
    assert figures("b")[1] == 1


def test_a_full_disk_ends_the_run_with_5(desk, monkeypatch):
    desk("a", CAT)

    link = portable.link

    def refuse(source, target):
        if str(source).startswith("a/"):
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(image_part.portable, "link", refuse)
    ended = desk("b", CAT, options=("--reuse", "a"))
    assert (ended.code, summary("b")["pending"]) == (5, 1)
    assert "stopped: b: the disk is full" in ended.out


def test_a_signal_ends_it_after_the_image_under_way(desk, monkeypatch):
    # Fewer than a window of the sandbox takes: the next one begins a minute later.
    jobs = [{**CAT, "id": f"cat-{number}", "seed": number} for number in range(16)]
    desk("a", *jobs)
    adopt = JobImages.adopt

    async def interrupted(self, root, files):
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(JobImages, "adopt", adopt)
        return await adopt(self, root, files)

    monkeypatch.setattr(JobImages, "adopt", interrupted)
    ended = desk("b", *jobs, options=("--reuse", "a"))
    found = summary("b")
    assert ended.code == 130
    assert 1 <= found["reused"] < 16
    assert (found["pending"], found["attempts"]) == (16 - found["reused"], 0)
    assert desk("b", *jobs, options=("--reuse", "a")).code == 0
    assert figures("b")[1:3] == (16 - found["reused"], 0)


def test_a_jobs_file_that_changes_meanwhile_ends_the_run_with_2(desk, monkeypatch):
    desk("a", CAT, DOG)
    take = Reuser._take

    def changed(self, *given):
        Path("jobs.jsonl").write_text("{}\n{}\n")
        return take(self, *given)

    monkeypatch.setattr(Reuser, "_take", changed)
    ended = desk("b", CAT, DOG, options=("--reuse", "a"))
    assert ended.code == 2
    assert "has changed" in ended.out


@pytest.mark.parametrize("change", [b"", b"damaged\n"])
def test_a_manifest_that_changes_meanwhile_ends_the_run_with_5(desk, monkeypatch, change):
    desk("a", CAT)
    record = ReusableImages.record

    def changed(self, found):
        Path("a/manifest.jsonl").write_bytes(change)
        return record(self, found)

    monkeypatch.setattr(ReusableImages, "record", changed)
    assert desk("b", CAT, options=("--reuse", "a")).code == 5
    assert "a/manifest.jsonl: has changed since it was read" in summary("b")["reason"]


def test_another_record_at_its_place_is_not_taken(desk, monkeypatch):
    desk("a", CAT, DOG)
    record = ReusableImages.record
    dog = records("a")["dog"]
    monkeypatch.setattr(ReusableImages, "record", lambda self, found: dog if found.id == "cat" else record(self, found))
    assert "cat is not reused from a: dog was made for another request" in desk("b", CAT, options=("--reuse", "a")).err


def test_a_folder_without_records_is_refused_before_anything_is_sent(desk):
    Path("empty").mkdir()
    for command in ((), ("check",)):
        ended = desk("b", CAT, options=("--reuse", "empty"), command=command)
        assert (ended.code, ended.err.splitlines()[-1]) == (
            5,
            "venice-batch: empty: holds no manifest.jsonl; is it a run's output folder?",
        )
    assert not Path("b/images/cat.webp").exists()


def test_damaged_lines_and_failed_jobs_are_passed_over(desk):
    desk("a", CAT, {**DOG, "prompt": "forbidden"})
    with Path("a/manifest.jsonl").open("ab") as lines:
        lines.write(b"damaged\n{}\n")
    jobs = (CAT, {**DOG, "prompt": "forbidden"})
    said = "a/manifest.jsonl: passed over 2 lines without a record (line 3, 4)"
    for command in (("check",), ("run", "--dry-run"), ()):
        assert desk("b", *jobs, options=("--reuse", "a"), command=command).err.count(said) == 1
    assert figures("b")[1] == 1


def test_settings_files_and_the_environment_name_folders_too(desk):
    desk("a", CAT)
    Path("venice-batch.toml").write_text('[run]\nreuse = ["a"]\n')
    assert main(["trust"]) == 0
    assert desk("b", CAT).code == 0
    assert figures("b")[1] == 1


def test_the_json_log_counts_them(desk):
    desk("a", CAT)
    lines = [
        json.loads(line) for line in desk("b", CAT, options=("--reuse", "a", "--log-format", "json")).err.splitlines()
    ]
    by_event = {line["event"]: line for line in lines}
    assert (by_event["run_started"]["reused"], by_event["run_ended"]["reused"]) == (1, 1)
    assert by_event["run_started"]["expected_usd"] in (0, None)
