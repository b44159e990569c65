"""`venice-batch sandbox`: serve the sandbox until interrupted."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from signal import SIG_IGN, SIGINT, getsignal
from typing import TYPE_CHECKING, Any

import click

from venice_batch import portable
from venice_batch.cli import sandbox_options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import Target, WholeNumber, option
from venice_batch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@command()
@option(
    "--port",
    type=WholeNumber(0, 65535),
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
@sandbox_options.sandbox_options()
def sandbox(port: int, host: str, ready_file: Path | None, **given: Any) -> int:
    """Serve a local stand-in for the Venice image API.

    It draws real images from hashes of the prompts, with the API's formats, sizes, limits and errors. It runs no model.
    """
    import anyio

    settings = sandbox_options.sandbox_settings(given)

    async def go() -> int:
        from venice_batch.sandbox import serve

        # A process that a shell started in the background ignores Ctrl-C, and must continue to.
        ends = [number for number in portable.TERMINATION_SIGNALS if getsignal(number) is not SIG_IGN]
        with portable.signal_receiver(*ends) as signals:
            async with serve(settings, port=port, host=host) as server:
                with _address_in(ready_file, server.base_url):
                    click.echo(f"sandbox at {server.base_url} (images are drawn from hashes); stop it with Ctrl-C")
                    return int(ExitCode.SIGINT if await anext(signals) == SIGINT else ExitCode.SIGTERM)

    try:
        if ready_file is not None and ready_file.is_file():
            ready_file.unlink()  # left by a sandbox that was killed
        return anyio.run(go)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot serve on {host}:{port}: {error}") from error


@contextmanager
def _address_in(file: Path | None, address: str) -> Iterator[None]:
    """Keep `address` in `file`, as one whole line, until the block ends."""
    if file is None:
        yield
        return
    from venice_batch.output.atomic_file import whole_file

    with whole_file(file) as out:
        out.write(f"{address}\n".encode())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
