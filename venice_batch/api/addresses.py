"""Addresses that the user or the environment names: the API's base URL and the proxy for it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import NamedTuple
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from yarl import URL

from venice_batch.catalogue.listing import is_local
from venice_batch.errors import UsageError


class Proxy(NamedTuple):
    """An HTTP proxy: its address without a name or password, and its `login` (name, password) if it has one."""

    address: URL
    login: tuple[str, str] | None


def check_base_url(text: str) -> None:
    """Check that `text` is an address for `--base-url`.

    Raises:
        UsageError: it is not an HTTP address, or it has a name or password in it.
    """
    url = _parse(text, "--base-url")
    if url.raw_user is not None or url.raw_password is not None:
        raise UsageError(
            "--base-url: the address must not contain a name or password; set the key in VENICE_API_KEY or with"
            " --api-key-file"
        )


def proxy_for(base_url: str) -> Proxy | None:
    """Return the proxy that the environment names for `base_url` (HTTPS_PROXY, NO_PROXY, …); None for no proxy.

    A server on this machine never gets a proxy: one elsewhere would look for the server on its own machine.

    Raises:
        UsageError: the environment names a proxy that is not an HTTP address.
    """
    url = URL(base_url)
    named = getproxies().get(url.scheme)
    if named is None or url.host is None or is_local(base_url) or _bypasses_proxy(url.host, url.port):
        return None
    address = _parse(named if "://" in named else f"http://{named}", f"the proxy for {url.scheme}")
    if address.user is None:
        return Proxy(address, None)
    return Proxy(address.with_user(None), (address.user, address.password or ""))


def without_userinfo(address: str) -> str:
    """Return `address` with stars for its name and password, even if the rest of it cannot be parsed."""
    scheme, slashes, rest = address.partition("://") if "://" in address else ("", "", address)
    _, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}***@{host}" if at else address


def _parse(text: str, what: str) -> URL:
    """Return the HTTP address in `text`; a UsageError begins with `what` it is for."""
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host or url.port is None or " " in text:
            raise ValueError(text)
        url.host.encode("idna")
    except ValueError:  # UnicodeError included; not chained, because its text may show the password
        raise UsageError(f"{what}: {without_userinfo(text)!r} is not an http:// or https:// address") from None
    return url


def _bypasses_proxy(host: str, port: int | None) -> bool:
    """Return whether NO_PROXY (or the system) exempts `host`: by name, domain, port or network."""
    shown = f"[{host}]" if ":" in host else host
    if proxy_bypass(f"{shown}:{port}") or proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in getproxies_environment().get("no", "").split(","):
        with suppress(ValueError):  # a name
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False
