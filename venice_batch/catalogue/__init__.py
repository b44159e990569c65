"""The image models: what they take, what they cost, and what is wrong with a job for them."""

from venice_batch.catalogue.cache import Cache
from venice_batch.catalogue.finding import Found, ask, at_hand, fresh
from venice_batch.catalogue.listing import Listing, snapshot
from venice_batch.catalogue.models import Catalogue, Model, parse
from venice_batch.catalogue.preflight import Bill, Preflight, Warned
from venice_batch.catalogue.prices import (
    amount_text,
    cost_text,
    enhancement_micro_usd,
    micro_usd,
    price_micro_usd,
    price_usd,
    usd,
    usd_text,
)
from venice_batch.catalogue.rules import Complaint, complaints, corrected

__all__ = [
    "Bill",
    "Cache",
    "Catalogue",
    "Complaint",
    "Found",
    "Listing",
    "Model",
    "Preflight",
    "Warned",
    "amount_text",
    "ask",
    "at_hand",
    "complaints",
    "corrected",
    "cost_text",
    "enhancement_micro_usd",
    "fresh",
    "micro_usd",
    "parse",
    "price_micro_usd",
    "price_usd",
    "snapshot",
    "usd",
    "usd_text",
]
