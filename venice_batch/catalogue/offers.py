"""The values that the listed models offer for the fields of each endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.catalogue.prices import KIND
from venice_batch.jobfile.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.catalogue.models import Catalogue
    from venice_batch.model import Endpoint


def offers(catalogue: Catalogue, styles: Iterable[str] = ()) -> dict[Endpoint, dict[str, list[str]]]:
    """Return each value that some model of the endpoint's kind offers, by endpoint and field, in the listing's order.

    A job may give others: names of traits, `1k` for `1K`, a model that the list lacks. Fields without any are left out.
    """
    found = {}
    for endpoint, kind in KIND.items():
        models = catalogue.of_kind(kind)
        values = {
            "model": (model.id for model in models),
            "aspect_ratio": (ratio for model in models for ratio in model.ratios),
            "resolution": (tier.upper() for model in models for tier in model.resolutions),
            "style_preset": styles,
        }
        distinct = {field: list(dict.fromkeys(some)) for field, some in values.items() if field in FIELDS[endpoint]}
        found[endpoint] = {field: some for field, some in distinct.items() if some}
    return found
