"""Jobs that change pictures: their mistakes and their prices."""

from decimal import Decimal

import anyio
import pytest
from catalogue.made import SHIPPED, catalogue, complaints, entry, price_usd
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from venice_batch.catalogue import Bill, Preflight, corrected, price_micro_usd
from venice_batch.catalogue.prices import model_of
from venice_batch.jobfile.identity import request_hash
from venice_batch.model import Endpoint, Job
from venice_batch.sandbox.catalogue import shipped_edits
from venice_batch.sandbox.edit import EditReader
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.settings import SandboxSettings

UPSCALE, EDIT, MULTI_EDIT, REMOVE = Endpoint.UPSCALE, Endpoint.EDIT, Endpoint.MULTI_EDIT, Endpoint.BACKGROUND_REMOVE
PICTURE = {"path": "/photos/cat.png", "sha256": "0" * 64}


def job(endpoint, **fields):
    pictures = {"images": [PICTURE]} if endpoint is MULTI_EDIT else {"image": PICTURE}
    words = {"prompt": "a hat"} if endpoint in (EDIT, MULTI_EDIT) else {}
    request = {**pictures, **words, **fields}
    return Job("a", 1, 0, endpoint, request, request_hash(endpoint, request))


def found_in(given_job, known=SHIPPED, **options):
    return [(one.field, one.what, one.is_error) for one in complaints(given_job, known, **options)]


def only(given_job, known=SHIPPED, **options):
    ((field, what, is_error),) = found_in(given_job, known, **options)
    return f"{'' if is_error else 'warning: '}{field}: {what}"


def test_lanes_are_the_models_or_the_endpoints_own():
    assert job(UPSCALE).model == "upscaler"
    assert job(REMOVE).model == "bria-bg-remover"
    assert job(EDIT).model == job(MULTI_EDIT).model == "firered-image-edit"
    assert job(EDIT, model="luma-uni-1-edit").model == job(EDIT, modelId="luma-uni-1-edit").model == "luma-uni-1-edit"


@pytest.mark.parametrize(
    ("given_job", "expected"),
    [
        (job(UPSCALE), "0.02"),
        (job(UPSCALE, scale=2), "0.02"),
        (job(UPSCALE, scale=4), "0.08"),
        (job(REMOVE), "0.03"),
        (job(EDIT), "0.04"),
        (job(EDIT, model="nano-banana-2-edit", resolution="4k"), "0.19"),
        (job(EDIT, modelId="nano-banana-2-edit"), "0.1"),
        (job(MULTI_EDIT, model="gpt-image-2-edit", quality="low", resolution="2K"), "0.03"),
        (job(EDIT, model="gpt-image-2-edit"), "0.34"),
        (job(EDIT, model="gpt-image-1-5-edit"), "0.31"),
        (job(MULTI_EDIT, model="gpt-image-2-edit", quality="low"), "0.03"),
    ],
)
def test_prices(given_job, expected):
    assert price_usd(given_job, SHIPPED) == Decimal(expected)
    assert found_in(given_job) == []


def test_more_images_than_are_included_cost_extra():
    prices = {"inpaint": {"usd": 0.04}, "inputImages": {"included": 1, "additional": {"usd": 0.0045}}}
    known = catalogue({**entry("made", pricing=prices), "type": "inpaint"})
    assert price_usd(job(MULTI_EDIT, model="made", images=[PICTURE] * 3), known) == Decimal("0.049")
    assert price_usd(job(EDIT, model="made"), known) == Decimal("0.04")
    preflight = Preflight(known)
    for count in (1, 2):
        assert preflight.examine(job(MULTI_EDIT, model="made", images=[PICTURE] * count)) == []
    assert [bill.micro_usd for bill, _ in preflight.bills()] == [40_000, 44_500]


def test_where_no_image_is_included_each_one_costs_extra_the_only_one_too():
    prices = {"inpaint": {"usd": 0.04}, "inputImages": {"included": 0, "additional": {"usd": 0.0045}}}
    known = catalogue({**entry("made", pricing=prices), "type": "inpaint"})
    assert price_usd(job(EDIT, model="made"), known) == Decimal("0.0445")
    assert price_usd(job(MULTI_EDIT, model="made", images=[PICTURE] * 3), known) == Decimal("0.0535")


@pytest.mark.parametrize("included", [None, "one", -1, True])
def test_a_list_that_does_not_say_how_many_images_are_included_means_the_one_that_is_edited(included):
    prices = {"inpaint": {"usd": 0.04}, "inputImages": {"included": included, "additional": {"usd": 0.0045}}}
    known = catalogue({**entry("made", pricing=prices), "type": "inpaint"})
    assert price_usd(job(EDIT, model="made"), known) == Decimal("0.04")
    assert price_usd(job(MULTI_EDIT, model="made", images=[PICTURE] * 2), known) == Decimal("0.0445")


@pytest.mark.parametrize(("scale", "expected"), [(2, "0.02"), (2.01, "0.08"), (3, "0.08"), (4, "0.08"), ("x", "0.02")])
def test_any_scale_above_2_costs_as_much_as_4(scale, expected):
    assert price_usd(job(UPSCALE, scale=scale), SHIPPED) == Decimal(expected)


def test_where_no_model_is_listed_for_a_request_without_one_the_price_is_unknown():
    known = catalogue({**entry("other"), "type": "upscale"})
    assert price_usd(job(UPSCALE), known) is None
    assert found_in(job(UPSCALE), known) == []


def test_a_listing_without_edit_models_says_nothing_about_them():
    known = catalogue(entry())
    assert found_in(job(EDIT, model="anything"), known) == []
    assert price_usd(job(EDIT, model="anything"), known) is None
    assert price_usd(job(REMOVE), known) == Decimal("0.03")


def test_names_of_models_are_those_of_their_kind():
    assert only(job(EDIT, model="nano-banana-2")) == (
        "model: nano-banana-2 is not a model for /image/edit "
        "(nearest: nano-banana-2-edit, nano-banana-pro-edit, nano-banana-2-lite-edit)"
    )
    assert only(job(EDIT, model="qwen-3-edit")).startswith(
        "model: no model 'qwen-3-edit' is listed (nearest: qwen-image-3-edit"
    )
    assert only(job(EDIT, model="xyz")) == (
        "model: no model 'xyz' is listed; `venice-batch models --type inpaint` lists them"
    )
    assert only(job(EDIT, model="xyz"), allow_unknown=True).startswith("warning: model:")


def test_offline_and_retired_models_are_reported_as_for_any_image():
    going = {"date": "2027-01-01T00:00:00Z", "replacementModelId": "new"}
    known = catalogue(
        {**entry("asleep", offline=True, traits=["default"]), "type": "inpaint"},
        {**entry("going", deprecation=going), "type": "inpaint"},
        {**entry("upscaler", offline=True), "type": "upscale"},
    )
    assert only(job(EDIT), known) == "model: asleep is offline at present; run later, or use another"
    assert only(job(UPSCALE), known) == "model: upscaler is offline at present; run later, or use another"
    assert only(job(EDIT, model="going"), known) == (
        "warning: model: going is deprecated and will be retired on 2027-01-01; use new"
    )


@pytest.mark.parametrize(
    ("given_job", "expected"),
    [
        (job(EDIT, prompt="x" * 1501), "prompt: has 1,501 characters; firered-image-edit takes at most 1,500 (cut 1)"),
        (job(MULTI_EDIT, images=[PICTURE] * 7), "images: has 7 images; firered-image-edit takes at most 6"),
        (
            job(MULTI_EDIT, model="luma-uni-1-edit", images=[PICTURE] * 2),
            "images: has 2 images; luma-uni-1-edit takes at most 1",
        ),
        (
            job(EDIT, model="gpt-image-1-5-edit", aspect_ratio="21:9"),
            "aspect_ratio: gpt-image-1-5-edit has no '21:9' (nearest: 3:2; it has auto, 1:1, 3:2, 2:3)",
        ),
        (
            job(EDIT, model="flux-2-max-edit", resolution="2K"),
            "resolution: flux-2-max-edit has no choice of resolution; leave it out",
        ),
        (
            job(MULTI_EDIT, model="flux-2-max-edit", resolution="2K"),
            "warning: resolution: flux-2-max-edit ignores the field",
        ),
        (
            job(EDIT, model="flux-2-max-edit", resolution="1K"),
            "warning: resolution: flux-2-max-edit has no choice of resolution; leave it out",
        ),
        (
            job(EDIT, model="grok-imagine-edit", output_format="png"),
            "warning: output_format: grok-imagine-edit answers in its provider's format, whatever is asked for",
        ),
        (
            job(MULTI_EDIT, model="flux-2-max-edit", quality="low"),
            "warning: quality: flux-2-max-edit ignores the field",
        ),
        (
            job(EDIT, model="nano-banana-2-edit", resolution="8K"),
            "resolution: nano-banana-2-edit has no '8K' (nearest: 4K; it has 1K, 2K, 4K)",
        ),
        (
            job(EDIT, aspect_ratio="16:9"),
            "warning: aspect_ratio: firered-image-edit keeps the size of a single image and ignores it",
        ),
        (job(UPSCALE, creativity=0.5), "warning: creativity: 0.5 counts as 0.02: the API keeps it in 0-0.02"),
        (job(UPSCALE, creativity=-1), "warning: creativity: -1 counts as 0: the API keeps it in 0-0.02"),
    ],
)  # fmt: skip
def test_every_mistake_is_reported_with_a_way_out(given_job, expected):
    assert only(given_job) == expected


def test_auto_is_a_ratio_only_where_it_is_listed():
    known = catalogue({**entry("made", constraints={"aspectRatios": ["1:1", "4:3"]}), "type": "inpaint"})
    assert only(job(EDIT, model="made", aspect_ratio="auto"), known) == (
        "aspect_ratio: made has no 'auto' (it has 1:1, 4:3)"
    )
    assert found_in(job(EDIT, model="made", aspect_ratio="4:3"), known) == []


def test_the_default_tier_is_never_an_error():
    for model in SHIPPED.of_kind("inpaint"):
        assert not any(is_error for _, _, is_error in found_in(job(EDIT, model=model.id, resolution="1K")))


def test_tiers_are_sent_in_the_models_own_spelling():
    assert corrected(job(EDIT, model="nano-banana-2-edit", resolution="2k"), SHIPPED)["resolution"] == "2K"
    assert corrected(job(MULTI_EDIT, model="seedream-v5-pro-edit", resolution="2k"), SHIPPED)["resolution"] == "2K"


def test_the_bill_of_a_file_has_each_kind():
    preflight = Preflight(SHIPPED)
    for one in (job(UPSCALE, scale=4), job(UPSCALE, scale=4), job(REMOVE), job(EDIT, enhance_prompt=True)):
        assert preflight.examine(one) == []
    assert preflight.bills() == [
        (Bill("upscaler", "upscaler", 1, 80_000), 2),
        (Bill("bria-bg-remover", "bria-bg-remover", 1, 30_000), 1),
        (Bill("firered-image-edit", "firered-image-edit", 1, 80_000, 40_000), 1),
    ]


def test_without_a_catalogue_nothing_is_known_of_any():
    preflight = Preflight(None)
    for endpoint in (UPSCALE, EDIT, MULTI_EDIT, REMOVE):
        assert preflight.examine(job(endpoint)) == []
    assert all(bill.micro_usd is None for bill, _ in preflight.bills())


@st.composite
def retouches(draw):
    endpoint = draw(st.sampled_from([UPSCALE, EDIT, MULTI_EDIT, REMOVE]))
    fields = {}

    def maybe(field, *values):
        if draw(st.booleans()):
            fields[field] = draw(st.sampled_from(values))

    if endpoint is UPSCALE:
        maybe("scale", 2, 4)
    if endpoint in (EDIT, MULTI_EDIT):
        fields["prompt"] = "x" * draw(st.integers(1, 2000))
        maybe(draw(st.sampled_from(["model", "modelId"])), *(model.id for model in SHIPPED.of_kind("inpaint")))
        maybe("aspect_ratio", "auto", "1:1", "3:2", "16:9", "21:9", "9:16", "2:3", "3:4", "4:5")
        maybe("resolution", "1K", "1k", "2K", "2k", "4K", "8K")
    if endpoint is MULTI_EDIT:
        maybe("quality", "low", "medium", "high")
        fields["images"] = [PICTURE] * draw(st.integers(1, 15))
    return job(endpoint, **fields)


@given(retouches())
def test_the_check_and_the_sandbox_accept_the_same_jobs_at_the_same_price(given_job):
    from venice_batch.sandbox.request_body import Body

    async def read():
        async def opened(source, urls):
            return Image.new("1", (256, 256))

        sent = corrected(given_job, SHIPPED)
        # The name that the API has for it there; the upload's tests see to that.
        sent = {"modelId" if given_job.endpoint is MULTI_EDIT and k == "model" else k: v for k, v in sent.items()}
        return await EditReader(shipped_edits(), SandboxSettings(), opened).read(
            given_job.endpoint.split("/")[2], Body(sent)
        )

    answer = anyio.run(read)
    refused = {issue.path[0] for issue in answer.issues} if isinstance(answer, ErrorAnswer) else set()
    wrong = {field for field, _, is_error in found_in(given_job) if is_error}
    model = model_of(given_job, SHIPPED)
    # The sandbox fills in ratios that no page lists; a model without tiers drops the field on one endpoint.
    unlisted = {"aspect_ratio"} if model and not model.ratios else set()
    unlisted |= {"resolution"} if model and not model.resolutions else set()
    unlisted |= {"images"} if model and model.max_inputs is None else set()
    unlisted |= {"prompt"} if model and model.prompt_limit is None else set()
    assert wrong - unlisted == refused - unlisted
    price = price_micro_usd(given_job, SHIPPED)
    # What further pictures cost is not compared here, nor a tier whose price no page gives.
    if not refused and price is not None and not (model and model.pricing.input):
        assert price == answer.price_micro_usd
