"""What is done when a run is over, besides saying how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from venice_batch.jobfile import JobIndex
    from venice_batch.summary import Summary


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do once a run has ended, however it ended.

    `option` is what asked for it, as in `--gallery`; `do` is given the run's summary and its output folder.
    """

    option: str
    do: Callable[[Summary, Path], None]


def steps(given: Mapping[str, Any], index: JobIndex) -> tuple[Step, ...]:
    """The steps that the options in `given` ask for, in the order in which they are taken.

    The command of `--on-finish` comes last, so that it finds what the others have made.
    """
    asked = (
        ("--metrics-file", given["metrics_file"], _metrics),
        ("--on-finish", given["on_finish"], _on_finish),
    )
    return tuple(Step(option, make(value)) for option, value, make in asked if value is not None)


def take(asked: Iterable[Step], summary: Summary, output: Path) -> None:
    """Take each step; one that fails is a line on standard error and keeps no other from being taken.

    The run's result stands whatever happens here: raises nothing but what ends the process.
    """
    for step in asked:
        try:
            step.do(summary, output)
        except Exception as error:  # noqa: BLE001 - a step is an extra: no mistake in it may cost the run's result
            click.echo(
                one_line(f"venice-batch: warning: {step.option}: {str(error) or type(error).__name__}"), err=True
            )


def _metrics(path: Path) -> Callable[[Summary, Path], None]:
    def write(summary: Summary, output: Path) -> None:
        from venice_batch.metrics import exposition
        from venice_batch.whole_file import whole_file

        # A pipe would have the reader wait for itself.
        previous = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        text = exposition(summary, previous=previous)
        with whole_file(path) as file:
            file.write(text.encode())

    return write


def _on_finish(command: str) -> Callable[[Summary, Path], None]:
    def run(summary: Summary, output: Path) -> None:
        from venice_batch.cli.on_finish import on_finish

        on_finish(command, summary, output)

    return run
