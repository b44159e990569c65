"""`venice-batch sandbox`: serve the sandbox until interrupted."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import Target, option
from venice_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@command()
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8642,
    show_default=True,
    help="Listen on port N; 0: any free port.",
)
@option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Listen on this loopback address.")
@option(
    "--ready-file",
    type=Target(path_type=Path),
    metavar="FILE",
    help="Write the address to FILE once the sandbox answers; remove FILE at the end.",
)
@options.sandbox_options()
def sandbox(port: int, host: str, ready_file: Path | None, **given: Any) -> int:
    """Serve a local stand-in for the Venice image API.

    It draws images from the prompts' hashes, without AI, in the API's formats and sizes, with its limits and errors.
    """
    import anyio

    settings = options.sandbox_settings(given)

    async def go() -> int:
        from venice_batch.sandbox import serve

        # A shell has a job in the background ignore Ctrl-C; so it stays.
        ends = [number for number in (SIGINT, SIGTERM, SIGHUP) if getsignal(number) is not SIG_IGN]
        with anyio.open_signal_receiver(*ends) as signals:
            async with serve(settings, port=port, host=host) as server:
                with _announced(ready_file, server.base_url):
                    click.echo(
                        f"sandbox at {server.base_url} (pictures are drawn from hashes, not by AI); stop it with Ctrl-C"
                    )
                    return int(ExitCode.SIGINT if await anext(signals) == SIGINT else ExitCode.SIGTERM)

    try:
        if ready_file is not None and ready_file.is_file():
            ready_file.unlink()  # left by a sandbox that was killed
        return anyio.run(go)
    except ModuleNotFoundError as error:
        raise UsageError(f"the sandbox needs {error.name}: pip install 'venice-batch[sandbox]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot serve on {host}:{port}: {error}") from error


@contextmanager
def _announced(file: Path | None, address: str) -> Iterator[None]:
    """Keep `address` in `file`, as one whole line, for the length of a block."""
    if file is None:
        yield
        return
    from venice_batch.output.atomic_file import whole_file

    with whole_file(file) as written:
        written.write(f"{address}\n".encode())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
