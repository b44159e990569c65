"""`check --freeze FILE` and `--frozen FILE`: prices, models and limits that somebody approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from venice_batch.cli.env import environment
from venice_batch.cli.parameters import stronger
from venice_batch.errors import UsageError, one_line
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from venice_batch.api.listings import Limits
    from venice_batch.catalogue import Listing, Preflight
    from venice_batch.catalogue.frozen import Frozen
    from venice_batch.catalogue.frozen_changes import Difference


class Approval(NamedTuple):
    """The result of either option: the file, when it was frozen, and how the jobs differ from it.

    `frozen` is what `--freeze` has written, or, with `is_kept`, found there already; None for `--frozen`. `is_compared`
    is false for a sandbox with the file of another server.
    """

    path: Path
    since: datetime | None
    differences: Sequence[Difference]
    frozen: Frozen | None = None
    is_compared: bool = True
    is_kept: bool = False

    @property
    def notices(self) -> list[str]:
        """What `--frozen` says although nothing is worse, a line each; nothing for `--freeze`."""
        if self.frozen is not None:
            return []
        begin = f"{self.path} still holds; " if self.is_compared else f"{self.path}: "
        return [one_line(f"{begin}{difference}") for difference in self.differences]

    @property
    def lines(self) -> list[str]:
        """The result for people."""
        if not self.is_compared:
            return []
        if self.frozen is None:
            better = ", or better" if self.differences else ""
            approved = f"as approved in {self.path} on {self.since:%Y-%m-%d}{better}"
            return [one_line(f"prices, models and limits are {approved}")]
        if self.is_kept:
            return [one_line(f"{self.path} says the same since {self.since:%Y-%m-%d}, and stays as it is")]
        models = counted(len(self.frozen.models), "model")
        since = f"; since {self.since:%Y-%m-%d}:" if self.differences else ""
        written = one_line(f"prices and limits of {models} are frozen in {self.path}{since}")
        return [written, *(f"  {one}" for one in self.differences)]

    @property
    def report(self) -> dict[str, Any]:
        """The result for scripts."""
        found = [{"model": one.model or None, "what": one.what, "refuses": one.refuses} for one in self.differences]
        frozen_at = self.frozen.frozen_at if self.frozen else self.since
        return {"file": str(self.path), "frozen_at": frozen_at, "compared": self.is_compared, "differences": found}


class Options(NamedTuple):
    """The two options as given, with the content of the file that they name; `freeze` beats `frozen`."""

    freeze: Path | None = None
    frozen: Path | None = None
    approved: Frozen | None = None

    @property
    def wants_quotas(self) -> bool:
        """Whether the comparison needs the key's own limits."""
        from venice_batch.catalogue.frozen_changes import has_quotas

        return self.approved is not None and has_quotas(self.approved)

    def settle(self, now: Frozen | None, jobs: str) -> Approval | None:
        """Compare `now` with the file, or write it there; None without either option.

        Raises:
            NotApprovedError: something is worse than approved.
            UsageError: the file is about another server, or there is nothing to freeze.
            ApiError: no list of models is known, so there is nothing to compare.
            FolderError: the file cannot be written.
        """
        if self.frozen is not None and self.approved is not None:
            from venice_batch.catalogue.frozen_changes import hold_against

            command = _command(click.get_current_context(), jobs, self.frozen)
            found = hold_against(self.approved, now, path=self.frozen, command=command)
            is_compared = now is not None and now.server == self.approved.server
            return Approval(self.frozen, self.approved.frozen_at, found, is_compared=is_compared)
        if self.freeze is None:
            return None
        if now is None:
            raise UsageError("--freeze: no list of models is known, so there are no prices to freeze")
        return _write(self.freeze, self.approved, now)


def of_now(
    preflight: Preflight, listing: Listing | None, limits: Limits | None, given: Mapping[str, Any]
) -> Frozen | None:
    """Return prices, models and limits of the jobs that `preflight` has examined; None without a list of models.

    Also None if neither option is among those `given`, which name the server, too.
    """
    if listing is None or (given["frozen"] is None and given.get("freeze") is None):
        return None
    from venice_batch.catalogue.frozen import freeze, server_name

    server = server_name(given["base_url"], sandbox=given["sandbox"])
    quotas = limits.quotas if limits is not None else None
    return freeze(preflight, listing, server, now_unix_s=environment().now(), quotas=quotas)


def options_of(given: Mapping[str, Any]) -> Options:
    """Return the two options, with the file that is to be compared or replaced.

    Raises:
        UsageError: both are given, or the file was not written by `check --freeze`.
    """
    freeze, frozen = given.get("freeze"), given["frozen"]
    if freeze is not None and frozen is not None:
        kept = stronger(click.get_current_context(), "freeze", "frozen")
        if kept is None:
            raise UsageError("--freeze writes the file that --frozen compares with; give one of them")
        freeze, frozen = (freeze, None) if kept == "freeze" else (None, frozen)
    if frozen is not None:
        from venice_batch.catalogue.frozen import load

        return Options(frozen=frozen, approved=load(frozen))
    return Options(freeze=freeze, approved=_earlier(freeze) if freeze is not None and freeze.is_file() else None)


_MATTERS = (
    "prompt_set",
    "field_map",
    "unknown",
    "settings",
    "seed_policy",
    "allow_unknown",
    "base_url",
    "api_key_file",
    "sandbox",
)
"""Options that change what is frozen; other sources than the command line give them again."""


def _command(ctx: click.Context, jobs: str, path: Path) -> list[str]:
    """Return the command that freezes the jobs of the running one anew."""
    words = ["venice-batch", "check", jobs, "--freeze", str(path)]
    for param in ctx.command.params:
        name = str(param.name)
        if name not in _MATTERS or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value, spelled = ctx.params[name], max(param.opts, key=len)
        for one in value if isinstance(value, tuple) else [value]:
            words += [spelled] if one is True else [spelled, str(one)] if one is not False else []
    return words


def _earlier(path: Path) -> Frozen | None:
    """Return what an earlier `--freeze` wrote; an empty file holds nothing."""
    from venice_batch.catalogue.frozen import load

    try:
        return load(path) if path.stat().st_size else None
    except UsageError as error:
        raise UsageError(f"--freeze: {error}; it is not overwritten") from None


def _write(path: Path, earlier: Frozen | None, now: Frozen) -> Approval:
    from venice_batch.catalogue.frozen import encode, same
    from venice_batch.catalogue.frozen_changes import differences
    from venice_batch.output.atomic_file import whole_file

    if earlier is not None and same(earlier, now):
        return Approval(path, earlier.frozen_at, (), earlier, is_kept=True)
    with whole_file(path) as file:
        file.write(encode(now))
    if earlier is None:
        return Approval(path, None, (), now)
    return Approval(path, earlier.frozen_at, differences(earlier, now), now)
