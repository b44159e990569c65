"""Steps after a run: gallery, metrics, reports for continuous integration, the user's own command."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from venice_batch.api.key import VARIABLE
from venice_batch.cli.env import environment
from venice_batch.errors import HookError, UsageError, VeniceBatchError, one_line

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.cli.json_log import JsonWriter
    from venice_batch.events import Observer
    from venice_batch.gallery import GalleryPage
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Summary
    from venice_batch.report.collect import Collector
    from venice_batch.report.junit import JUnit
    from venice_batch.report.log_lines import Level


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do after a run, however it ended.

    `option` is the option that asks for it, such as `--gallery`. `do` receives the run's summary and its output folder.
    `collector` receives the folder's records from `run_batch` before `do` is called; None if the step needs
    no records. `observer` receives the run's events; None if the summary is enough.
    """

    option: str
    do: Callable[[Summary, Path], None]
    collector: Collector | None = None
    observer: Observer | None = None


def refuse_in_bucket(given: Mapping[str, Any], address: str) -> None:
    """Raise UsageError for a step that needs all images on this machine."""
    if given["layout"] is not None:
        then = f"venice-batch export {address} --layout {given['layout']}"
        raise UsageError(f"--layout links the images in a folder, which a bucket is not; after the run: {then}")


def steps(
    given: Mapping[str, Any], index: JobIndex, output: Path, *, bucket: BucketFolder | None = None
) -> tuple[Step, ...]:
    """Return the steps that the options in `given` and the environment ask for, in the order to take them.

    With a `bucket`, `output` is its scratch folder, and what the steps write there is copied into the bucket.
    The command of `--on-finish` comes last, so that it finds what the others have made.
    """
    from venice_batch.report.collect import FailOn

    passing = {
        "fail_on": FailOn(given["fail_on"] or (), output),
        "known_rejected_ok": given["known_rejected"] == "ok",
    }
    asked: list[Step] = []
    if given["gallery"]:
        asked.append(_gallery_step(output, bucket, quiet=given["quiet"]))
    if given["layout"] is not None:
        asked.append(_layout_step(given["layout"], index, quiet=given["quiet"]))
    if given["metrics_file"] is not None:
        asked.append(_metrics_step(given["metrics_file"], index.lanes))
    if given["junit"] is not None:
        from venice_batch.report.junit import JUnit

        asked.append(_junit_step(JUnit(index, source=given["jobs"], **passing), given["junit"]))
    asked += _github_steps(index, given["jobs"], passing)
    if given["on_finish"] is not None:
        asked.append(_on_finish_step(given["on_finish"], bucket))
    return tuple(asked)


def collectors(asked: Iterable[Step]) -> list[Collector]:
    """Return the collectors of the steps, each once."""
    return list(dict.fromkeys(step.collector for step in asked if step.collector is not None))


def observers(asked: Iterable[Step]) -> list[Observer]:
    """Return the observers of the steps."""
    return [step.observer for step in asked if step.observer is not None]


def take(asked: Iterable[Step], summary: Summary, output: Path) -> None:
    """Take each step. A failure is one line on standard error and does not stop the other steps.

    The run's result never changes here. Raises only exceptions that end the process.
    """
    for step in asked:
        try:
            if step.collector is not None:
                step.collector.raise_error()
            step.do(summary, output)
        except Exception as error:  # noqa: BLE001 - a step is an extra: its failure must not spoil the run's result
            _warn(step.option, error)


@contextmanager
def failed_start_in_metrics(given: Mapping[str, Any], output: str) -> Iterator[None]:
    """Record an error that ends the block in the file of `--metrics-file`, and raise it again.

    A run that cannot begin has no summary, and takes no steps: without this, its metrics would stay those of the run
    before.
    """
    try:
        yield
    except VeniceBatchError as error:
        if given["metrics_file"] is not None and not given["dry_run"]:
            try:
                _write_failed_start(given["metrics_file"], output, int(error.exit_code))
            except Exception as failure:  # noqa: BLE001 - as in `take`
                _warn("--metrics-file", failure)
        raise


def _warn(option: str, error: Exception) -> None:
    what = str(error) or type(error).__name__
    with suppress(OSError):  # standard error itself may be closed, or its disk full
        if (log := environment().messages.log) is None:
            click.echo(one_line(f"venice-batch: warning: {option}: {what}"), err=True)
        else:
            from venice_batch.report.log_lines import StepFailedLine

            log.write(StepFailedLine(level="warning", step=option, message=what))


def _gallery_step(output: Path, bucket: BucketFolder | None, *, quiet: bool) -> Step:
    from venice_batch.cli.gallery import write_page
    from venice_batch.gallery import GalleryPage
    from venice_batch.gallery.thumbnails import FOLDER

    page: GalleryPage = GalleryPage(output)

    def write(summary: Summary, output: Path) -> None:
        path = str(write_page(page, quiet=quiet))
        if bucket is not None:
            bucket.publish([FOLDER, Path(path).name])
            path = f"{bucket.address}/{Path(path).name}"
        if (log := environment().messages.log) is not None:
            from venice_batch.report.log_lines import GalleryLine

            log.write(GalleryLine(path=path))
        elif not quiet:
            click.echo(one_line(f"gallery: {path}"), err=True)

    return Step("--gallery", write, page)


def _layout_step(name: str, index: JobIndex, *, quiet: bool) -> Step:
    def write(summary: Summary, output: Path) -> None:
        from venice_batch.report.export.tree import write_tree

        messages = environment().messages
        tree = write_tree(output, name, output / name, jobs=index.whole_file)
        for text in (str(tree), *tree.notes):
            line = f"layout: {output / name}: {text}"
            if messages.log is not None:
                messages.notice(line, level="info")
            elif not quiet:
                click.echo(one_line(line), err=True)
        for text in tree.warnings:
            messages.notice(f"warning: --layout: {text}")

    return Step("--layout", write)


def _metrics_step(path: Path, models: Iterable[str]) -> Step:
    from venice_batch.report.summary import QuotaTally

    quotas = QuotaTally()

    def write(summary: Summary, output: Path) -> None:
        from venice_batch.report.prometheus import exposition

        text = exposition(summary, previous=_metrics_before(path), models=models, quotas=quotas.lanes)
        _write_metrics(path, text)

    return Step("--metrics-file", write, observer=quotas)


def _write_failed_start(path: Path, output: str, exit_code: int) -> None:
    from venice_batch.report.prometheus import failed_start

    _write_metrics(path, failed_start(output, exit_code, environment().now(), previous=_metrics_before(path)))


def _metrics_before(path: Path) -> str:
    """Return the text of an earlier run; reading a pipe would wait for its other end."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _write_metrics(path: Path, text: bytes) -> None:
    from venice_batch.output.atomic_file import whole_file

    with whole_file(path) as file:
        file.write(text)


def _junit_step(junit: JUnit, path: Path) -> Step:
    def write(summary: Summary, output: Path) -> None:
        from venice_batch.output.atomic_file import whole_file

        with whole_file(path) as file:
            file.writelines(junit.pieces(summary))

    return Step("--junit", write, junit)


def _github_steps(index: JobIndex, source: str, passing: Mapping[str, Any]) -> list[Step]:
    """Return the steps within a workflow of GitHub Actions: annotations of jobs, and the step's summary.

    `passing` holds the options that say which jobs pass.
    """
    is_annotated = os.environ.get("GITHUB_ACTIONS") == "true"
    summary_file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not is_annotated and not summary_file:
        return []
    from venice_batch.report import github

    failures = github.FirstFailures(**passing)

    def annotate(summary: Summary, output: Path) -> None:
        # GitHub reads standard error too; standard output belongs to the run.
        for line in github.job_annotations(index, failures, source=source, environment=os.environ):
            click.echo(line, err=True)

    def append_summary(summary: Summary, output: Path) -> None:
        text = "".join(github.step_summary(index, failures, summary, source=source))
        with Path(summary_file or "").open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)

    asked = [Step("GITHUB_ACTIONS", annotate, failures)] if is_annotated else []
    return [*asked, Step("GITHUB_STEP_SUMMARY", append_summary, failures)] if summary_file else asked


def _on_finish_step(command: str, bucket: BucketFolder | None) -> Step:
    place = None if bucket is None else bucket.address
    return Step("--on-finish", lambda summary, output: on_finish(command, summary, place or output))


ON_FINISH_S = 300.0
"""Seconds that the command may take, because cron's next run waits for this one."""

_WITHHELD = (VARIABLE, "VENICE_BATCH_ON_FINISH")
"""Variables withheld from the command: the key, and the command itself, because it may start another run."""


def on_finish(command: str, summary: Summary, output: Path | str, *, limit_s: float = ON_FINISH_S) -> None:
    """Run `command` in the shell with the summary's JSON on its standard input, and wait for it.

    Its output goes to standard error, because standard output belongs to the run; each line of it is a line of a JSON
    log. It has its own process group, which is killed after `limit_s` seconds or when this process is interrupted.

    Raises:
        HookError: the command failed, or did not end in time.
    """
    import signal
    import subprocess

    import msgspec

    with ExitStack() as stack:
        out: int | None = subprocess.DEVNULL if sys.stderr is None else 2
        err: int | None = None
        if (log := environment().messages.log) is not None:
            out, err = (stack.enter_context(_logged(log, stream)) for stream in STREAMS)
        process = subprocess.Popen(  # noqa: S602 - the user's own command line, as in a crontab
            command,
            shell=True,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=on_finish_environment(summary, output, os.environ),
            start_new_session=True,
        )
        _feed(process, msgspec.json.encode(summary) + b"\n", limit_s)
    if process.returncode < 0:
        raise HookError(f"the command was ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise HookError(f"the command ended with exit status {process.returncode}")


def _feed(process: subprocess.Popen[bytes], text: bytes, limit_s: float) -> None:
    """Write `text` to the process and wait for its end; raise HookError if it does not end in time."""
    import signal
    import subprocess

    try:
        process.communicate(text, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise HookError(f"the command was stopped after {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:  # Windows has no process groups: what the command started keeps running
                    process.kill()
            process.wait()


STREAMS: tuple[Literal["stdout"], Literal["stderr"]] = ("stdout", "stderr")
_LAST_OUTPUT_S = 1.0
"""Time for output that is still in the pipe when the command has ended; what it left running may keep it open."""


_LONGEST_LINE = 10_000
"""Characters of the command's output in one line of the log; more go into further lines."""


@contextmanager
def _logged(log: JsonWriter, stream: Literal["stdout", "stderr"]) -> Iterator[int]:
    """Yield a file descriptor whose lines become lines of the log, as they come."""
    import threading

    from venice_batch.report.log_lines import HookOutputLine

    level: Level = "warning" if stream == "stderr" else "info"
    reading, writing = os.pipe()

    def read() -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(_LONGEST_LINE):
                log.write(HookOutputLine(level=level, stream=stream, text=line.rstrip("\n")))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield writing
    finally:
        os.close(writing)
        reader.join(_LAST_OUTPUT_S)


def on_finish_environment(summary: Summary, output: Path | str, own: Mapping[str, str]) -> dict[str, str]:
    """Return the command's variables: `own` without the key, and the run's result; a bucket's address is text."""
    kept = {name: value for name, value in own.items() if name not in _WITHHELD}
    return {
        **kept,
        "VENICE_BATCH_EXIT_CODE": str(summary.exit_code),
        "VENICE_BATCH_RUN_ID": summary.run_id,
        "VENICE_BATCH_FOLDER": output if isinstance(output, str) else str(output.absolute()),
        "VENICE_BATCH_REASON": summary.reason or "",
    }
