"""How people send a batch without this tool: each function returns how many images it obtained."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import requests
import tenacity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CONCURRENCY = 32
_KEY = "sandbox"


def sequential(base_url: str, jobs: Sequence[dict[str, Any]], speed: float) -> int:
    """The image guide's own code in a loop: one request after another, a refused one is lost."""
    images = 0
    for job in jobs:
        response = requests.post(
            f"{base_url}/image/generate",
            headers={"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"},
            json={**job, "format": "webp"},
            timeout=60,
        )
        data = response.json()
        if "images" in data:
            images += bool(base64.b64decode(data["images"][0]))
    return images


def openai_sdk(base_url: str, jobs: Sequence[dict[str, Any]], speed: float, *, max_retries: int) -> int:
    """OpenAI's AsyncOpenAI, 32 at a time. Its retries heed Retry-After, which the sandbox compresses."""

    async def run() -> int:
        async with openai.AsyncOpenAI(api_key=_KEY, base_url=base_url, max_retries=max_retries) as client:

            async def one(job: dict[str, Any]) -> bool:
                made = await client.images.generate(
                    model=job["model"], prompt=job["prompt"], response_format="b64_json", output_format="webp"
                )
                return bool(made.data and base64.b64decode(made.data[0].b64_json or ""))

            return await _all(one, jobs, openai.OpenAIError)

    return asyncio.run(run())


def tenacity_loop(base_url: str, jobs: Sequence[dict[str, Any]], speed: float) -> int:
    """aiohttp, a semaphore, and tenacity's exponential backoff with jitter, its waits compressed like all else."""
    again = tenacity.retry(
        wait=tenacity.wait_random_exponential(multiplier=1 / speed, max=60 / speed),
        stop=tenacity.stop_after_attempt(10),
        retry=tenacity.retry_if_exception(_is_worth_retrying),
        reraise=True,
    )

    async def run() -> int:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {_KEY}"}) as session:

            @again
            async def one(job: dict[str, Any]) -> bool:
                body = {**job, "format": "webp", "return_binary": True}
                async with session.post(f"{base_url}/image/generate", json=body) as response:
                    response.raise_for_status()
                    return bool(await response.read())

            return await _all(one, jobs, aiohttp.ClientError)

    return asyncio.run(run())


CLIENTS: dict[str, Callable[[str, Sequence[dict[str, Any]], float], int]] = {
    "OpenAI SDK (2 retries, its default)": partial(openai_sdk, max_retries=2),
    "OpenAI SDK (8 retries)": partial(openai_sdk, max_retries=8),
    "tenacity loop (10 attempts)": tenacity_loop,
    "the guide's sequential code": sequential,
}


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientResponseError) and (error.status == 429 or error.status >= 500)


async def _all(
    one: Callable[[dict[str, Any]], Awaitable[bool]], jobs: Sequence[dict[str, Any]], lost: type[Exception]
) -> int:
    places = asyncio.Semaphore(CONCURRENCY)

    async def bounded(job: dict[str, Any]) -> bool:
        async with places:
            try:
                return await one(job)
            except lost:
                return False

    async with asyncio.timeout(180):
        return sum(await asyncio.gather(*map(bounded, jobs)))
