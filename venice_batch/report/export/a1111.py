"""The text in which A1111 (Stable Diffusion web UI) and many other programs keep how an image was made.

The prompt comes first, then a line that begins with `Negative prompt:`, then one last line of settings, such as
`Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: sd_xl_base_1.0`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEGATIVE = "Negative prompt:"
_FEWEST_SETTINGS = 3
"""A last line with fewer settings belongs to the prompt, for A1111 too."""

_SETTING = re.compile(r'\s{0,8}(\w[\w \-/]{0,60}):\s{0,8}("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")
_QUOTED = re.compile(r'[,:"\n\r]|^\s|\s$|^$')
_NUMBERS = {"Steps": "steps", "CFG scale": "cfg_scale", "Seed": "seed"}
_LONGEST_NUMBER = 20
_PROMPTS = ("prompt", "negative_prompt")
_OURS = "Venice job"


class Parameters(NamedTuple):
    """What such a text says: fields of a request, by their names here, and all other settings as they stand.

    `job` is the job as venice-batch wrote it, None in a text of another program.
    """

    fields: dict[str, Any]
    others: dict[str, str]
    job: dict[str, Any] | None = None


def parse(text: str) -> Parameters:
    """Return what the text says. It may come from anybody: nothing in it is checked against a model."""
    *lines, last = text.strip().split("\n")
    found = _SETTING.findall(last)
    if len(found) < _FEWEST_SETTINGS:
        lines, found = [*lines, last], []
    prompt, negative = list[str](), list[str]()
    is_negative = False
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            is_negative, line = True, line.removeprefix(_NEGATIVE).strip()
        (negative if is_negative else prompt).append(line)
    fields: dict[str, Any] = {"prompt": "\n".join(prompt), "negative_prompt": "\n".join(negative)}
    fields = {name: value for name, value in fields.items() if value}
    others = {name: _unquoted(value.strip()) for name, value in found}
    job = json_object(others.pop(_OURS, ""))
    for setting, name in _NUMBERS.items():
        if (number := _number(others.get(setting, ""))) is not None:
            fields[name] = number
            del others[setting]
    if "Model" in others:
        fields["model"] = others.pop("Model")
    if size := _SIZE.fullmatch(others.get("Size", "")):
        fields |= {"width": int(size[1]), "height": int(size[2])}
        del others["Size"]
    return Parameters(fields, others, job)


def text_of(fields: Mapping[str, Any], *, size: tuple[int, int] | None, version: str, job: Mapping[str, Any]) -> str:
    """Return the text for an image of this request.

    `size` is the image's own, in pixels. `job` is everything to find again, whatever the text can express; prompts that
    can be read from the text are left out of it.
    """
    settings = [(name, fields[field]) for name, field in _NUMBERS.items() if field in fields]
    if size is not None:
        settings.append(("Size", f"{size[0]}x{size[1]}"))
    settings.append(("Model", fields.get("model") or "default"))
    settings.append(("Version", version))
    prompts = {name: fields.get(name, "") for name in _PROMPTS}
    prompts = {name: value.replace("\0", " ") for name, value in prompts.items() if isinstance(value, str)}
    lines = [prompts.get("prompt", "")]
    if prompts.get("negative_prompt"):
        lines.append(f"{_NEGATIVE} {prompts['negative_prompt']}")
    line = [*(f"{name}: {_quoted(value)}" for name, value in settings), f"{_OURS}: {_json_text('{}')}"]
    read = parse("\n".join([*lines, ", ".join(line)])).fields
    rest = {name: value for name, value in job.items() if name not in _PROMPTS or read.get(name) != value}
    rest |= {name: None for name in _PROMPTS if name in read and name not in job}
    line[-1] = f"{_OURS}: {_json_text(json.dumps(rest))}"
    return "\n".join([*lines, ", ".join(line)])


def job_of(found: Parameters) -> dict[str, Any] | None:
    """Return the job that venice-batch wrote into the text; None in a text of another program."""
    if found.job is None:
        return None
    job = {name: found.fields[name] for name in _PROMPTS if name in found.fields} | found.job
    return {name: value for name, value in job.items() if name not in _PROMPTS or value is not None}


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.replace("\0", " ")
    return _json_text(text) if _QUOTED.search(text) else text


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            found = json.loads(text)
        except ValueError:
            return text
        return found if isinstance(found, str) else text
    return text


def _number(text: str) -> int | float | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        return int(text) if re.fullmatch("-?[0-9]+", text) else float(text) if re.fullmatch(r"[0-9.]+", text) else None
    except ValueError:
        return None


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None if it is none."""
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
