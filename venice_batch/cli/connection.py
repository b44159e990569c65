"""A command's connection to the API, and the lists of models and styles fetched over it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from venice_batch.api.key import ApiKey, find_key
from venice_batch.errors import ApiError, KeyMissingError, one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from venice_batch.api.client import ApiClient
    from venice_batch.catalogue import Listing
    from venice_batch.catalogue.models import ModelKind

T = TypeVar("T")


class NoKey(ApiKey):
    """Stand in for a key where none is needed: nothing is sent, and nothing is redacted."""

    def __init__(self) -> None:
        super().__init__("none")

    def header(self) -> str:
        return ""

    def redact(self, text: str) -> str:
        return text

    def redact_bytes(self, body: bytes, *, whole: bool = True) -> bytes:
        return body


def connect(base_url: str, key: ApiKey | None) -> ApiClient:
    """Return an API session, to be entered with `async with`; without a key it can use only public endpoints."""
    from venice_batch.api.client import ApiClient, ApiSettings
    from venice_batch.clock import SystemClock

    return ApiClient(ApiSettings(base_url=base_url), key or NoKey(), SystemClock())


def ask_api(
    ask: Callable[[ApiClient], Awaitable[T]],
    base_url: str,
    key_file: Path | None,
    *,
    sandbox: bool,
    public: bool = False,
) -> T:
    """Return the answer of `ask`, which is called with a session.

    With `sandbox`, a sandbox is served for it. A `public` request is sent without a key if none is set.

    Raises:
        KeyMissingError: there is no key, and the request is not public.
        ApiError: the API does not answer, or not as expected.
    """
    import anyio

    async def go(url: str, key: ApiKey | None) -> T:
        async with connect(url, key) as api:
            return await ask(api)

    async def go_sandbox() -> T:
        from venice_batch.sandbox import serve

        async with serve() as server:
            return await go(server.base_url, ApiKey("sandbox"))

    if sandbox:
        return anyio.run(go_sandbox)
    try:
        key: ApiKey | None = find_key(key_file)
    except KeyMissingError:
        if not public:
            raise
        key = None
    return anyio.run(go, base_url, key)


class Lists:
    """The API's lists, each requested once."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._models: dict[ModelKind, tuple[dict[str, Any], ...]] = {}
        self._styles: tuple[str, ...] | None = None

    async def models(self, kind: ModelKind = "image") -> tuple[dict[str, Any], ...]:
        if kind not in self._models:
            self._models[kind] = await self._api.models(kind)
        return self._models[kind]

    async def styles(self) -> tuple[str, ...]:
        if self._styles is None:
            self._styles = await self._api.styles()
        return self._styles

    async def of_kinds(self, kinds: tuple[ModelKind, ...]) -> tuple[dict[str, Any], ...]:
        """Return the models of `kinds`; among several, a kind other than `image` that fails is left out."""
        found: tuple[dict[str, Any], ...] = ()
        for kind in kinds:
            try:
                found += await self.models(kind)
            except ApiError:
                if len(kinds) == 1 or kind == "image":
                    raise
        return found


def live_list(show: Callable[[Lists], Awaitable[T]], base_url: str, key_file: Path | None, *, sandbox: bool) -> T:
    """Return what `show` takes from the API's lists. The other lists are requested too and cached for `check`."""
    from venice_batch.catalogue import Cache, ask

    cache = Cache.of_user()

    async def go(api: ApiClient) -> T:
        lists = Lists(api)
        shown = await show(lists)
        if not sandbox and cache.keeps(base_url):
            await ask(lists, base_url, cache, now_unix_s=time.time())
        return shown

    return ask_api(go, base_url, key_file, sandbox=sandbox, public=True)


def offline_list(base_url: str) -> Listing:
    """Return the cached or packaged list and print which one it is. Raises ApiError if there is no list."""
    from venice_batch.catalogue import Cache, at_hand

    found = at_hand(base_url, Cache.of_user(), now_unix_s=time.time())
    click.echo(one_line(f"venice-batch: {found.notice}"), err=True)
    if found.listing is None:
        raise ApiError(
            "no list of this server is cached; ask for it without --offline (a server on this machine is never cached)"
        )
    return found.listing
