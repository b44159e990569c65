"""Output folders that commands work on: those of this machine, and copies of those in buckets."""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from venice_batch.cli.env import environment
from venice_batch.cli.parameters import Folder, Target, is_bucket
from venice_batch.errors import UsageError, VeniceBatchError
from venice_batch.output.originals import original_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from venice_batch.bucket.copies import Copy


class AnyFolder(Target):
    """An output folder of this machine, as a Path, or one in a bucket, as the str of its address."""

    kind = "folder"
    instead = "folders in buckets are s3://BUCKET/PREFIX, az://… and gs://…"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        if is_bucket(value):
            return value
        _refuse_mistyped(self, value, param, ctx)
        return super().convert(value, param, ctx)


class FolderToWrite(Folder):
    """As `AnyFolder`, for a folder that a command writes; `{date}` in it is the day."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        if not is_bucket(value):
            _refuse_mistyped(self, value, param, ctx)
            return super().convert(value, param, ctx)
        if "@" in str(value):
            self.fail("an address holds no user or password; give credentials in variables", param, ctx)
        return self.dated(str(value), param, ctx)


def _refuse_mistyped(kind: click.Path, value: object, param: click.Parameter | None, ctx: click.Context | None) -> None:
    """Refuse s3:/bucket: images in a folder of that name are lost with a machine that does not live on."""
    if str(value)[2:3] == ":":
        from venice_batch.bucket.address import mistyped

        if address := mistyped(str(value)):
            kind.fail(f"{value}: did you mean {address}? A folder of that name is ./{value}", param, ctx)


def reads(*names: str, follow: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that gives a command Paths for its parameters `names` of type `AnyFolder`, single or several.

    For an address that is the path of a copy, which is open while the command runs, and follows the bucket with
    `follow`. In messages of errors its address takes the place of that path.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def with_copies(*args: Any, **given: Any) -> int:
            if not any(isinstance(one, str) for name in names for one in _each(given[name])):
                return function(*args, **given)
            with ExitStack() as stack:
                for name in names:
                    value = given[name]
                    found = [_opened(one, stack, follow=follow) for one in _each(value)]
                    given[name] = tuple(found) if isinstance(value, tuple) else found[0]
                try:
                    return function(*args, **given)
                except VeniceBatchError as error:
                    error.args = tuple(map(shown, error.args))
                    raise

        return with_copies

    return decorate


def _each(value: Any) -> tuple[Path | str, ...]:  # noqa: ANN401 - of click
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _opened(place: Path | str, stack: ExitStack, *, follow: bool) -> Path:
    if isinstance(place, Path):
        return place
    from venice_batch.bucket.copies import FOLLOW_S, local_copy

    copy = local_copy(place, environment().environ, follow_s=FOLLOW_S if follow else None)
    return stack.enter_context(copy).root


def copy_of(folder: Path) -> Copy | None:
    """Return the open copy that `folder` is; None if it is an output folder of this machine."""
    return cast("Copy | None", original_of(folder))


def need_local(folder: Path, what: str, instead: str = "") -> None:
    """Refuse something that works only with a folder of this machine.

    Raises:
        UsageError: `folder` is a copy of one in a bucket. `what` says what does not work, `instead` what does; by
            default a local copy.
    """
    if (copy := copy_of(folder)) is not None:
        from venice_batch.bucket.copies import merge_command

        raise UsageError(f"{what}; {instead or f'work on a copy: {merge_command(copy.name)}'}")


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Take changes of a copy to its bucket when the block ends, under the bucket's lock; else do nothing.

    Raises:
        FolderError: as `bucket.publish.changing`.
    """
    copy = copy_of(folder)
    if copy is None:
        yield
        return
    from venice_batch.bucket.publish import changing as changing_copy
    from venice_batch.run.run import new_run_id

    with changing_copy(copy, new_run_id()):
        yield
