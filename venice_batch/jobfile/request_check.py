"""Whether a request is one that its endpoint takes, and everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.jobfile.fields import REQUESTS, Fault, cross_field
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection


def problems(endpoint: Endpoint, request: dict[str, Any], *, beside: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return all that is wrong with a request as (field, what) pairs, in the request's order; [] if nothing.

    A field that is missing comes last. `beside` names the keys that may stand beside the request's
    fields where the user wrote it; they take part in "did you mean".
    """
    return [(fault.field, fault.what) for fault in faults(endpoint, request, beside=beside)]


def faults(endpoint: Endpoint, request: dict[str, Any], *, beside: Collection[str] = ()) -> list[Fault]:
    """Return what `problems` does, each with the word whether the server could think otherwise."""
    try:
        msgspec.convert(request, REQUESTS[endpoint])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        # Imported late: a file without mistakes never needs the words for them.
        from venice_batch.jobfile.explain import explain

        found = explain(endpoint, request, beside)
        # Should the two ever disagree, the checker's own words are better than a pass.
        return found or [Fault("", str(error), is_open=False)]
    found = cross_field(request)
    if endpoint is Endpoint.BACKGROUND_REMOVE and not request.keys() & {"image", "image_url"}:
        found.append(Fault("image", "missing", is_open=False))
    return found
