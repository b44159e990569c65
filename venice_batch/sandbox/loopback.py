"""Addresses that never leave this machine."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether `host` is localhost or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(host: str) -> None:
    """Raises: ValueError unless `host` is a loopback one: the sandbox has no real authentication."""
    if not is_loopback(host):
        raise ValueError(f"the sandbox serves on loopback addresses only, not on {host!r}")
