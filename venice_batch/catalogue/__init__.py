"""The image models: what they take, what they cost, and what is wrong with a job for them."""

from venice_batch.catalogue.constraints import corrected
from venice_batch.catalogue.listing import Cache, Found, Listing, ask, at_hand, fresh, snapshot
from venice_batch.catalogue.models import Catalogue, Model
from venice_batch.catalogue.preflight import Bill, Preflight
from venice_batch.catalogue.prices import enhancement_micro_usd, price_micro_usd

__all__ = [
    "Bill",
    "Cache",
    "Catalogue",
    "Found",
    "Listing",
    "Model",
    "Preflight",
    "ask",
    "at_hand",
    "corrected",
    "enhancement_micro_usd",
    "fresh",
    "price_micro_usd",
    "snapshot",
]
