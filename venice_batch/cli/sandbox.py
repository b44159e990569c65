"""`venice-batch sandbox`: serve the sandbox until interrupted."""

from __future__ import annotations

from typing import Any

import click

from venice_batch.cli import options
from venice_batch.cli.command import command
from venice_batch.errors import UsageError


@command()
@options.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0 takes a free one.")
@options.option("--host", default="127.0.0.1", show_default=True, help="Only loopback addresses are taken.")
@options.sandbox_options()
def sandbox(port: int, host: str, **given: Any) -> int:
    """Serve a local stand-in for the Venice image API.

    It draws real images from the prompts' hashes, with the API's formats, sizes, limits and errors. It is no AI.
    """
    import anyio

    settings = options.sandbox_settings(given)

    async def go() -> None:
        from venice_batch.sandbox import serve

        async with serve(settings, port=port, host=host) as server:
            click.echo(f"sandbox at {server.base_url} (no AI: pictures are drawn from hashes); stop it with Ctrl-C")
            await anyio.sleep_forever()

    try:
        anyio.run(go)
    except ModuleNotFoundError as error:
        raise UsageError(f"the sandbox needs {error.name}: pip install 'venice-batch[sandbox]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot serve on {host}:{port}: {error}") from error
    return 0
