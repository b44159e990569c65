import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import run

from venice_batch.cli.main import main

GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*lines, name="jobs.jsonl"):
    with open(name, "w", encoding="utf-8") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")


def test_the_short_form_makes_the_images(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST]) == 0
    out = capsys.readouterr()
    assert os.listdir("output/jobs/images") == ["a.webp"]
    assert "1 job: 1 succeeded" in out.out
    assert "output/jobs" in out.err


def test_json_prints_one_object_and_nothing_else(capsys):
    write(GOOD, {**GOOD, "id": "b", "prompt": "forbidden"})
    assert main(["jobs.jsonl", *FAST, "--json"]) == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    summary = json.loads(out)
    assert (summary["succeeded"], summary["rejected"], summary["exit_code"]) == (1, 1, 1)


def test_a_sandbox_run_with_nothing_left_to_do_is_still_one_of_the_sandbox():
    write(GOOD)
    for already_done in (0, 1):
        assert main(["jobs.jsonl", "-o", "out", *FAST]) == 0
        summary = json.loads(Path("out/summary.json").read_text())
        assert (summary["already_done"], summary["sandbox"]) == (already_done, True)


@pytest.mark.parametrize(
    ("lines", "arguments", "code", "reason"),
    [
        ([{**GOOD, "width": "x"}], [], 2, "jobs.jsonl:1: width"),
        ([GOOD], ["--max-cost", "0.001"], 4, "above --max-cost"),
        ([GOOD], ["--config", "none.toml"], 2, "none.toml"),
        ([GOOD], ["--rpm", "many"], 2, "'many' is not a whole number of 1 or more"),
        ([GOOD], ["--sandbox-set", "nonsense=1"], 2, "nonsense"),
    ],
)
def test_a_run_that_does_not_begin_is_one_object_of_json_too(capsys, lines, arguments, code, reason):
    write(*lines)
    assert main(["jobs.jsonl", *FAST, "--json", *arguments]) == code
    refusal = json.loads(capsys.readouterr().out)
    assert refusal.keys() - {"problems"} == {"exit_code", "reason"}
    assert refusal["exit_code"] == code
    assert reason in refusal["reason"]


def test_a_run_ends_with_its_result_and_shows_times_only_when_verbose(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST, "-o", "out"]) == 0
    out = capsys.readouterr().out
    assert "seconds" not in out
    result, where = out.splitlines()[-2:]
    assert result == "1 job: 1 succeeded; 1 image, 0.01 USD of sandbox money"
    assert where == "in out: images, manifest.jsonl, summary.json; next: venice-batch report out"
    assert main(["jobs.jsonl", *FAST, "-o", "again", "-v"]) == 0
    assert "\n\nseconds      n  queue p50 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "variable", "shown"),
    [(["-v"], "QUIET", True), (["-q"], "VERBOSE", False), (["-q", "-v"], "DURABLE", False)],
)
def test_quiet_wins_over_verbose_unless_its_source_is_weaker(capsys, monkeypatch, arguments, variable, shown):
    write(GOOD)
    monkeypatch.setenv(f"VENICE_BATCH_{variable}", "1")
    assert main(["jobs.jsonl", *FAST, *arguments]) == 0
    assert ("seconds" in capsys.readouterr().out) == shown


def test_quiet_says_only_what_fails(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST, "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    write(GOOD, {**GOOD, "id": "b", "prompt": "forbidden"})
    assert main(["jobs.jsonl", *FAST, "-q"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("b: rejected: content_policy")
    assert err.count("\n") == 1


def test_the_json_log_is_one_object_a_line(capsys):
    write(GOOD)
    main(["jobs.jsonl", *FAST, "--log-format", "json"])
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["run_started", "job_ended", "run_ended"]


def test_jobs_come_from_standard_input_too():
    assert run("-", *FAST, stdin=json.dumps(GOOD) + "\n").code == 0
    assert os.listdir("output/stdin/images") == ["a.webp"]


def test_options_come_from_the_environment_too(monkeypatch):
    write(GOOD)
    monkeypatch.setenv("VENICE_BATCH_OUTPUT", "elsewhere")
    monkeypatch.setenv("VENICE_BATCH_RESPONSE", "json")
    assert main(["jobs.jsonl", *FAST, "-q"]) == 0
    with open("elsewhere/manifest.jsonl") as manifest:
        record = json.loads(manifest.read())
    assert record["timing"]["server"] is not None


def test_set_gives_every_job_the_field_that_it_lacks():
    write({"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p", "format": "png"})
    fields = ["--set", "model=venice-sd35", "--set", "width=64", "--set", "height=64", "--set", "format=jpeg"]
    assert main(["jobs.jsonl", *FAST, "-q", *fields]) == 0
    assert sorted(os.listdir("output/jobs/images")) == ["a.jpg", "b.png"]


def test_a_dry_run_sends_nothing_and_makes_nothing(capsys):
    write(GOOD, {**GOOD, "id": "b", "variants": 3})
    assert main(["jobs.jsonl", "--dry-run"]) == 0
    assert "2 requests for 4 images would go out" in capsys.readouterr().out
    assert not os.path.exists("output")


def problem(capsys, *lines, name="jobs.jsonl", code=2, arguments=("--sandbox",)):
    """Return the one line printed for a bad file, after checking that nothing was made."""
    if lines:
        write(*lines, name=name)
    assert main([name, *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert not os.path.exists("output/jobs")
    return err


def test_no_such_file(capsys):
    assert "nothere.jsonl: no such file" in problem(capsys, name="nothere.jsonl")


def test_a_folder_as_the_jobs_file(capsys, tmp_path):
    assert "is a folder" in problem(capsys, name=str(tmp_path))


def test_an_empty_file(capsys):
    open("jobs.jsonl", "w").close()
    assert "jobs.jsonl: holds no jobs" in problem(capsys)


def test_a_binary_file(capsys):
    with open("jobs.jsonl", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n\0\0\0")
    assert "PNG" in problem(capsys)


def test_broken_json_on_line_3(capsys):
    assert "jobs.jsonl:3: " in problem(capsys, GOOD, {**GOOD, "id": "b"}, '{"id": ')


def test_wrong_types_and_unknown_fields_are_all_reported(capsys):
    error = problem(capsys, {**GOOD, "width": "1024", "promt": "x"}, {**GOOD, "id": 5})
    assert "jobs.jsonl:1: width: " in error
    assert "did you mean 'prompt'?" in error
    assert "jobs.jsonl:2: id: " in error
    assert "3 problems; nothing was sent" in error


def test_duplicate_ids_name_both_lines(capsys):
    error = problem(capsys, GOOD, GOOD)
    assert "jobs.jsonl:2: id: 'a' is used on line 1" in error


def test_variants_with_return_binary(capsys):
    assert "variants" in problem(capsys, {**GOOD, "variants": 2, "return_binary": True})


def test_a_line_of_two_megabytes(capsys):
    error = problem(capsys, {**GOOD, "prompt": "x" * 2_000_000})
    assert "MB" in error
    assert len(error) < 500


def test_no_key(capsys):
    write(GOOD)
    assert main(["jobs.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("venice-batch: no API key: set VENICE_API_KEY or give --api-key-file")


def test_a_folder_that_cannot_be_made(capsys):
    write(GOOD)
    open("output", "w").close()
    assert main(["jobs.jsonl", *FAST]) == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is not a folder; choose another with --output" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(capsys):
    write(GOOD)
    os.mkdir("output", mode=0o500)
    assert main(["jobs.jsonl", *FAST]) == 5
    assert "cannot write here" in capsys.readouterr().err


def test_a_sandbox_and_an_address_contradict_each_other(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", "--sandbox", "--base-url", "http://x"]) == 2
    assert "two servers" in capsys.readouterr().err


def test_a_setting_that_the_sandbox_lacks(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", "--sandbox", "--sandbox-set", "nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_lets_what_is_under_way_finish(number, code):
    write(*({**GOOD, "id": f"j{n}"} for n in range(50)))
    slow = ["--sandbox", "--sandbox-latency", "0.3", "--sandbox-draw", "plain", "-c", "4"]
    with subprocess.Popen(
        [sys.executable, "-m", "venice_batch", "jobs.jsonl", *slow, "--json", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while json.loads(process.stderr.readline())["event"] != "job_ended":
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    stopping = next(json.loads(line) for line in err.splitlines() if '"stopping"' in line)
    summary = json.loads(out)
    assert summary["exit_code"] == code
    assert summary["succeeded"] >= 1 + stopping["in_flight"]
    assert summary["pending"] >= 40
    assert summary["succeeded"] + summary["pending"] == 50
    with open("output/jobs/manifest.jsonl") as manifest:
        assert len(manifest.readlines()) == summary["succeeded"]


@pytest.mark.cover_commands
def test_a_second_signal_stops_at_once_and_loses_no_record():
    write(*({**GOOD, "id": f"j{n}"} for n in range(20)))
    endless = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain", "-c", "4"]
    faults = ["--sandbox-set", "fault_schedule=6:stall", "--sandbox-set", "stall_s=600"]
    with subprocess.Popen(
        [sys.executable, "-m", "venice_batch", "jobs.jsonl", *endless, *faults, "--json", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        ended = 0
        while ended < 19:
            ended += json.loads(process.stderr.readline())["event"] == "job_ended"
        process.send_signal(signal.SIGINT)
        assert json.loads(process.stderr.readline())["event"] == "stopping"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["pending"] == 1
    with open("output/jobs/manifest.jsonl") as manifest:
        assert len(manifest.readlines()) == 19


def test_a_name_template_makes_folders_and_resumes():
    write({**GOOD, "metadata": {"set": "one"}}, {**GOOD, "id": "b", "metadata": {"set": "two"}})
    arguments = ["jobs.jsonl", *FAST, "-q", "--name", "{metadata.set}/{index:03}-{id}"]
    assert main(arguments) == 0
    assert os.path.exists("output/jobs/images/one/001-a.webp")
    assert os.path.exists("output/jobs/images/two/002-b.webp")
    assert main([*arguments, "--json"]) == 0


def test_a_name_that_two_jobs_would_share_is_an_error(capsys):
    error = problem(capsys, GOOD, {**GOOD, "id": "b"}, arguments=("--sandbox", "--name", "{model}"))
    assert "jobs.jsonl:2: --name: " in error


def test_a_price_above_the_cap_is_refused_before_anything_is_sent(capsys):
    write(*({**GOOD, "id": f"j{n}"} for n in range(5)))
    assert main(["jobs.jsonl", *FAST, "--max-cost", "0.04"]) == 4
    assert "would cost 0.05 USD, above --max-cost; nothing was sent" in capsys.readouterr().err
    assert not os.path.exists("output")


@pytest.mark.parametrize("amount", ["nan", "inf", "1e400", "-1", "much"])
def test_a_cap_that_is_no_amount_is_refused(capsys, amount):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST, "--max-cost", amount]) == 2
    assert "--max-cost" in capsys.readouterr().err
    assert not os.path.exists("output")


def test_a_cap_counts_the_enhancement_of_prompts(capsys):
    write(*({**GOOD, "id": f"j{n}", "enhance_prompt": True} for n in range(10)))
    assert main(["jobs.jsonl", *FAST, "--max-cost", "0.10", "-q"]) == 4
    assert "would cost 0.50 USD, above --max-cost; nothing was sent" in capsys.readouterr().err
    write({**GOOD, "enhance_prompt": True}, {**GOOD, "id": "b", "enhance_prompt": True, "prompt": "verbatim"})
    assert main(["jobs.jsonl", *FAST, "--max-cost", "0.10", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["cost_usd"], summary["unpriced"], summary["sandbox"]) == (0.06, 0, True)
    with open("output/jobs/manifest.jsonl") as manifest:
        assert {record["id"]: record["cost_usd"] for record in map(json.loads, manifest)} == {"a": 0.05, "b": 0.01}


def test_what_a_run_has_cost_is_in_its_summary_and_its_records(capsys):
    write({**GOOD, "variants": 3}, {**GOOD, "id": "b", "prompt": "forbidden"})
    assert main(["jobs.jsonl", *FAST, "--max-cost", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cost_usd"] == 0.03
    with open("output/jobs/manifest.jsonl") as manifest:
        assert {record["id"]: record["cost_usd"] for record in map(json.loads, manifest)} == {"a": 0.03, "b": 0.0}


def test_a_job_that_its_model_would_refuse_is_an_error_with_the_nearest_valid_value(capsys):
    error = problem(capsys, {"model": "krea-2-turbo", "prompt": "p", "resolution": "4K"})
    assert "jobs.jsonl:1: resolution: krea-2-turbo has no '4K' (nearest: 2K; it has 1K, 2K)" in error


def test_a_tier_is_sent_in_the_models_own_spelling():
    write({"id": "a", "model": "grok-imagine-image", "prompt": "p", "aspect_ratio": "1:1", "resolution": "1K"})
    assert main(["jobs.jsonl", *FAST, "-q"]) == 0
    with open("output/jobs/manifest.jsonl") as manifest:
        assert json.loads(manifest.read())["request"]["resolution"] == "1k"


def test_shares_of_a_file_have_every_job_once(capsys):
    write(*({**GOOD, "id": f"j{number}"} for number in range(12)))
    counts = []
    for number in (1, 2, 3):
        share = ["--shard", f"{number}/3"]
        assert main(["check", "jobs.jsonl", "--sandbox", "--json", *share]) == 0
        planned = json.loads(capsys.readouterr().out)["jobs"]
        assert main(["jobs.jsonl", *FAST, "-o", "all", "--json", "-q", *share]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert planned == summary["jobs"] == summary["succeeded"]
        counts.append(planned)
    assert sum(counts) == 12
    assert len(os.listdir("all/images")) == 12


def test_an_impossible_share_is_one_line(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST, "--shard", "3/2"]) == 2
    assert capsys.readouterr().err == (
        "venice-batch: --shard '3/2' is not a share; give I/N with I from 1 to N, as in 1/3\n"
    )


def attempts_of(capsys, *options):
    write({"id": "a", "model": "venice-sd35", "prompt": "p"})
    lost = ["--sandbox", "--sandbox-latency", "0", "--sandbox-fault-rate", "1", "--sandbox-faults", "no-images"]
    assert main(["jobs.jsonl", *lost, "--json", *options]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert "raise --max-paid-attempts" in summary["failures"][0]["message"]
    return summary["attempts"]


def test_a_request_that_may_be_charged_is_tried_twice_by_default(capsys, monkeypatch):
    assert attempts_of(capsys) == 2
    assert attempts_of(capsys, "--max-paid-attempts", "1") == 1, "and it was tried again, as failed jobs are"
    Path("venice-batch.toml").write_text("[run]\nmax-paid-attempts = 1\n")
    assert attempts_of(capsys) == 1
    monkeypatch.setenv("VENICE_BATCH_MAX_PAID_ATTEMPTS", "2")
    assert attempts_of(capsys) == 2


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_less_than_one_attempt_that_may_be_charged_is_refused(capsys, number):
    write({"id": "a", "model": "venice-sd35", "prompt": "p"})
    assert main(["jobs.jsonl", "--sandbox", "--max-paid-attempts", number]) == 2
    assert "--max-paid-attempts" in capsys.readouterr().err


IDEAS = ["# ideas", "A gondola at blue hour", "A {subject} on a roof", "A gondola at blue hour"]
IDEAS_FIELDS = ["--set", "model=venice-sd35", "--set", "width=64", "--set", "height=64"]


def images():
    return sorted(path.stem for path in Path("output/ideas/images").iterdir())


def records():
    return [json.loads(line) for line in Path("output/ideas/manifest.jsonl").read_text().splitlines()]


def test_images_of_a_text_are_named_after_line_and_prompt(capsys):
    write(*IDEAS, name="ideas.txt")
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS, "--var", "subject=cat,red dog"]) == 0
    assert images() == [
        "0002-a-gondola-at-blue-hour",
        "0003-a-cat-on-a-roof",
        "0003-a-red-dog-on-a-roof",
        "0004-a-gondola-at-blue-hour",
    ]
    err = capsys.readouterr().err
    assert err.count("ideas.txt: 1 comment (line 1) left out; a # and a space begin a comment") == 1


def test_variants_and_combinations_are_in_the_names(capsys):
    write("A cat", name="ideas.txt")
    args = ["ideas.txt", *FAST, *IDEAS_FIELDS, "--set", "variants=2", "--matrix", "style_preset=Anime,Cinematic"]
    assert main(args) == 0
    assert images() == [f"0001-a-cat__style_preset-{style}-{n}" for style in ("Anime", "Cinematic") for n in (1, 2)]


def test_a_text_whose_lines_move_is_not_paid_for_again(capsys):
    write(*IDEAS, name="ideas.txt")
    args = ["ideas.txt", *FAST, *IDEAS_FIELDS, "--var", "subject=cat,dog"]
    assert main(args) == 0
    write("A new one", *reversed(IDEAS), name="ideas.txt")
    capsys.readouterr()
    assert main(args) == 0
    assert "5 jobs: 1 succeeded, 4 done before" in capsys.readouterr().out
    assert images()[0] == "0001-a-new-one"


def test_a_folder_with_images_named_after_ids_is_not_paid_for_again(capsys):
    """Earlier versions named the images of a text after the jobs' ids."""
    write("A cat", "A dog", name="ideas.txt")
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS, "--name", "{id}"]) == 0
    assert all(len(name) == 16 for name in images())
    capsys.readouterr()
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS]) == 0
    assert "2 jobs: 0 succeeded, 2 done before" in capsys.readouterr().out


def test_a_table_with_ids_is_named_after_them_and_one_without_after_its_prompts():
    write("id,prompt", "sea,The sea", ",A lake", name="ideas.csv")
    assert main(["ideas.csv", *FAST, *IDEAS_FIELDS]) == 0
    assert "sea" in images()
    write("prompt,mood", "The sea,calm", name="other.csv")
    assert main(["other.csv", *FAST, *IDEAS_FIELDS, "-o", "output/other"]) == 0
    assert os.listdir("output/other/images") == ["0002-the-sea.webp"]


def test_parts_of_a_file_run_one_after_the_other_and_the_rest_resumes(capsys):
    write(*(f"Idea number {number}" for number in range(1, 9)), name="ideas.txt")
    args = ["ideas.txt", *FAST, *IDEAS_FIELDS]
    assert main([*args, "--limit", "2"]) == 0
    out = capsys.readouterr()
    assert "2 jobs: 2 succeeded" in out.out
    assert "--limit 2: 2 of 8 jobs; the others stay as they are" in out.err
    assert main([*args, "--id", "000[35]-*", "-q"]) == 0
    assert images() == [f"000{number}-idea-number-{number}" for number in (1, 2, 3, 5)]
    assert main([*args, "--sample", "3", "--seed", "7"]) == 0
    again = capsys.readouterr()
    assert "3 jobs: " in again.out
    assert main([*args, "--sample", "3", "--seed", "7"]) == 0
    assert "3 jobs: 0 succeeded, 3 done before" in capsys.readouterr().out
    assert main(args) == 0
    assert len(images()) == len(records()) == 8


def test_the_exit_code_is_about_the_chosen_part():
    write("A cat", "forbidden", name="ideas.txt")
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS, "--limit", "1"]) == 0
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS, "--id", "*forbidden"]) == 1
    assert main(["ideas.txt", *FAST, *IDEAS_FIELDS]) == 1


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--seed", "3"], "--seed chooses the jobs of --sample; to give the images a seed, use --set seed=N"),
        (["--id", "lake*"], "--id lake*: no job of ideas.txt has such an id or name; `expand` lists the ids"),
        (["--var", "subject=cat", "--var", "mood=calm"], "--var mood: no prompt has {mood}; nothing was sent"),
        (["--set", "seed=1", "--matrix", "seed=1,2"], "--set and --matrix both name seed"),
        (["--matrix", "seed"], "--matrix seed: expected FIELD=A,B,C, as in --matrix seed=1,2,3"),
    ],
)
@pytest.mark.parametrize("command", [["run", *FAST], ["check", "--sandbox"], ["expand"]], ids=str)
def test_a_mistaken_choice_is_one_line_and_nothing_is_sent(capsys, command, arguments, found):
    write(*IDEAS[1:], name="ideas.txt")
    assert main([command[0], "ideas.txt", *command[1:], *IDEAS_FIELDS, *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"venice-batch: {found}"
    assert not Path("output").exists()


def test_a_share_divides_the_quota_that_the_server_names(capsys):
    write(*({**GOOD, "id": f"j{number}"} for number in range(2)))
    limits = ["--sandbox", "--sandbox-rpm", "7", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
    assert main(["jobs.jsonl", *limits, "--share", "3", "--metrics-file", "venice.prom"]) == 0
    quota = 'venice_batch_quota_images_per_minute{model="venice-sd35",output="output/jobs"} 2.0'
    assert quota in Path("venice.prom").read_text()


def test_a_share_below_one_is_refused(capsys):
    write(GOOD)
    assert main(["jobs.jsonl", *FAST, "--share", "0"]) == 2
    assert "--share" in capsys.readouterr().err
