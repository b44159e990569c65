import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from records import summary

from venice_batch.cli.after_run import Step, on_finish, on_finish_environment, take
from venice_batch.cli.main import main
from venice_batch.errors import HookError
from venice_batch.model import Summary
from venice_batch.output import manifest
from venice_batch.report.collect import FlaggedJobs


def test_every_step_gets_the_summary_and_the_folder():
    reported = []
    take([Step("--one", lambda *given: reported.append(given))], "summary", Path("out"))
    assert reported == [("summary", Path("out"))]


def test_a_step_that_fails_is_one_line_and_keeps_no_other_from_being_taken(capsys):
    def fail(summary, output):
        raise ValueError("no\nway")

    reported = []
    take([Step("--one", fail), Step("--two", lambda *given: reported.append(given))], "summary", Path("out"))
    assert len(reported) == 1
    assert capsys.readouterr().err == "venice-batch: warning: --one: no\ufffdway\n"


def test_a_failure_without_a_message_is_named(capsys):
    def fail(summary, output):
        raise NotImplementedError

    take([Step("--one", fail)], "summary", Path("out"))
    assert capsys.readouterr().err == "venice-batch: warning: --one: NotImplementedError\n"


def test_a_step_whose_records_could_not_be_read_is_not_taken(capsys):
    collector = FlaggedJobs(())
    collector.error = ValueError("no manifest")
    take([Step("--one", lambda *given: pytest.fail("taken"), collector)], "summary", Path("out"))
    assert capsys.readouterr().err == "venice-batch: warning: --one: no manifest\n"


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_a_failure_that_cannot_be_printed_does_no_harm_either(tmp_path, stream):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    steps = "--on-finish 'echo reported; exit 3' --junit /nowhere/x.xml"
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 -q {steps} {stream}"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0


FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*prompts):
    jobs = ({"id": prompt, "model": "venice-sd35", "prompt": prompt, "width": 64, "height": 64} for prompt in prompts)
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))


def run(*options):
    return main(["jobs.jsonl", *FAST, "-q", *options])


def junit():
    root = ElementTree.parse("junit.xml").getroot()
    return {case.get("name"): [inner.tag for inner in case] for case in root.iter("testcase")}


def test_the_junit_file_has_all_jobs_of_the_file_whichever_run_did_them():
    write("sea", "forbidden")
    assert run() == 1
    write("sea", "forbidden", "sky")
    assert run("--junit", "junit.xml") == 1
    assert junit() == {"sea": [], "forbidden": ["failure"], "sky": []}


def test_a_run_that_was_stopped_skips_what_it_did_not_do():
    write("sea", "sky")
    assert run("--junit", "junit.xml", "--max-time", "1ms") == 75
    assert junit() == {"sea": ["skipped"], "sky": ["skipped"]}


@pytest.mark.parametrize(("flag", "code"), [("blurred", 1), ("violation", 0), ("violation,blurred", 1)])
def test_fail_on_fails_a_run_for_a_flagged_image_even_if_it_is_an_old_one(flag, code, capsys):
    write("nsfw", "sea")
    for _ in range(2):
        assert run("--fail-on", flag, "--junit", "junit.xml", "--json", "--set", "safe_mode=true") == code
        out, err = capsys.readouterr()
        assert json.loads(out)["exit_code"] == code
        assert json.loads(Path("output/jobs/summary.json").read_text())["exit_code"] == code
        assert err == ("1 job with a flag of --fail-on: nsfw\n" if code else "")
        assert junit() == {"nsfw": ["failure"] if code else [], "sea": []}


def test_a_violation_fails_a_run_with_and_without_the_flag():
    write("violation")
    assert run("--fail-on", "violation") == 1
    assert run("--fail-on", "content_violation") == 1
    assert run() == 1


def test_an_unknown_flag_is_one_line(capsys):
    write("sea")
    assert run("--fail-on", "ugly") == 2
    assert "'ugly' is not one of blurred, content_violation" in capsys.readouterr().err


def test_on_github_jobs_that_fail_are_annotated_and_the_step_is_summed_up(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write("sea", "forbidden")
    assert run("--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["rejected"] == 1
    assert re.search(r"^::error file=jobs\.jsonl,line=2,title=forbidden%3A rejected::content_policy: ", err, re.M)
    assert run() == 1
    assert (tmp_path / "summary.md").read_text().count("### jobs.jsonl: 1 of 2 jobs done") == 2


def test_known_rejections_that_are_ok_fail_neither_the_run_nor_its_reports(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write("sea", "forbidden")
    options = ("--known-rejected", "ok", "--junit", "junit.xml")
    assert run(*options) == 1
    assert junit() == {"sea": [], "forbidden": ["failure"]}
    assert "::error " in capsys.readouterr().err
    assert run(*options) == 0
    assert junit() == {"sea": [], "forbidden": ["skipped"]}
    known, annotation = capsys.readouterr().err.splitlines()
    assert known == "1 job rejected in an earlier run (forbidden): change it or use --retry-rejected"
    assert annotation.startswith("::notice file=jobs.jsonl,line=2,title=forbidden%3A rejected before::content_policy: ")
    assert "exit code 0\n" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("command", ["run", "check"])
def test_on_github_mistakes_of_the_jobs_file_are_annotated(monkeypatch, capsys, command):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    Path("jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p", "steps": 99}\n')
    assert main([command, "jobs.jsonl", "--sandbox"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("::error file=jobs.jsonl,line=1,title=invalid job::steps: 99 is above")


def test_on_github_equal_mistakes_are_one_annotation(monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    Path("jobs.jsonl").write_text('{"prompt": "p"}\n' * 20 + '{"model": "venice-sd35"}\n')
    assert main(["check", "jobs.jsonl", "--offline"]) == 2
    found = [line.split("::")[2] for line in capsys.readouterr().err.splitlines() if line.startswith("::error")]
    assert found == ["model: missing; the same on 19 more lines: 2-20", "prompt: missing"]


def test_elsewhere_nothing_is_annotated(capsys):
    write("forbidden")
    assert run() == 1
    assert "::error" not in capsys.readouterr().err


def test_after_a_run_the_manifest_is_read_once_for_all_reports(monkeypatch, tmp_path, capsys):
    openings = []
    opened = manifest.opened
    monkeypatch.setattr(manifest, "opened", lambda path: [openings.append(path), opened(path)][1])
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write("nsfw", "forbidden", "sea")
    options = ("--gallery", "--junit", "junit.xml", "--fail-on", "blurred", "--metrics-file", "venice.prom")
    assert run(*options, "--set", "safe_mode=true") == 1
    assert len(openings) == 2  # to find the last record of each job, then to read those
    assert junit() == {"nsfw": ["failure"], "forbidden": ["failure"], "sea": []}
    assert capsys.readouterr().err.count("::error ") == 2
    assert (tmp_path / "summary.md").read_text().count("\n| 1 | nsfw | ") == 1
    assert '"images/sea.webp"' in (tmp_path / "output/jobs/gallery.html").read_text()
    assert 'venice_batch_images{model="venice-sd35",output="output/jobs"} 2.0' in (tmp_path / "venice.prom").read_text()


def test_the_gallery_of_a_run_shows_jobs_of_other_files_too(tmp_path):
    write("sea")
    assert run() == 0
    write("sky")
    assert run("--gallery") == 0
    page = (tmp_path / "output/jobs/gallery.html").read_text()
    assert '"images/sea.webp"' in page
    assert '"images/sky.webp"' in page


OUT = Path("out")


def test_the_command_gets_the_summary_on_its_input(tmp_path):
    on_finish(f"cat > {tmp_path}/got", summary(failed=3), OUT)
    assert msgspec.json.decode((tmp_path / "got").read_bytes(), type=Summary) == summary(failed=3)


def test_the_command_gets_the_result_in_its_environment(tmp_path):
    names = "EXIT_CODE RUN_ID FOLDER REASON"
    on_finish(
        f'for name in {names}; do eval echo "\\$VENICE_BATCH_$name"; done > {tmp_path}/got',
        summary(exit_code=75, reason="time is over"),
        OUT,
    )
    assert (tmp_path / "got").read_text() == f"75\nrun-1\n{Path.cwd()}/out\ntime is over\n"


def test_the_key_and_the_command_itself_are_withheld_and_nothing_else():
    own = {"VENICE_API_KEY": "secret", "VENICE_BATCH_ON_FINISH": "venice-batch next.jsonl", "PATH": "/bin", "X": "y"}
    given = on_finish_environment(summary(), OUT, own)
    assert "secret" not in given.values()
    assert "VENICE_BATCH_ON_FINISH" not in given
    assert (given["PATH"], given["X"]) == ("/bin", "y")


def test_what_the_command_prints_goes_to_standard_error(capfd):
    on_finish("echo reported; echo too >&2", summary(), OUT)
    assert capfd.readouterr() == ("", "reported\ntoo\n")


def test_a_command_that_does_not_read_is_no_failure():
    on_finish("true", summary(), OUT)


@pytest.mark.parametrize(
    ("command", "words"),
    [("exit 7", "exit status 7"), ("kill -TERM $$", "ended by SIGTERM"), ("nonsense-that-is-not-there", "status 127")],
)
def test_a_command_that_fails_is_reported_with_its_status(command, words):
    with pytest.raises(HookError, match=words):
        on_finish(command, summary(), OUT)


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    with pytest.raises(HookError, match=r"stopped after 0\.2 s"):
        on_finish(f"sleep 600 & echo $! > {tmp_path}/pid; wait", summary(), OUT, limit_s=0.2)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # killed; its new parent has not reaped it yet
    pytest.fail("the command's child lives on")


def test_without_process_groups_the_command_itself_is_killed(monkeypatch):
    monkeypatch.delattr(os, "killpg")
    with pytest.raises(HookError, match=r"stopped after 0\.2 s"):
        on_finish("exec sleep 600", summary(), OUT, limit_s=0.2)


def test_a_layout_is_written_after_the_run(capsys):
    write("a", "b")
    assert main(["jobs.jsonl", *FAST, "--layout", "unigenbench"]) == 0
    assert sorted(path.name for path in Path("output/jobs/unigenbench").glob("*.png")) == ["0_0.png", "1_0.png"]
    told = [line for line in capsys.readouterr().err.splitlines() if "layout" in line]
    assert told == [
        "layout: output/jobs/unigenbench: 2 images of 2 prompts",
        "layout: output/jobs/unigenbench: made PNG of 2 WebP images, with the same pixels; --set format=png makes PNG "
        "from the start",
        "venice-batch: warning: --layout: UniGenBench's scorer reads 4 samples of each prompt, and the jobs file "
        "makes 1; --matrix seed=1,2,3,4 makes 4",
    ]


def test_a_layout_says_only_what_it_lacks_if_the_run_is_quiet(capsys):
    write("a")
    assert run("--layout", "geneval") == 0
    assert capsys.readouterr().err == (
        "venice-batch: warning: --layout: 1 prompt without metadata.tag, which GenEval's scorer needs: a\n"
    )


def test_a_layout_is_a_line_of_a_json_log(capsys):
    write("a")
    assert main(["jobs.jsonl", *FAST, "--layout", "flat", "--log-format", "json"]) == 0
    texts = [line["text"] for line in map(json.loads, capsys.readouterr().err.splitlines()) if "text" in line]
    assert "layout: output/jobs/flat: 1 image of 1 prompt" in texts


def test_a_layout_that_cannot_be_written_does_not_change_the_result(capsys):
    write("a")
    Path("output/jobs/flat").mkdir(parents=True)
    Path("output/jobs/flat/mine").touch()
    assert run("--layout", "flat") == 0
    assert capsys.readouterr().err.startswith("venice-batch: warning: --layout: output/jobs/flat: holds 'mine'")


_PARTS = [
    ["--sample", "10"],
    ["--shard", "1/2"],
    ["--limit", "7"],
    ["--matrix", "seed=1,2,3", "--sample", "9"],
]


@pytest.mark.parametrize("given", _PARTS, ids=lambda given: " ".join(given))
def test_a_layout_numbers_prompts_by_the_jobs_file_whatever_part_is_run(given, capsys):
    prompts = [f"prompt {number}" for number in range(8)]
    Path("jobs.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
    matrix = [] if "--matrix" in given else ["--matrix", "seed=1,2,3,4"]
    always = [f"--set={field}" for field in ("model=venice-sd35", "format=png", "width=64", "height=64")]
    # An earlier run with other samples, whose records have other places.
    assert run(*always, "--matrix", "seed=2", "--limit", "3", "--layout", "geneval") == 0
    assert run(*always, *matrix, *given, "--layout", "geneval") == 0
    records = [json.loads(line) for line in Path("output/jobs/manifest.jsonl").read_bytes().splitlines()]
    requests = {os.stat(Path("output/jobs", one["files"][0]["path"])).st_ino: one["request"] for one in records}
    tree = sorted(Path("output/jobs/geneval").glob("*/samples/*.png"))
    assert len(tree) == len(records)
    for path in tree:
        request = requests[os.stat(path).st_ino]
        assert (prompts[int(path.parts[-3])], int(path.stem) + 1) == (request["prompt"], request["seed"])
    assert "their numbers may be wrong" not in capsys.readouterr().err


def test_a_layout_leaves_out_what_the_jobs_file_no_longer_has(capsys):
    write("a", "b")
    assert run() == 0
    write("b")
    assert run("--layout", "flat") == 0
    assert [path.name for path in Path("output/jobs/flat").glob("*.png")] == ["00000.png"]
    assert (
        "warning: --layout: left out 1 job that the jobs file no longer has, or has with another request\n"
        in capsys.readouterr().err
    )


def test_a_layout_leaves_out_the_image_of_a_request_that_has_changed(capsys):
    write("a", "b")
    assert run() == 0
    lines = Path("jobs.jsonl").read_text().replace('"prompt": "a"', '"prompt": "new"')
    Path("jobs.jsonl").write_text(lines)
    assert run("--id", "b", "--layout", "flat") == 0
    assert [path.name for path in Path("output/jobs/flat").glob("*.png")] == ["00001.png"]
    assert "left out 1 job that the jobs file no longer has, or has with another request" in capsys.readouterr().err


def test_hpsv2_asks_only_jobs_with_images_for_their_style(capsys):
    styled = {
        "id": "a",
        "model": "venice-sd35",
        "prompt": "a",
        "metadata": {"style": "anime"},
        "width": 64,
        "height": 64,
    }
    plain = {name: value for name, value in styled.items() if name != "metadata"} | {"id": "c"}
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in (plain, styled)))
    assert run("--id", "a", "--layout", "hpsv2") == 0
    assert [path.name for path in Path("output/jobs/hpsv2/anime").glob("*.jpg")] == ["00001.jpg"]
