"""`venice-batch check`, in this process."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from command import run, served

from venice_batch.api.listings import Limits
from venice_batch.catalogue import Cache, Listing, Preflight, snapshot
from venice_batch.cli.check import show_plan
from venice_batch.cli.known import Known, know
from venice_batch.cli.main import main
from venice_batch.cli.options import VENICE
from venice_batch.run.plan import Plan

GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def sandbox():
    with served(latency_s=0, rpm=7, balance_usd=0.05) as base_url:
        yield base_url


def write(*lines):
    with open("jobs.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def check(*arguments):
    return main(["check", "jobs.jsonl", *arguments])


def keep(*entries, age_s=0.0, styles=("Anime",), base_url=VENICE):
    Cache.of_user().store(base_url, Listing(entries, styles, time.time() - age_s, "live"))


def requests_seen(base_url):
    with urllib.request.urlopen(base_url.split("/api/")[0] + "/sandbox/stats") as answer:
        return json.load(answer)["requests"]


def test_check_counts_and_prices_requests_and_images_by_model(capsys):
    write(GOOD, {**GOOD, "id": "b", "variants": 4}, {**GOOD, "id": "c", "model": "z-image-turbo"})
    assert check("--offline") == 0
    out = capsys.readouterr().out
    assert out.startswith("3 jobs, all lines valid\n")
    assert "venice-sd35           2       5  0.05          20\n" in out
    assert "in all                3       6  0.06           -\n" in out
    assert "3 requests for 6 images would go out, into output/jobs\nthey take about 10 s and cost 0.06 USD\n" in out
    assert not os.path.exists("output")


def test_check_knows_what_is_done(capsys):
    write(GOOD)
    main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "-q"])
    write(GOOD, {**GOOD, "id": "b"})
    assert check("--json", "--sandbox") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["jobs"], plan["already_done"], plan["pending"], plan["usd"]) == (2, 1, 1, 0.01)
    assert check("--sandbox") == 0
    assert "2 jobs, all lines valid, 1 done before\n" in capsys.readouterr().out


def test_a_folder_with_an_empty_manifest_has_everything_to_do(capsys):
    os.makedirs("output/jobs")
    Path("output/jobs/manifest.jsonl").touch()
    write(GOOD, {**GOOD, "id": "b", "matrix": {"seed": [1, 2]}})
    assert check("--offline", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["jobs"], plan["already_done"], plan["pending"], plan["usd"], plan["left_out"]) == (3, 0, 3, 0.03, 0)
    assert check("--offline", "--json", "--limit", "2") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["jobs"], plan["left_out"]) == (2, 1)
    write(GOOD, GOOD)
    assert check("--offline") == 2
    assert "jobs.jsonl:2: id: 'a' is used on line 1 already\n" in capsys.readouterr().err


def test_check_counts_jobs_rejected_before_and_needs_no_network_for_a_sandbox(capsys):
    write({**GOOD, "prompt": "forbidden"})
    main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "-q"])
    capsys.readouterr()
    assert check("--sandbox") == 0
    out, err = capsys.readouterr()
    assert out == "1 job, all lines valid, 1 rejected before\n0 requests would go out, into output/jobs\n"
    assert err == ""


ONE_OF_EACH = [
    ({"model": "venice-sd53"}, "model", "venice-sd35"),
    ({"model": "retired", "width": None, "height": None}, "model", "use venice-sd35"),
    ({"model": "asleep", "width": None, "height": None}, "model", "offline"),
    ({"prompt": "x" * 1501}, "prompt", "1,500"),
    ({"height": 1300}, "height", "1280"),
    ({"model": "qwen-image-3", "width": 1280, "height": None}, "width", "3:2"),
    (
        {"model": "gpt-image-2", "transparent_background": True, "width": None, "height": None},
        "transparent_background",
        "gpt-image-1-5",
    ),
    ({"model": "krea-2-turbo", "resolution": "4K", "width": None, "height": None}, "resolution", "2K"),
    ({"model": "grok-imagine-image-2-0", "quality": "high", "width": None, "height": None}, "quality", "medium"),
    ({"steps": 31}, "steps", "30"),
    ({"variants": 2, "return_binary": True}, "variants", "remove return_binary"),
    ({"style_preset": "Cinematc"}, "style_preset", "Cinematic"),
    ({"endpoint": "/images/generations", "model": None, "width": None, "height": None}, "model", "missing"),
    ({"endpoint": "/images/generations", "prompt": "x" * 1501, "width": None, "height": None}, "prompt", "1,500"),
    ({"endpoint": "/images/generations", "size": "1000x1000", "width": None, "height": None}, "size", "1024x1024"),
    ({"endpoint": "/images/generations", "n": 2, "width": None, "height": None}, "n", "1 only"),
    ({"endpoint": "/images/generations", "moderation": "off", "width": None, "height": None}, "moderation", "auto"),
]


def test_a_file_with_one_of_each_mistake(capsys):
    entries = [
        *snapshot().entries,
        {
            "id": "retired",
            "model_spec": {"deprecation": {"date": "2026-01-01T00:00:00Z", "replacementModelId": "venice-sd35"}},
        },
        {"id": "asleep", "model_spec": {"offline": True}},
    ]
    keep(*entries, styles=snapshot().styles)
    lines = []
    for number, (changes, _, _) in enumerate(ONE_OF_EACH):
        line = {**GOOD, "id": f"j{number}", **changes}
        lines.append({name: value for name, value in line.items() if value is not None})
    write(GOOD, *lines)
    assert check("--offline") == 2
    out, err = capsys.readouterr()
    assert out == ""
    reported = [line for line in err.splitlines() if line.startswith("jobs.jsonl:")]
    assert len(reported) == len(ONE_OF_EACH)
    for number, ((_, field, hint), line) in enumerate(zip(ONE_OF_EACH, reported, strict=True), start=2):
        assert line.startswith(f"jobs.jsonl:{number}: {field}: ")
        assert hint in line
    assert f"{len(reported)} problems; nothing was sent" in err


def mistakes(capsys, *arguments):
    assert check("--offline", *arguments) == 2
    return [line for line in capsys.readouterr().err.splitlines() if "are checked against" not in line]


def test_a_field_that_many_lines_lack_is_told_once_with_the_option_that_gives_it(capsys):
    write(*({"id": f"j{n}", "prompt": "p"} for n in range(50)))
    assert mistakes(capsys) == [
        "jobs.jsonl:1: model: missing on all 50 lines; add --set model=NAME",
        "venice-batch: 50 problems; nothing was sent",
    ]
    write(GOOD, *({"id": f"j{n}", "model": "venice-sd35"} for n in range(50)))
    assert mistakes(capsys)[0] == (
        "jobs.jsonl:2: prompt: missing; the same on 49 more lines: 3-51; add --set prompt=VALUE"
    )
    write({"model": "venice-sd35"}, {**GOOD, "prompt": None})
    assert mistakes(capsys)[0] == "jobs.jsonl:1: prompt: missing"
    reference = {**GOOD, "style_references": [{}]}
    write(*({**reference, "id": f"j{n}"} for n in range(3)))
    assert mistakes(capsys)[0].endswith(".image: missing on all 3 lines")


def test_a_mistake_that_combinations_of_a_matrix_share_is_told_once_with_their_number(capsys):
    write({**GOOD, "matrix": {"steps": [20, 60], "seed": [1, 2, 3]}}, {**GOOD, "id": "b", "steps": 60})
    assert mistakes(capsys) == [
        "jobs.jsonl:1: steps: 60 is above venice-sd35's limit of 30; the same on all 2 lines (4 jobs)",
        "venice-batch: 4 problems; nothing was sent",
    ]


def test_more_mistakes_than_are_kept_are_all_counted_where_they_are_alike(capsys):
    write(*({"id": f"j{n}", "prompt": "p", "width": n} for n in range(2000, 3500)))
    width, model, end = mistakes(capsys)
    assert width.endswith("from 1 to 1280; 1,499 more like it on line 2-500, …")
    assert model.endswith("missing on all 1,500 lines; add --set model=NAME")
    assert end == "venice-batch: 3000 problems; nothing was sent"
    write(*({"id": f"j{n}", "prompt": "p"} for n in range(1500)))
    assert mistakes(capsys)[1] == "venice-batch: 1500 problems; nothing was sent"


def test_mistakes_as_json(capsys):
    write({**GOOD, "steps": 99}, {**GOOD, "id": "b", "format": "gif"})
    assert check("--offline", "--json") == 2
    out, err = capsys.readouterr()
    problems = json.loads(out)["problems"]
    assert problems["total"] == 2
    assert [(one["line"], one["field"]) for one in problems["shown"]] == [(1, "steps"), (2, "format")]
    assert "2 problems; nothing was sent" in err


@pytest.mark.parametrize(
    ("indent", "where"),
    [
        (None, "jobs.jsonl: element 1: {}; the same in all 3 elements"),
        (1, "jobs.jsonl:2: {}; the same in all 3 elements"),
    ],
)
def test_mistakes_in_an_array_are_found_by_element_or_line(indent, where, capsys):
    Path("jobs.jsonl").write_text(json.dumps([{**GOOD, "id": f"j{n}", "steps": 99} for n in range(3)], indent=indent))
    assert check("--offline") == 2
    told = capsys.readouterr().err.splitlines()[-2]
    assert told == where.format("steps: 99 is above venice-sd35's limit of 30")


def test_warnings_about_texts_of_a_folder_name_the_files(capsys):
    Path("prompts").mkdir()
    for name in ("a", "b", "c"):
        Path(f"prompts/{name}.txt").write_text("p")
    settings = ("--set", "model=venice-sd35", "--set", "enable_web_search=true")
    assert main(["check", "prompts", *settings, "--offline"]) == 0
    what = "enable_web_search: warning: venice-sd35 does not search the web"
    assert f"prompts/a.txt: {what} (2 more: prompts/b.txt, prompts/c.txt)\n" in capsys.readouterr().err


def test_names_that_collide_name_both_texts_of_a_folder(capsys):
    Path("prompts").mkdir()
    for name in ("a", "b"):
        Path(f"prompts/{name}.txt").write_text("p")
    assert main(["run", "prompts", "--set", "model=venice-sd35", "--sandbox", "--name", "{model}"]) == 2
    told = "prompts/b.txt: --name: 'venice-sd35' is the name of prompts/a.txt's image too; add {id} or {index}"
    assert capsys.readouterr().err.splitlines()[-2] == told


def test_warnings_go_to_standard_error_once_each_with_their_lines(capsys):
    write(*({**GOOD, "id": f"j{n}", "enable_web_search": True} for n in range(7)))
    assert check("--offline") == 0
    out, err = capsys.readouterr()
    assert "7 jobs, all lines valid, 7 warnings\n" in out
    assert "they take about 10 s and cost 0.07 USD\n" in out
    assert (
        "jobs.jsonl:1: enable_web_search: warning: venice-sd35 does not search the web (6 more: line 2, 3, 4, 5, …)\n"
        in err
    )
    assert check("--offline", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert (warnings["total"], warnings["shown"][0]["count"]) == (7, 7)


def test_more_warnings_than_are_shown(capsys):
    write(*({**GOOD, "id": f"j{n}", "model": f"new{n}"} for n in range(103)))
    assert check("--offline", "--allow-unknown") == 0
    out, err = capsys.readouterr()
    assert "3 further warnings not shown\n" in err
    assert "103 requests whose price is not known\n" in out
    assert " cost " not in out
    write({**GOOD, "model": "new"})
    assert check("--offline", "--allow-unknown") == 0
    assert "1 job, all lines valid, 1 warning\n" in capsys.readouterr().out


def test_strict_turns_warnings_into_errors(capsys):
    write({**GOOD, "enable_web_search": True})
    assert check("--offline", "--strict") == 2
    assert "jobs.jsonl:1: enable_web_search: venice-sd35 does not search the web\n" in capsys.readouterr().err


def test_settings_are_checked_like_fields(capsys):
    write({"id": "a", "model": "venice-sd35", "prompt": "p"})
    assert check("--offline", "--set", "steps=99") == 2
    assert "99 is above venice-sd35's limit of 30" in capsys.readouterr().err


def test_offline_says_how_old_its_list_is(capsys):
    write(GOOD)
    assert check("--offline", "--json") == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "the list of 2026-11-20 that comes with the package (" in err
    assert json.loads(out)["models"] == {"origin": "snapshot", "listed_at": "2026-11-20T00:00:00Z"}
    keep(*snapshot().entries, age_s=3 * 86_400)
    assert check("--offline") == 0
    assert "(3 days old)" in capsys.readouterr().err


def test_a_fresh_list_needs_no_network_and_no_notice(capsys):
    keep(*snapshot().entries)
    write(GOOD)
    code = "import sys; from venice_batch.cli.main import main; print(main(sys.argv[1:]), 'aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "check", "jobs.jsonl"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.endswith("0 False\n")


def test_a_server_without_a_list_gives_one_notice_and_no_check(capsys, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    write({**GOOD, "width": 1001})
    assert check("--base-url", "http://127.0.0.1:9") == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.rstrip().endswith("models, limits and prices are unchecked")
    assert "1 request whose price is not known\n" in out
    assert check("--base-url", "http://127.0.0.1:9", "--offline", "--json") == 0
    out, err = capsys.readouterr()
    assert "no list of models is known" in err
    assert "models" not in json.loads(out)


def test_venice_out_of_reach_is_replaced_by_the_list_at_hand(capsys, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # a proxy that is not there: no request leaves this machine
    write({**GOOD, "steps": 99})
    assert check() == 2
    err = capsys.readouterr().err
    assert "models and prices are checked against the list of 2026-11-20" in err
    assert "99 is above venice-sd35's limit of 30" in err
    keep(*snapshot().entries)
    write(GOOD)
    monkeypatch.setenv("VENICE_API_KEY", "k")
    assert check() == 0
    assert "balance and limits are unknown: " in capsys.readouterr().err


def test_a_live_list_needs_no_key(sandbox, capsys):
    before = requests_seen(sandbox)
    write(GOOD, {**GOOD, "id": "b", "steps": 99})
    assert check("--base-url", sandbox) == 2
    out, err = capsys.readouterr()
    assert err.startswith("jobs.jsonl:2: steps: 99 is above venice-sd35's limit of 30\n")
    write(GOOD)
    assert check("--base-url", sandbox, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    plan = json.loads(out)
    assert (plan["models"]["origin"], plan["balances"]) == ("live", None)
    assert requests_seen(sandbox) == before


def test_with_a_key_balance_and_limits_are_used(sandbox, capsys, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    write(*({**GOOD, "id": f"j{n}"} for n in range(8)))
    assert check("--base-url", sandbox) == 0
    out = capsys.readouterr().out
    assert "venice-sd35         8       8  0.08           7\n" in out
    assert "they take about 1 min 10 s and cost 0.08 USD\n" in out
    assert "balance: 0.05 USD; not enough\n" in out
    assert check("--base-url", sandbox, "--rpm", "4", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["expected_s"], plan["suffices"], plan["lanes"]["venice-sd35"]["rpm"]) == (70.0, False, 4)
    assert plan["balances"] == {"DIEM": 0.0, "BUNDLED_CREDITS": 0.0, "USD": 0.05}
    assert plan["access_permitted"] is True


def test_enhancement_is_in_the_sum_at_its_highest_cost(capsys):
    write({**GOOD, "enhance_prompt": True, "variants": 4})
    assert check("--offline") == 0
    out = capsys.readouterr().out
    assert "it takes about 10 s and costs 0.08 USD\n" in out
    assert "0.04 USD of it for prompt enhancement, charged only if a prompt is rewritten\n" in out


def test_a_price_that_is_not_known_is_shown_as_such(capsys):
    write({**GOOD}, {"id": "b", "model": "new", "prompt": "p"})
    assert check("--offline", "--allow-unknown") == 0
    out = capsys.readouterr().out
    assert "new                 1       1       ?          20\n" in out
    assert "in all              2       2  ≥ 0.01           -\n" in out
    assert "they take about 10 s and cost ≥ 0.01 USD\n1 request whose price is not known\n" in out


def test_fifteen_jobs_of_four_images_take_three_windows(capsys):
    write(*({**GOOD, "id": f"j{n}", "variants": 4} for n in range(15)))
    assert check("--offline") == 0
    assert "they take about 2 min 10 s and cost 0.60 USD\n" in capsys.readouterr().out


def test_balances_are_shown_one_by_one_and_a_key_without_access_is_reported(capsys):
    def shown(balances, enough, *, access=True):
        limits = Limits({}, balances, "paid", None, None, access)
        found = Plan(1, 0, 0, 0, {}, balances=limits.spendable, suffices=enough)
        assert (
            show_plan(found, Path("out"), as_json=False, preflight=Preflight(None), known=Known(None, limits, "")) == 0
        )
        return capsys.readouterr().out

    assert "balance: 5 DIEM, 0.5 USD; enough\n" in shown({"USD": 0.5, "DIEM": 5.0, "BUNDLED_CREDITS": 0.0}, True)
    assert "balance: 0 USD; not enough\n" in shown({"USD": 0.0}, False)
    assert "balance: none; not enough\n" in shown({}, False)
    assert "balance: 3 BUNDLED_CREDITS; whether that is enough is unknown\n" in shown({"BUNDLED_CREDITS": 3.0}, None)
    assert shown({"USD": 9.0}, False, access=False).endswith(
        "the key has no access (accessPermitted is false): the API would refuse the requests\n"
    )


def test_limits_are_requested_only_where_they_are_needed(sandbox, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    assert know(sandbox, None).limits.balances["USD"] == 0.05
    assert know(sandbox, None, limits=False).limits is None
    keep(*snapshot().entries)
    assert know(VENICE, None, limits=False) == (Cache.of_user().load(VENICE), None, "")


def test_the_program_that_the_page_shows_runs():
    page = Path(__file__).parents[2] / "docs" / "checking.md"
    (program,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    write(GOOD)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0.01\n", "")


def test_two_servers_are_one_too_many(capsys):
    write(GOOD)
    assert check("--sandbox", "--base-url", "http://127.0.0.1:9") == 2
    assert "name two servers" in capsys.readouterr().err


def check_piped(text):
    return run("check", "-", "--offline", stdin=text)


def test_standard_input_is_checked_too():
    done = check_piped(json.dumps({**GOOD, "steps": 99}))
    assert done.code == 2
    assert "1: steps: 99 is above venice-sd35's limit of 30" in done.err


def test_a_table_on_standard_input_is_reported_once():
    done = check_piped("id,model,prompt\na,venice-sd35,p\nb,venice-sd35,q\n")
    assert done.code == 2
    reported, closing = done.err.splitlines()
    assert reported.startswith("<stdin>: looks like a table; ")
    assert closing == "venice-batch: 1 problem; nothing was sent"


def test_a_column_that_nearly_is_a_field_is_warned_of_once_and_strictly_refused(capsys):
    Path("jobs.csv").write_text("prompt,widht\n" + "".join(f"boat {number},512\n" for number in range(8)))
    assert main(["check", "jobs.csv", "--set", "model=venice-sd35", "--offline"]) == 0
    reported = [line for line in capsys.readouterr().err.splitlines() if "widht" in line]
    assert len(reported) == 1
    assert "did you mean 'width'?" in reported[0]
    assert main(["check", "jobs.csv", "--set", "model=venice-sd35", "--offline", "--strict"]) == 2
    assert "jobs.csv:2: widht: is not a field" in capsys.readouterr().err
    assert main(["jobs.csv", "--set", "model=venice-sd35", "--sandbox", "--sandbox-latency", "0"]) == 0
    assert "did you mean 'width'?" in capsys.readouterr().err


def test_check_says_what_a_sweep_over_a_text_costs(capsys):
    Path("ideas.txt").write_text("A {subject} at dusk\nA street\n")
    given = ["--matrix", "model=venice-sd35,nano-banana-pro", "--var", "subject=cat,dog"]
    assert main(["check", "ideas.txt", "--offline", *given, "--limit", "4"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("4 jobs, all lines valid\n")
    assert "--limit 4: 4 of 6 jobs; the others stay as they are" in out.err


def test_check_plans_with_a_share_of_the_quota(capsys, sandbox, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "any")
    write(*({**GOOD, "id": f"j{number}"} for number in range(4)))
    assert check("--base-url", sandbox, "--share", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lanes"]["venice-sd35"]["rpm"] == 3
