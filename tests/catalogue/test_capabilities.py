"""The values that listed models offer."""

import pytest
from jobfile.lines import problems

from venice_batch.catalogue import Catalogue, snapshot
from venice_batch.catalogue.capabilities import offers
from venice_batch.model import Endpoint

LISTING = snapshot()
CATALOGUE = LISTING.catalogue(LISTING.asked_unix_s)


def test_each_endpoint_is_offered_the_models_of_its_kind():
    found = offers(CATALOGUE, LISTING.styles)
    assert "venice-sd35" in found[Endpoint.GENERATE]["model"]
    assert "firered-image-edit" in found[Endpoint.EDIT]["model"]
    assert not {*found[Endpoint.EDIT]["model"]} & {*found[Endpoint.GENERATE]["model"]}
    assert found[Endpoint.GENERATE]["style_preset"] == list(LISTING.styles)
    assert set(found[Endpoint.GENERATE]["resolution"]) == {"1K", "1.5K", "2K", "4K"}


@pytest.mark.parametrize("endpoint", offers(CATALOGUE))
def test_every_offered_value_is_valid_in_a_line(endpoint):
    for field, values in offers(CATALOGUE, LISTING.styles)[endpoint].items():
        assert len(values) == len(set(values))
        for value in values:
            assert field not in [name for name, _ in problems(endpoint, {field: value})]


def test_an_empty_list_offers_nothing():
    assert not any(offers(Catalogue([], listed=CATALOGUE.listed, now=CATALOGUE.now)).values())
