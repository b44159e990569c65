from pathlib import Path

from venice_batch.cli.after_run import Step, take


def test_every_step_is_told_the_summary_and_the_folder():
    told = []
    take([Step("--one", lambda *given: told.append(given))], "summary", Path("out"))
    assert told == [("summary", Path("out"))]


def test_a_step_that_fails_is_one_line_and_keeps_no_other_from_being_taken(capsys):
    def fail(summary, output):
        raise ValueError("no\nway")

    told = []
    take([Step("--one", fail), Step("--two", lambda *given: told.append(given))], "summary", Path("out"))
    assert len(told) == 1
    assert capsys.readouterr().err == "venice-batch: warning: --one: no\ufffdway\n"


def test_a_failure_without_a_message_is_named(capsys):
    def fail(summary, output):
        raise NotImplementedError

    take([Step("--one", fail)], "summary", Path("out"))
    assert capsys.readouterr().err == "venice-batch: warning: --one: NotImplementedError\n"
