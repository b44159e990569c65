"""`--budget-file` and `--max-cost-per` on the command line."""

import json
import os
from pathlib import Path

import pytest
from command import run, served

FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
BUDGET = ["--budget-file", "budget.jsonl", "--max-cost-per"]
GOOD = {"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(count=5, **fields):
    lines = [json.dumps({**GOOD, "id": f"j{number}", **fields}) for number in range(count)]
    Path("jobs.jsonl").write_text("\n".join(lines) + "\n")


def entries():
    return [json.loads(line) for line in Path("budget.jsonl").read_text().splitlines()]


def test_runs_into_several_folders_share_one_cap():
    write()
    first = run("jobs.jsonl", "-o", "a", *FAST, *BUDGET, "day=0.08,month=60")
    assert first.code == 0
    assert "budget.jsonl is new: no run has spent anything of this budget yet" in first.err
    second = run("jobs.jsonl", "-o", "b", *FAST, *BUDGET, "day=0.08,month=60", "--json", "-c", "1")
    summary = json.loads(second.out)
    assert (second.code, summary["succeeded"], summary["pending"]) == (4, 3, 2)
    assert summary["reason"].startswith(
        "--max-cost-per: 0.08 of today's 0.08 USD are spent, the next job's 0.01 do not"
    )
    assert "is new" not in second.err


def test_every_request_is_a_line_before_and_a_line_after_it_and_no_line_has_the_key(monkeypatch):
    write(2)
    monkeypatch.setenv("VENICE_API_KEY", "vn-SECRETKEY0123456789")
    with served(latency_s=0, draw="plain") as base_url:
        assert run("jobs.jsonl", "--base-url", base_url, "--budget-file", "budget.jsonl").code == 0
    found = entries()
    assert sorted(entry["entry"] for entry in found) == ["reserved", "reserved", "settled", "settled"]
    assert {entry["micro_usd"] for entry in found} == {10_000}
    before = next(entry for entry in found if entry["entry"] == "reserved")
    assert before["model"] == "venice-sd35"
    assert before["job"] in ("j0", "j1")
    assert before["output"] == os.path.abspath("output/jobs")
    assert before["sandbox"] is True
    assert "SECRET" not in Path("budget.jsonl").read_text()


def test_refused_and_failed_requests_give_their_money_back():
    write(3, prompt="forbidden")
    assert run("jobs.jsonl", *FAST, *BUDGET, "day=0.01").code == 1
    assert [entry["micro_usd"] for entry in entries() if entry["entry"] == "settled"] == [0, 0, 0]


def test_money_of_the_sandbox_leaves_the_real_budget_alone():
    write()
    assert run("jobs.jsonl", *FAST, *BUDGET, "day=1").code == 0
    real = [{**entry, "sandbox": False, "run_id": "real", "micro_usd": 900_000} for entry in entries()[:1]]
    Path("budget.jsonl").write_text(Path("budget.jsonl").read_text() + json.dumps(real[0]) + "\n")
    on_sandbox = run("check", "jobs.jsonl", "--sandbox", *BUDGET, "day=1")
    assert "budget: 0.95 of today's 1.00 USD left; enough" in on_sandbox.out
    really = run("check", "jobs.jsonl", "--offline", *BUDGET, "day=1")
    assert "budget: 0.10 of today's 1.00 USD left; enough" in really.out


@pytest.mark.parametrize("command", [["check", "jobs.jsonl"], ["jobs.jsonl", "--dry-run"]])
def test_a_plan_shows_what_is_left_and_makes_no_file(command):
    write()
    found = run(*command, "--sandbox", *BUDGET, "day=0.04,month=60")
    left = "0.04 of today's 0.04 USD left, 60.00 of this month's 60.00 USD left"
    assert f"budget: {left}; not enough for all" in found.out
    asked = json.loads(run(*command, "--sandbox", *BUDGET, "day=0.04", "--json").out)["budget"]
    assert (asked["day"]["cap_usd"], asked["day"]["left_usd"]) == (0.04, 0.04)
    assert asked["day"]["renews_at"].endswith("T00:00:00Z")
    assert not Path("budget.jsonl").exists()


@pytest.mark.parametrize("command", [["check", "jobs.jsonl"], ["jobs.jsonl"]])
def test_caps_without_a_file_are_refused(command):
    write()
    found = run(*command, "--sandbox", "--max-cost-per", "day=5")
    told = "venice-batch: --max-cost-per needs --budget-file, where all runs write down what they spend\n"
    assert (found.code, found.err) == (2, told)


def test_a_cap_that_is_none_is_refused():
    write()
    found = run("jobs.jsonl", *FAST, *BUDGET, "hour=5")
    assert (found.code, found.err) == (2, "venice-batch: --max-cost-per: 'hour' is not one of day, week, month\n")


def test_jobs_without_a_known_price_are_refused_under_a_cap_and_allowed_without():
    write(1, model="brand-new")
    found = run("jobs.jsonl", *FAST, *BUDGET, "day=5", "--allow-unknown")
    assert (found.code, found.err.splitlines()[-1]) == (
        2, "venice-batch: --max-cost-per: 1 job whose price is not known"
    )  # fmt: skip
    assert run("jobs.jsonl", *FAST, "--budget-file", "budget.jsonl", "--allow-unknown").code == 1
    assert entries() == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.write_text("nonsense\n"), "budget.jsonl: line 1 is no entry of a budget file"),
        (lambda path: path.mkdir(), "budget.jsonl: the budget file cannot be used"),
    ],
    ids=["nonsense", "folder"],
)
def test_a_file_that_cannot_be_used_is_one_line_and_nothing_is_sent(harm, told):
    write()
    harm(Path("budget.jsonl"))
    found = run("jobs.jsonl", *FAST, *BUDGET, "day=5")
    assert found.code == 5
    assert found.err.startswith(f"venice-batch: {told}")
    assert found.err.count("\n") == 1
    assert not os.listdir("output/jobs/images")


def test_a_file_that_breaks_during_the_run_stops_it_and_keeps_what_is_paid_for(monkeypatch):
    from venice_batch.errors import FolderError
    from venice_batch.output.ledger import Ledger

    write()
    update, count = Ledger.update, iter(range(1000))

    def breaks(self, decide):
        if next(count) == 2:  # after its opening and the first reservation
            raise FolderError(self.path, "the budget file cannot be used: Input/output error")
        update(self, decide)

    monkeypatch.setattr(Ledger, "update", breaks)
    found = run("jobs.jsonl", *FAST, *BUDGET, "day=5", "-c", "1", "--json")
    summary = json.loads(found.out)
    assert (found.code, summary["succeeded"], summary["pending"]) == (5, 1, 4)
    assert summary["reason"] == "budget.jsonl: the budget file cannot be used: Input/output error"
    assert len(os.listdir("output/jobs/images")) == 1


def test_a_projects_file_adds_a_budget_but_cannot_replace_the_users_own(tmp_path):
    write()
    own = Path(os.environ["XDG_CONFIG_HOME"], "venice-batch/config.toml")
    own.parent.mkdir(parents=True)
    project = '[run]\nbudget-file = "theirs.jsonl"\nmax-cost-per = "day=1000"\n'
    Path("venice-batch.toml").write_text(project + project.replace("run", "profile.p.run"))
    assert "budget: 1,000.00 of today's 1,000.00 USD left" in run("check", "jobs.jsonl", "--sandbox").out
    own.write_text(f'[run]\nbudget-file = "{tmp_path}/mine.jsonl"\nmax-cost-per = "day=0.02"\n')
    for extra in ([], ["--profile", "p"]):
        assert "budget: 0.02 of today's 0.02 USD left" in run("check", "jobs.jsonl", "--sandbox", *extra).out
    assert "day=0.02" in run("config").out
    assert "theirs" not in run("config").out
    mine = run("check", "jobs.jsonl", "--sandbox", "--max-cost-per", "day=3")
    assert "budget: 3.00 of today's 3.00 USD left" in mine.out


def test_a_projects_file_names_no_budget_outside_its_folder():
    write()
    Path("venice-batch.toml").write_text('[run]\nbudget-file = "../b.jsonl"\nmax-cost-per = "day=1"\n')
    found = run("check", "jobs.jsonl", "--sandbox")
    assert found.code == 2
    assert "run.budget-file: leads out of the folder of the project's file" in found.err
