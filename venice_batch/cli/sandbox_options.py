"""The options that set up a sandbox, for `sandbox` and `run --sandbox`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli.parameters import Decorator, Number, WholeNumber, group, option
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.sandbox import SandboxSettings


@dataclass(frozen=True, slots=True)
class _SandboxOption:
    """A setting of the sandbox that has an option of its own; `field` is its name in SandboxSettings."""

    name: str
    field: str
    kind: click.ParamType[Any]
    help: str


_SANDBOX_OPTIONS = (
    _SandboxOption("rpm", "rpm", WholeNumber(min=0), "Allow N images a minute for each model; 0: no limit."),
    _SandboxOption("latency", "latency_s", Number(min=0), "Take X seconds to make an image."),
    _SandboxOption("speed", "speed", Number(min=0.001), "Divide minutes and latencies by X."),
    _SandboxOption(
        "capacity", "capacity", WholeNumber(min=0), "Make N images of a model at a time, else 503; 0: no limit."
    ),
    _SandboxOption("fault-rate", "fault_rate", Number(0, 1), "Make this share of the requests fail."),
    _SandboxOption("faults", "fault_kinds", click.STRING, "Fail in these ways, separated by commas (500,reset-mid,…)."),
    _SandboxOption("balance", "balance_usd", Number(min=0), "Answer 402 after X USD."),
    _SandboxOption("draw", "draw", click.Choice(["art", "plain"]), "Draw pictures, or flat colours at high speed."),
)


def sandbox_options(prefix: str = "") -> Decorator:
    """Return the sandbox's settings as options `--<prefix>rpm` and so on; `sandbox_settings` reads them."""
    own = (
        option(f"--{prefix}{one.name}", f"sandbox_{one.field}", type=one.kind, default=None, help=one.help)
        for one in _SANDBOX_OPTIONS
    )
    return group(
        *own,
        option(
            f"--{prefix}set",
            "sandbox_set",
            multiple=True,
            metavar="NAME=VALUE",
            help="Change any other setting, named as in SandboxSettings.",
        ),
    )


def sandbox_settings(given: Mapping[str, Any]) -> SandboxSettings:
    """Return the sandbox's settings from the options in `given`; the others keep their defaults.

    Raises:
        UsageError: a setting is unknown, or cannot have this value.
    """
    from venice_batch.sandbox import SandboxSettings

    values: dict[str, Any] = {}
    for one in _SANDBOX_OPTIONS:
        value = given[f"sandbox_{one.field}"]
        if value is not None:
            values[one.field] = tuple(value.split(",")) if one.name == "faults" else value
    kinds = {field.name: str(field.type) for field in fields(SandboxSettings)}
    for setting in given["sandbox_set"]:
        name, equals, text = setting.partition("=")
        if not equals or name not in kinds:
            known = ", ".join(sorted(kinds))
            raise UsageError(f"{setting!r} is not a setting of the sandbox; give NAME=VALUE with one of: {known}")
        values[name] = _typed(kinds[name], name, text)
    for name, value in values.items():
        if value != value:  # NaN passes every check of a range
            raise UsageError(f"the sandbox: {name} must be a number")
    try:
        return SandboxSettings(**values)
    except ValueError as error:
        raise UsageError(f"the sandbox: {error}") from error


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _typed(kind: str, name: str, text: str) -> object:
    """Return `text` as a value of the annotation `kind`. Raises UsageError."""
    try:
        if kind.startswith(("int", "float")):
            return float(text) if kind.startswith("float") else int(text)
        if kind.startswith("bool"):
            return _BOOLEANS[text.lower()]
        if kind.startswith(("tuple", "frozenset")):
            parts = text.split(",")
            return frozenset(parts) if kind.startswith("frozenset") else tuple(parts)
        if kind.startswith("Mapping"):
            if text.startswith("{"):
                raise ValueError("JSON would be split at its commas")
            pairs = (pair.split(":", 1) for pair in text.split(","))
            value_of: type[int | float | str] = int if "int]" in kind else float if "float]" in kind else str
            return {int(key) if "Mapping[int" in kind else key: value_of(value) for key, value in pairs}
    except (KeyError, ValueError) as error:
        form = "KEY:VALUE,KEY:VALUE" if kind.startswith("Mapping") else kind
        raise UsageError(f"{text!r} is not a value for the sandbox's {name} ({form})") from error
    return text
