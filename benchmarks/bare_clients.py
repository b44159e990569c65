"""The peers of the throughput benchmark: the shortest honest client that each library invites one to write.

python benchmarks/bare_clients.py NAME BASE_URL FOLDER JOBS CONCURRENCY
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def body(number: int) -> dict[str, str]:
    """The request that stands for job `number`."""
    return {"model": "m", "prompt": f"p{number}"}


async def bare_aiohttp(url: str, folder: Path, jobs: int, concurrency: int) -> None:
    """Stream each answer's body straight to its file; no check, no hash, no record."""
    import aiohttp

    numbers = iter(range(jobs))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def work() -> None:
            for number in numbers:
                async with session.post(f"{url}/image/generate", json=body(number)) as answer:
                    with open(folder / f"{number}.png", "wb") as file:
                        async for chunk in answer.content.iter_any():
                            file.write(chunk)

        await asyncio.gather(*(work() for _ in range(concurrency)))


async def storing_aiohttp(url: str, folder: Path, jobs: int, concurrency: int) -> None:
    """As `bare_aiohttp`, with what no image is promised without: a temporary file, its hash, then its name; in threads.

    Nothing is paced, checked or recorded, so this is the most that the product could reach.
    """
    import aiohttp
    import anyio.to_thread

    numbers = iter(range(jobs))

    def store(number: int, chunks: list[bytes]) -> str:
        part, sha256 = folder / f".{number}.part", hashlib.sha256()
        with open(part, "xb", buffering=0) as file:
            for chunk in chunks:
                sha256.update(chunk)
                file.write(chunk)
        os.link(part, folder / f"{number}.png")
        os.unlink(part)
        return sha256.hexdigest()

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency), read_bufsize=224 * 1024
    ) as session:

        async def work() -> None:
            for number in numbers:
                async with session.post(f"{url}/image/generate", json=body(number)) as answer:
                    chunks = [chunk async for chunk in answer.content.iter_any()]
                await anyio.to_thread.run_sync(store, number, chunks)

        await asyncio.gather(*(work() for _ in range(concurrency)))


async def whole_body(url: str, folder: Path, jobs: int, concurrency: int) -> None:
    """Read each JSON body whole, parse and decode it with the fastest libraries there are."""
    import aiohttp
    import orjson
    import pybase64

    numbers = iter(range(jobs))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def work() -> None:
            for number in numbers:
                async with session.post(f"{url}/image/generate", json=body(number)) as answer:
                    document = orjson.loads(await answer.read())
                (folder / f"{number}.png").write_bytes(pybase64.b64decode(document["images"][0], validate=True))

        await asyncio.gather(*(work() for _ in range(concurrency)))


def requests_threads(url: str, folder: Path, jobs: int, concurrency: int) -> None:
    """The API guide's own code, in as many threads."""
    import requests

    def one(number: int) -> None:
        data = requests.post(f"{url}/image/generate", json=body(number), timeout=60).json()
        (folder / f"{number}.png").write_bytes(base64.b64decode(data["images"][0]))

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, range(jobs)))


async def openai_sdk(url: str, folder: Path, jobs: int, concurrency: int) -> None:
    """The official SDK's asynchronous client."""
    import openai

    numbers = iter(range(jobs))
    async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:

        async def work() -> None:
            for number in numbers:
                answer = await client.images.generate(model="m", prompt=f"p{number}")
                assert answer.data is not None
                (folder / f"{number}.png").write_bytes(base64.b64decode(answer.data[0].b64_json or ""))

        await asyncio.gather(*(work() for _ in range(concurrency)))


def main() -> None:
    """Run the client that the command line names."""
    name, url, folder, jobs, concurrency = sys.argv[1:]
    arguments = (url, Path(folder), int(jobs), int(concurrency))
    if name == "requests-threads":
        requests_threads(*arguments)
        return
    clients = {
        "bare-aiohttp": bare_aiohttp,
        "storing-aiohttp": storing_aiohttp,
        "whole-body": whole_body,
        "openai-sdk": openai_sdk,
    }
    asyncio.run(clients[name](*arguments))


if __name__ == "__main__":
    main()
