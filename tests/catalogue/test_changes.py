"""The differences between two listings."""

from catalogue.made import entry

from venice_batch.catalogue import Listing, snapshot
from venice_batch.catalogue.changes import Changes, Repriced, changes


def listing(*entries):
    return Listing(entries, None, 0.0, "live")


def priced(model_id="made", **pricing):
    return entry(model_id, pricing=pricing)


def test_a_list_has_not_changed_from_itself():
    assert not changes(snapshot(), snapshot())
    assert changes(listing(), listing()) == Changes()


def test_models_that_came_and_went_are_named_in_the_lists_order():
    found = changes(listing(entry("a"), entry("b"), entry("c")), listing(entry("z"), entry("b"), entry("y")))
    assert found == Changes(added=("z", "y"), removed=("a", "c"))
    assert found


def test_each_price_that_differs_is_named_with_its_place():
    before = priced(
        generation={"usd": 0.1, "diem": 0.1},
        resolutions={"1k": {"usd": 0.2}, "2k": {"usd": 0.3}},
        quality={"1K": {"low": {"usd": 0.02}}},
    )
    after = priced(
        generation={"usd": 0.1, "diem": 0.2},
        resolutions={"1K": {"usd": 0.2}, "2K": {"usd": 0.25}, "4K": {"usd": 0.5}},
        quality={},
        inputImages={"included": 0, "additional": {"usd": 0.01}},
    )
    assert set(changes(listing(before), listing(after)).repriced) == {
        Repriced("made", "resolutions.2K", 0.3, 0.25),
        Repriced("made", "resolutions.4K", None, 0.5),
        Repriced("made", "quality.1K.low", 0.02, None),
        Repriced("made", "inputImages.additional", None, 0.01),
    }


def test_the_upscalers_prices_count_once_though_every_image_model_repeats_them():
    before, after = ({"2x": {"usd": usd}} for usd in (0.02, 0.03))
    image = (priced(upscale=before), priced(upscale=after))
    upscaler = tuple({**one, "type": "upscale", "id": "upscaler"} for one in image)
    found = changes(listing(image[0], upscaler[0]), listing(image[1], upscaler[1]))
    assert found.repriced == (Repriced("upscaler", "upscale.2x", 0.02, 0.03),)


def test_nonsense_in_a_listing_is_passed_over():
    odd = ({"id": 5}, {"id": "a"}, {"id": "b", "model_spec": {"pricing": [1]}}, priced("c", generation={"usd": "1"}))
    assert changes(listing(*odd), listing(*odd)) == Changes()
