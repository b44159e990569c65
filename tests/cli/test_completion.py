"""Completion by click's protocol, and in the shells themselves where they are installed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from venice_batch.catalogue import Cache, Listing
from venice_batch.cli.commands import COMMANDS
from venice_batch.cli.main import main
from venice_batch.cli.options import VENICE

BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _in_a_folder_with_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("jobs.jsonl", "my jobs.csv", "venice-batch.toml"):
        Path(name).touch()
    Path("out/sub").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")


def completed(capfd, monkeypatch, *words):
    """The completions for zsh, as (kind, value) pairs."""
    monkeypatch.setenv("_VENICE_BATCH_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["venice-batch", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert main([]) == 0
    lines = capfd.readouterr().out.split("\n")
    return list(zip(lines[::3], lines[1::3], strict=False))


def values(capfd, monkeypatch, *words):
    return [value for kind, value in completed(capfd, monkeypatch, *words) if kind == "plain"]


def test_the_first_word_is_a_command_or_a_file(capfd, monkeypatch):
    found = completed(capfd, monkeypatch, "''")
    assert ("file", "") in found
    assert {value for kind, value in found if kind == "plain"} == set(COMMANDS)
    assert ("file", "jo") in completed(capfd, monkeypatch, "jo")


def test_the_first_word_may_be_an_option_of_run_too(capfd, monkeypatch):
    found = values(capfd, monkeypatch, "--ma")
    assert {"--max-cost", "--max-time"} <= set(found)
    assert values(capfd, monkeypatch, "--vers") == ["--version"]
    assert completed(capfd, monkeypatch, "-c", "4", "jo") == [("file", "jo")]
    assert "--max-cost" in values(capfd, monkeypatch, "jobs.jsonl", "--max-c")


def test_negations_are_offered_only_after_no(capfd, monkeypatch):
    assert "--no-quiet" not in values(capfd, monkeypatch, "run", "--")
    assert "--no-quiet" in values(capfd, monkeypatch, "run", "--no-q")


@pytest.mark.parametrize("words", [("run", "jobs.jsonl", "-o"), ("report",), ("jobs-from",)])
def test_folders_stand_where_folders_are_meant(capfd, monkeypatch, words):
    assert completed(capfd, monkeypatch, *words, "o") == [("dir", "o")]


def test_models_come_from_the_last_list_without_asking(capfd, monkeypatch):
    assert "venice-sd35" in values(capfd, monkeypatch, "run", "--set", "model=venice")[0]
    entry = {"id": "fresh-model", "model_spec": {"constraints": {}}}
    Cache.of_user().store(VENICE, Listing((entry,), ("Grim",), time.time(), "live"))
    assert values(capfd, monkeypatch, "run", "--set", "model=") == ["model=fresh-model"]
    assert values(capfd, monkeypatch, "run", "--set", "style_preset=") == ["style_preset=Grim"]
    assert values(capfd, monkeypatch, "jobs-from", "out", "--model", "f") == ["fresh-model"]
    unknown = ("run", "--base-url", "http://elsewhere.example", "--set")
    assert values(capfd, monkeypatch, *unknown, "model=") == values(capfd, monkeypatch, *unknown, "style_preset=") == []


def test_fields_of_tables_are_known_also_after_a_comma(capfd, monkeypatch):
    assert values(capfd, monkeypatch, "report", "out", "--by", "mod") == ["model", "modelId", "moderation"]
    assert values(capfd, monkeypatch, "report", "out", "--by", "model,meta") == ["model,metadata."]
    assert values(capfd, monkeypatch, "report", "out", "--cluster", "prom") == ["prompt"]


def test_fields_and_their_few_values_are_known(capfd, monkeypatch):
    assert values(capfd, monkeypatch, "check", "--set", "wi") == ["width="]
    assert values(capfd, monkeypatch, "check", "--set", "format=") == ["format=jpeg", "format=png", "format=webp"]
    assert values(capfd, monkeypatch, "check", "--set", "quality=h") == ["quality=high", "quality=hd"]
    assert values(capfd, monkeypatch, "check", "--set", "safe_mode=") == ["safe_mode=true", "safe_mode=false"]
    assert values(capfd, monkeypatch, "check", "--set", "width=") == []


def test_profiles_and_commands_are_known(capfd, monkeypatch):
    Path("venice-batch.toml").write_text("[profile.nightly.run]\n[profile.try.run]\n")
    assert values(capfd, monkeypatch, "run", "--profile", "n") == ["nightly"]
    assert values(capfd, monkeypatch, "config", "st") == ["styles"]
    Path("venice-batch.toml").write_text("[profile")
    assert values(capfd, monkeypatch, "run", "--profile", "n") == []


def test_a_broken_settings_file_hinders_no_completion(capfd, monkeypatch):
    Path("venice-batch.toml").write_text("[run")
    assert values(capfd, monkeypatch, "run", "--max-t") == ["--max-time"]


def test_only_known_shells_have_a_script(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


CASES = [
    ("venice-batch my", r"venice-batch my\ jobs.csv"),
    ("venice-batch jobs.jsonl --set model=venice", "--set model=venice-sd35"),
    ("venice-batch jobs.jsonl --set style_preset=3D", r"--set style_preset=3D\ Model"),
    ("venice-batch jobs.jsonl -o out/s", "-o out/sub"),
]
PREPARED = {
    "bash": (
        "bash --norc --noprofile -i",
        "bind 'set enable-bracketed-paste off'; eval \"$(venice-batch completion bash)\"",
    ),
    "zsh": (
        "zsh -f -i",
        'unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; eval "$(venice-batch completion zsh)"',
    ),
}


@pytest.mark.parametrize("shell", [pytest.param("bash", marks=pytest.mark.cover_commands), "zsh"])
def test_the_shell_completes(shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    command, prepare = PREPARED[shell]
    environment = {**os.environ, "PS1": "$ ", "TERM": "dumb"}
    child = pexpect.spawn(command, env=environment, encoding="utf-8", dimensions=(40, 150), timeout=20)
    child.sendline(prepare + "; echo pre''pared")
    child.expect_exact("prepared\r")
    for typed, expected in CASES:
        child.send(typed + "\t")
        child.expect_exact(expected)
        child.send("\x15")
    # Both candidates, a command and a file, are shown.
    child.send("venice-batch jobs\t\t")
    child.expect(r"jobs.jsonl\s+jobs-from|jobs-from\s+jobs.jsonl")
    child.send("\x15exit\r")
    child.expect(pexpect.EOF)
    child.close()


def test_fish_completes():
    if not shutil.which("fish"):
        pytest.skip("no fish here")

    def completions(line):
        script = f"venice-batch completion fish | source; complete -C {line!r}"
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert set(completions("venice-batch jo")) == {"jobs.jsonl", "jobs-from"}
    assert completions("venice-batch jobs.jsonl --set model=venice-sd") == ["model=venice-sd35"]
    assert completions("venice-batch jobs.jsonl -o out/s") == ["out/sub/"]


def test_the_bash_script_has_no_fault_that_bash_sees(capfd):
    assert main(["completion", "bash"]) == 0
    script = capfd.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
