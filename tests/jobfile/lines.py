"""Hypothesis strategies for valid jobs files, and the problems of a request."""

import orjson
from hypothesis import strategies as st

from venice_batch.jobfile.request_check import faults

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=12)
SHOWN = TEXT.filter(lambda text: not text.isspace())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.none() | st.dictionaries(TEXT, JSON, max_size=3)
GENERATE = {
    "width": st.integers(1, 1280),
    "cfg_scale": st.floats(0.1, 20) | st.integers(1, 20),
    "seed": st.integers(-999_999_999, 999_999_999),
    "steps": st.integers(-(2**63), 2**63 - 1),
    "style_preset": TEXT,
    "resolution": st.sampled_from(["1K", "1k", "4K"]),
    "aspect_ratio": st.sampled_from(["1:1", "auto", "Auto"]),
    "variants": st.integers(1, 4),
    "style_references": st.lists(st.fixed_dictionaries({"image": TEXT}, optional={"strength": st.floats(0.1, 1)})),
    "safe_mode": st.booleans(),
    "format": st.sampled_from(["png", "jpeg", "webp"]),
}
GENERATIONS = {
    "size": st.sampled_from(["auto", "1024x1024"]) | st.none(),
    "n": st.just(1) | st.none(),
    "output_format": st.sampled_from(["png", "jpeg", "webp"]),
    "user": TEXT,
}
generate_requests = st.fixed_dictionaries({"model": SHOWN, "prompt": SHOWN}, optional=GENERATE)
generations_requests = st.fixed_dictionaries({"model": SHOWN, "prompt": SHOWN}, optional=GENERATIONS)


@st.composite
def native_lines(draw):
    """A native line, of either endpoint."""
    if draw(st.booleans()):
        record = draw(generate_requests)
    else:
        record = draw(generations_requests) | {"endpoint": "/images/generations"}
    if draw(st.booleans()):
        record["id"] = draw(SHOWN)
    if draw(st.booleans()):
        record["metadata"] = draw(METADATA)
    return record


@st.composite
def matrix_lines(draw):
    """A native line that makes several jobs."""
    record = draw(generate_requests)
    varied = draw(st.lists(st.sampled_from(["seed", "width", "style_preset", "prompt"]), min_size=1, unique=True))
    values = {**GENERATE, "prompt": SHOWN}
    matrix = {name: draw(st.lists(values[name], min_size=1, max_size=3, unique=True)) for name in varied}
    record = {name: value for name, value in record.items() if name not in matrix} | {"matrix": matrix}
    return record | draw(st.fixed_dictionaries({}, optional={"id": SHOWN, "metadata": METADATA}))


@st.composite
def openai_lines(draw):
    """A line in the OpenAI batch format."""
    path, body = draw(
        st.tuples(st.just("/v1/images/generations"), generations_requests)
        | st.tuples(st.just("/v1/image/generate"), generate_requests)
    )
    return draw(
        st.fixed_dictionaries(
            {"method": st.just("POST"), "url": st.just(path), "body": st.just(body)}, optional={"custom_id": SHOWN}
        )
    )


any_line = native_lines() | matrix_lines() | openai_lines()


def as_file(records):
    """The bytes of a jobs file."""
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def problems(endpoint, request, *, beside=frozenset()):
    """What is wrong with a request, as (field, what)."""
    return [(fault.field, fault.what) for fault in faults(endpoint, request, beside=beside)]
