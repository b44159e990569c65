import os
import time
from pathlib import Path

import msgspec
import pytest
from records import summary

from venice_batch.cli.on_finish import environment, on_finish
from venice_batch.errors import HookError
from venice_batch.model import Summary

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
    given = environment(summary(), OUT, own)
    assert "secret" not in given.values()
    assert "VENICE_BATCH_ON_FINISH" not in given
    assert (given["PATH"], given["X"]) == ("/bin", "y")


def test_what_the_command_prints_goes_to_standard_error(capfd):
    on_finish("echo told; echo too >&2", summary(), OUT)
    assert capfd.readouterr() == ("", "told\ntoo\n")


def test_a_command_that_does_not_read_is_no_failure():
    on_finish("true", summary(), OUT)


@pytest.mark.parametrize(
    ("command", "words"),
    [("exit 7", "exit status 7"), ("kill -TERM $$", "ended by SIGTERM"), ("nonsense-that-is-not-there", "status 127")],
)
def test_a_command_that_fails_is_told_how(command, words):
    with pytest.raises(HookError, match=words):
        on_finish(command, summary(), OUT)


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    with pytest.raises(HookError, match=r"stopped after 0\.2 s"):
        on_finish(f"sleep 600 & echo $! > {tmp_path}/pid; wait", summary(), OUT, patience_s=0.2)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # killed, and not yet buried by whoever has inherited it
    pytest.fail("the command's child lives on")


def test_without_process_groups_the_command_itself_is_killed(monkeypatch):
    monkeypatch.delattr(os, "killpg")
    with pytest.raises(HookError, match=r"stopped after 0\.2 s"):
        on_finish("exec sleep 600", summary(), OUT, patience_s=0.2)
