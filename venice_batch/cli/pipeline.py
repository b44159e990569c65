"""A run's steps for continuous integration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Summary
    from venice_batch.output.standing import Standing


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
