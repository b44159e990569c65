"""`venice-batch view`: show an output folder as a live page until interrupted."""

from __future__ import annotations

import errno
from pathlib import Path
from signal import SIG_IGN, SIGINT, getsignal

import click

from venice_batch import portable
from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import WholeNumber, option
from venice_batch.errors import ExitCode, UsageError


@command()
@click.argument("folder", metavar="OUT", type=folders.AnyFolder(), shell_complete=options.complete_folders)
@option(
    "--port",
    type=WholeNumber(0, 65535),
    default=0,
    show_default="any free one",
    help="Listen on port N of 127.0.0.1.",
)
@option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@folders.reads("folder", follow=True)
def view(folder: Path, port: int, opens: bool) -> int:
    """Show the folder OUT as a live page on this computer, to look at its images and to mark them by keyboard.

    New images appear while a run goes on. Marks go to OUT/marks.jsonl. Ctrl-C ends it, with exit code 0.
    """
    import anyio

    async def go() -> int:
        from venice_batch.view import serve

        # A process that a shell started in the background ignores Ctrl-C, and must continue to.
        ends = [number for number in portable.TERMINATION_SIGNALS if getsignal(number) is not SIG_IGN]
        with portable.signal_receiver(*ends) as signals:
            async with serve(folder, port=port) as server:
                click.echo(f"gallery at {server.address} (private to you); stop it with Ctrl-C")
                if opens:
                    await _open(server.address_to_open())
                return 0 if await anext(signals) == SIGINT else int(ExitCode.SIGTERM)

    try:
        return anyio.run(go)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is taken; give another one, or leave out --port") from error
        raise UsageError(f"cannot serve on port {port}: {error.strerror or error}") from error


async def _open(address: str) -> None:
    """Open the address in the browser, or print that there is none; browsers of the terminal may run for long."""
    import webbrowser

    import anyio.to_thread

    is_open = await anyio.to_thread.run_sync(webbrowser.open, address, abandon_on_cancel=True)
    if not is_open:
        environment().messages.notice("no browser was found; open the address yourself")
