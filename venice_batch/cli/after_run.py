"""What is done when a run is over, besides saying how it went."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Summary
    from venice_batch.output.standing import Standing


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do once a run has ended, however it ended.

    `option` is what asked for it, as in `--gallery`; `do` is given the run's summary and its output folder.
    """

    option: str
    do: Callable[[Summary, Path], None]


def steps(given: Mapping[str, Any], index: JobIndex, *, is_sandbox: bool) -> tuple[Step, ...]:
    """The steps that the options in `given`, or a pipeline around the run, ask for, in the order of taking them.

    The command of `--on-finish` comes last, so that it finds what the others have made.
    """
    of_ci = Pipeline(index, given["jobs"], frozenset(given["fail_on"] or ()), is_sandbox=is_sandbox)
    asked: tuple[tuple[str, Any, Callable[..., None]], ...] = (
        ("--gallery", given["quiet"] if given["gallery"] else None, _write_gallery),
        ("--metrics-file", given["metrics_file"], _write_metrics),
        ("--junit", given["junit"], of_ci.write_junit),
        ("GITHUB_ACTIONS", os.environ.get("GITHUB_ACTIONS") == "true" or None, of_ci.annotate),
        ("GITHUB_STEP_SUMMARY", os.environ.get("GITHUB_STEP_SUMMARY") or None, of_ci.append_summary),
        ("--on-finish", given["on_finish"], _on_finish),
    )
    return tuple(Step(option, partial(do, value)) for option, value, do in asked if value is not None)


def take(asked: Iterable[Step], summary: Summary, output: Path) -> None:
    """Take each step; one that fails is a line on standard error and keeps no other from being taken.

    The run's result stands whatever happens here: raises nothing but what ends the process.
    """
    for step in asked:
        try:
            step.do(summary, output)
        except Exception as error:  # noqa: BLE001 - a step is an extra: no mistake in it may cost the run's result
            what = str(error) or type(error).__name__
            with suppress(OSError):  # standard error itself may be closed, or the disk behind it full
                click.echo(one_line(f"venice-batch: warning: {step.option}: {what}"), err=True)


def _write_gallery(quiet: bool, summary: Summary, output: Path) -> None:
    from venice_batch.cli.gallery import make_gallery

    page = make_gallery(output, quiet=quiet)
    if not quiet:
        click.echo(one_line(f"gallery: {page}"), err=True)


def _write_metrics(path: Path, summary: Summary, output: Path) -> None:
    from venice_batch.output.atomic_file import whole_file
    from venice_batch.report.prometheus import exposition

    # A pipe would have the reader wait for itself.
    previous = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    text = exposition(summary, previous=previous)
    with whole_file(path) as file:
        file.write(text.encode())


def _on_finish(command: str, summary: Summary, output: Path) -> None:
    from venice_batch.cli.on_finish import on_finish

    on_finish(command, summary, output)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline is told of the jobs of `source`; images with a flag of `fail_on` do not pass."""

    index: JobIndex
    source: str
    fail_on: Collection[str]
    is_sandbox: bool

    def write_junit(self, path: Path, summary: Summary, output: Path) -> None:
        """Write the run as JUnit XML."""
        from venice_batch.output.atomic_file import whole_file
        from venice_batch.report.junit import junit

        pieces = junit(self.index, self._standing(output), summary, source=self.source, fail_on=self.fail_on)
        with whole_file(path) as file:
            file.writelines(pieces)

    def annotate(self, asked: bool, summary: Summary, output: Path) -> None:
        """Print GitHub's annotations on standard error: they are read there too, and standard output is the run's."""
        from venice_batch.report import github

        lines = github.of_jobs(
            self.index, self._standing(output), source=self.source, fail_on=self.fail_on, environment=os.environ
        )
        for line in lines:
            click.echo(line, err=True)

    def append_summary(self, path: str, summary: Summary, output: Path) -> None:
        """Append the run to the summary of GitHub's step."""
        from venice_batch.report import github

        pieces = github.step_summary(
            self.index, self._standing(output), summary, source=self.source, fail_on=self.fail_on
        )
        text = "".join(pieces)
        with Path(path).open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)

    def _standing(self, output: Path) -> Standing:
        from venice_batch.output.standing import Standing

        return Standing(self.index, output, sandbox=self.is_sandbox)
