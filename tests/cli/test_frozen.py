"""`check --freeze FILE` and `--frozen FILE`, in this process."""

import json
import os
import shlex
import time
from pathlib import Path

import pytest
from command import run, served

from venice_batch.catalogue import Cache, Listing, snapshot
from venice_batch.cli.options import VENICE

GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
SANDBOX = ["--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(GOOD)


def write(*lines):
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def check(*arguments):
    return run("check", "jobs.jsonl", *arguments)


def freeze(*arguments):
    found = check("--sandbox", "--freeze", "approved.json", *arguments)
    assert found.code == 0, found.err
    return found


def change(old, new):
    text = Path("approved.json").read_text()
    assert old in text
    Path("approved.json").write_text(text.replace(old, new))


def keep(*entries, age_s=0.0):
    Cache.of_user().store(VENICE, Listing(entries, snapshot().styles, time.time() - age_s, "live"))


def repriced(usd):
    return [
        {**entry, "model_spec": {**entry["model_spec"], "pricing": {"generation": {"usd": usd}}}}
        if entry["id"] == "venice-sd35"
        else entry
        for entry in snapshot().entries
    ]


def test_a_run_with_everything_as_approved_says_nothing_about_it():
    assert freeze().out.endswith("\nprices and limits of 1 model are frozen in approved.json\n")
    done = run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json")
    assert done.code == 0
    assert "approved" not in done.out + done.err
    assert Path("output/jobs/images/a.webp").exists()


def test_a_higher_price_refuses_the_run_before_anything_is_sent():
    freeze()
    change('"image": 0.01', '"image": 0.005')
    refused = run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json", "--quiet")
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err == (
        "approved.json: venice-sd35: price of an image: 0.005 USD approved, 0.01 USD now\n"
        "venice-batch: 1 difference; nothing was sent; approve with `venice-batch check jobs.jsonl --freeze"
        " approved.json --sandbox`\n"
    )
    assert sorted(os.listdir()) == ["approved.json", "jobs.jsonl"]
    assert check("--sandbox", "--frozen", "approved.json").err == refused.err
    assert run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json", "--dry-run").err == refused.err


def test_a_lower_price_is_reported_in_one_line_and_the_run_goes_on():
    freeze()
    change('"image": 0.01', '"image": 0.02')
    done = run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json")
    said = "venice-batch: approved.json still holds; venice-sd35: price of an image: 0.02 USD approved, 0.01 USD now\n"
    assert done.code == 0
    assert said in done.err
    checked = check("--sandbox", "--frozen", "approved.json")
    assert (checked.code, checked.err) == (0, said)
    assert (
        f"\nprices, models and limits are as approved in approved.json on {time.strftime('%Y-%m-%d', time.gmtime())}"
        in (checked.out)
    )
    quiet = run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_model_that_was_not_approved_refuses():
    freeze()
    write(GOOD, {**GOOD, "id": "b", "model": "z-image-turbo"})
    assert "approved.json: z-image-turbo: the jobs use this model, which is not approved (image 0.01 USD)\n" in (
        check("--sandbox", "--frozen", "approved.json").err
    )


def test_the_differences_as_json():
    freeze()
    change('"image": 0.01', '"image": 0.02')
    report = json.loads(check("--sandbox", "--frozen", "approved.json", "--json").out)["approval"]
    assert report["file"] == "approved.json"
    assert report["compared"]
    assert report["differences"] == [
        {"model": "venice-sd35", "what": "price of an image: 0.02 USD approved, 0.01 USD now", "refuses": False}
    ]
    change('"image": 0.02', '"image": 0.001')
    refused = json.loads(run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json", "--json").out)
    assert refused["exit_code"] == 2
    assert refused["problems"]["shown"] == [
        {
            "line": 0,
            "field": "venice-sd35",
            "what": "price of an image: 0.001 USD approved, 0.01 USD now",
            "source": "approved.json",
        }
    ]
    frozen = json.loads(check("--sandbox", "--freeze", "approved.json", "--json").out)["approval"]
    assert [one["refuses"] for one in frozen["differences"]] == [True]
    assert json.loads(check("--sandbox", "--freeze", "approved.json", "--json").out)["approval"] == {
        **frozen,
        "differences": [],
    }


def test_freezing_again_shows_what_has_changed_and_leaves_an_equal_file_alone():
    freeze()
    change('"image": 0.01', '"image": 0.005')
    change('"frozen_at": "20', '"frozen_at": "19')
    assert "\nprices and limits of 1 model are frozen in approved.json; since 19" in (again := freeze().out)
    assert again.endswith(":\n  venice-sd35: price of an image: 0.005 USD approved, 0.01 USD now\n")
    change('"frozen_at": "20', '"frozen_at": "19')
    before = Path("approved.json").read_bytes()
    assert freeze().out.splitlines()[-1].startswith("approved.json says the same since 19")
    assert Path("approved.json").read_bytes() == before


def test_a_changed_jobs_file_alone_is_frozen_anew():
    freeze()
    write(GOOD, {**GOOD, "id": "b"})
    checked = check("--sandbox", "--frozen", "approved.json")
    assert checked.code == 0
    assert "2 jobs for 0.02 USD now, 1 job for 0.01 USD approved; --max-cost limits what a run may cost" in checked.err
    assert (
        freeze().out.splitlines()[-2].startswith("prices and limits of 1 model are frozen in approved.json; since 20")
    )
    assert json.loads(Path("approved.json").read_bytes())["jobs"] == {"jobs": 2, "images": 2, "usd": 0.02}
    write(GOOD)
    assert freeze().out.endswith("\nprices and limits of 1 model are frozen in approved.json\n")


@pytest.mark.parametrize("command", [["check"], []], ids=["check", "run"])
def test_a_file_that_check_has_not_written_is_refused(command):
    found = run(*command, "jobs.jsonl", "--sandbox", "--frozen", "jobs.jsonl")
    assert found.code == 2
    assert found.err.startswith("venice-batch: jobs.jsonl: is no file of `check --freeze`: ")
    assert found.err.count("\n") == 1
    missing = run(*command, "jobs.jsonl", "--sandbox", "--frozen", "nowhere.json")
    assert missing.err == "venice-batch: nowhere.json: cannot be read: No such file or directory\n"


def test_freezing_does_not_overwrite_anything_else_but_an_empty_file():
    before = Path("jobs.jsonl").read_bytes()
    found = check("--sandbox", "--freeze", "jobs.jsonl")
    assert found.code == 2
    assert found.err.startswith("venice-batch: --freeze: jobs.jsonl: is no file of `check --freeze`: ")
    assert found.err.endswith("; it is not overwritten\n")
    assert Path("jobs.jsonl").read_bytes() == before
    Path("approved.json").touch()
    freeze()


def test_jobs_with_mistakes_are_not_frozen():
    write({**GOOD, "steps": 99})
    assert check("--sandbox", "--freeze", "approved.json").code == 2
    assert not Path("approved.json").exists()


def test_a_file_that_cannot_be_written_ends_with_5_and_no_plan():
    found = check("--sandbox", "--freeze", "nowhere/approved.json", "--json")
    assert found.code == 5
    assert json.loads(found.out)["exit_code"] == 5


def test_both_options_on_the_command_line_are_one_too_many():
    found = check("--sandbox", "--freeze", "a.json", "--frozen", "b.json")
    assert (found.code, found.err) == (
        2,
        "venice-batch: --freeze writes the file that --frozen compares with; give one of them\n",
    )


def test_freezing_beats_the_file_to_compare_with_in_the_settings():
    Path("venice-batch.toml").write_text('[run]\nfrozen = "approved.json"\n')
    freeze()
    change('"image": 0.01', '"image": 0.005')
    assert check("--sandbox").code == 2
    assert run("jobs.jsonl", *SANDBOX).code == 2
    freeze()
    assert check("--sandbox").code == 0
    frozen = check("--sandbox", "--frozen", "nowhere.json", "--no-config")
    assert "nowhere.json" in frozen.err


def test_a_project_can_neither_freeze_nor_name_a_file_elsewhere(tmp_path):
    Path("venice-batch.toml").write_text('[check]\nfreeze = "approved.json"\n')
    assert "check.freeze" in check("--sandbox").err
    Path("venice-batch.toml").write_text('[run]\nfrozen = "/etc/hostname"\n')
    assert "run.frozen: leads out of the folder of the project's file" in run("jobs.jsonl", *SANDBOX).err


def test_a_rehearsal_in_the_sandbox_does_not_compare_real_prices():
    keep(*repriced(0.5))
    assert check("--freeze", "approved.json", "--offline").code == 0
    rehearsal = run("jobs.jsonl", *SANDBOX, "--frozen", "approved.json")
    assert rehearsal.code == 0
    assert f"venice-batch: approved.json: not compared: it is about prices of {VENICE}\n" in rehearsal.err
    checked = check("--sandbox", "--frozen", "approved.json")
    assert "as approved" not in checked.out
    freeze_of_sandbox = check("--sandbox", "--freeze", "sandbox.json")
    assert freeze_of_sandbox.code == 0
    refused = check("--offline", "--frozen", "sandbox.json")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2,
        f"venice-batch: sandbox.json: is about prices of sandbox, not of {VENICE}",
    )


def test_a_cached_list_and_an_older_one_are_named():
    keep(*repriced(0.01))
    assert check("--freeze", "approved.json", "--offline").code == 0
    keep(*repriced(0.02), age_s=-60)
    assert "price of an image: 0.01 USD approved, 0.02 USD now" in check("--frozen", "approved.json", "--offline").err
    keep(*repriced(0.02), age_s=86_400)
    err = check("--frozen", "approved.json", "--offline").err
    assert "models and prices are checked against the list of " in err
    assert "; nothing was sent; compared with the cached list of " in err


def test_limits_of_the_key_are_frozen_and_compared(monkeypatch):
    with served(latency_s=0, rpm=20) as base_url:
        monkeypatch.setenv("VENICE_API_KEY", "k")
        assert check("--base-url", base_url, "--freeze", "approved.json").code == 0
        quota = json.loads(Path("approved.json").read_bytes())["models"]["venice-sd35"]["quota"]
        assert quota["images_a_minute"] == 20
        assert run("jobs.jsonl", "--base-url", base_url, "--frozen", "approved.json").code == 0
    with served(latency_s=0, rpm=10) as base_url:
        refused = run("jobs.jsonl", "--base-url", base_url, "--frozen", "approved.json", "-o", "again")
        assert refused.code == 2
        assert "approved.json: venice-sd35: images_a_minute: 20 approved, 10 now\n" in refused.err
        monkeypatch.delenv("VENICE_API_KEY")
        without = check("--base-url", base_url, "--frozen", "approved.json")
        assert without.code == 0
        assert "approved.json still holds; quotas are not compared: the key's own limits are not known\n" in without.err


def test_a_server_without_a_list_has_nothing_to_freeze_or_compare():
    keep(*repriced(0.01))
    assert check("--freeze", "approved.json", "--offline").code == 0
    elsewhere = ["--base-url", "https://example.com/v1", "--offline"]
    assert check("--freeze", "other.json", *elsewhere).err.splitlines()[-1] == (
        "venice-batch: --freeze: no list of models is known, so there are no prices to freeze"
    )
    change(VENICE, "https://example.com/v1")
    found = check("--frozen", "approved.json", *elsewhere)
    assert found.code == 75
    assert found.err.splitlines()[-1] == (
        "venice-batch: approved.json: cannot be compared, as no list of models is known for https://example.com/v1"
    )


def test_the_command_to_approve_keeps_the_options_that_matter():
    write({"id": "a", "prompt": "p", "variants": 2})
    options = [
        "--set",
        "model=venice-sd35",
        "--set",
        "style_preset=Film Noir",
        "--seed-policy",
        "split",
        "--no-allow-unknown",
    ]
    freeze(*options)
    change('"image": 0.01', '"image": 0.005')
    refused = run("jobs.jsonl", *SANDBOX, *options, "--frozen", "approved.json", "-c", "1")
    command = refused.err.splitlines()[-1].partition("approve with `")[2].rstrip("`")
    assert command == (
        "venice-batch check jobs.jsonl --freeze approved.json --sandbox --set model=venice-sd35"
        " --set 'style_preset=Film Noir' --seed-policy split"
    )
    assert run(*shlex.split(command)[1:]).code == 0
    assert run("jobs.jsonl", *SANDBOX, *options, "--frozen", "approved.json").code == 0


def test_on_github_differences_are_annotations_of_the_file():
    freeze()
    change('"image": 0.01', '"image": 0.005')
    refused = run("check", "jobs.jsonl", "--sandbox", "--frozen", "approved.json", environ={"GITHUB_ACTIONS": "true"})
    assert refused.err.splitlines()[-1] == (
        "::error file=approved.json,title=not as approved"
        "::venice-sd35: price of an image: 0.005 USD approved, 0.01 USD now"
    )
