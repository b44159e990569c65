"""Annotations on the page: shown, searched, sorted and grouped by."""

import msgspec
import pytest
from gallery.live_double import LiveDouble
from gallery.made import image_bytes, put, record, write
from records import failed, outcome

from venice_batch.gallery import write_gallery
from venice_batch.output.annotations import Annotation, AnnotationsFile
from venice_batch.report.conditions import parse_condition

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=10_000)

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
SCORES = {
    "fox": {"score": 0.8125, "correct": True, "label": "red fox", "clip.score": 3, "why": "It is " + "very " * 50},
    "sea": {"score": 0.25, "correct": False, "label": "water", "why": "no"},
    "sky": {"score": 0.5, "correct": True, "label": "water", "why": "so"},
    "owl": {"score": 1, "label": HOSTILE},
    "bee": {},
}


def give(root, scores):
    with AnnotationsFile(root) as file:
        for one in (root / "manifest.jsonl").read_bytes().splitlines():
            made = msgspec.json.decode(one)
            if values := scores.get(made["id"]):
                file.append([Annotation(made["files"][0]["sha256"], made["id"], 1, values, "")])


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A page of five images with scores of four, and a job without an image."""
    root = tmp_path_factory.mktemp("scored")
    models = {"sea": "flux", "owl": "flux"}
    made = [
        record(root, job, prompt=f"a {job}", data=image_bytes(colour=(at * 40, 9, 9)), lane=models.get(job, "sd35"))
        for at, job in enumerate(SCORES)
    ]
    write(root, *made, failed("lost"))
    give(root, SCORES)
    return write_gallery(root).path


def shown(page):
    return [text.rpartition("\n")[2] for text in page.locator(".shot .under").all_inner_texts()]


def search(page, text):
    page.get_by_label("Words in the request").fill(text)
    return shown(page)


def test_values_are_below_each_image_and_all_of_them_in_the_large_view(scored, open_page):
    page = open_page(scored.as_uri())
    assert page.locator(".shot .scores").first.inner_text() == "score 0.8125 · correct yes · label red fox"
    page.locator(".shot").first.click()
    facts = page.get_by_role("dialog")
    expect(facts.get_by_role("heading", name="Annotations")).to_be_visible()
    for name in ("score", "correct", "label", "clip.score", "why"):
        expect(facts.locator("dt", has_text=name).first).to_be_visible()
    expect(facts).to_contain_text("very very very")
    page.keyboard.press("Escape")
    page.locator(".shot").nth(3).click()
    expect(facts).to_contain_text(HOSTILE)
    assert page.title() != "owned"


CONDITIONS = [
    "score<0.5",
    "score <= 0.5",
    "score>=0.5",
    "score=1",
    "score!=1",
    "correct=true",
    "correct=false",
    "correct!=true",
    "label=WATER",
    "label!=water",
    'label="red fox"',
    "label>5",
    "annotation.score>0.5",
    "clip.score<5",
]


@pytest.mark.parametrize("text", CONDITIONS)
def test_the_search_takes_the_conditions_of_the_command(scored, open_page, text):
    page = open_page(scored.as_uri())
    condition = parse_condition(text, "")
    assert search(page, text) == [job for job, values in SCORES.items() if condition.is_met(values)]


def test_conditions_and_words_narrow_together(scored, open_page):
    page = open_page(scored.as_uri())
    assert search(page, "a score<0.9 correct=true sky") == ["sky"]
    assert search(page, "SCORE>0.3 score<0.6") == ["sky"]
    assert search(page, "WATER sky") == ["sky"], "words are looked for in texts too"
    assert len(search(page, "score<")) == 6, "a condition that is not complete yet hides nothing"
    assert search(page, "other<5") == [], "words that name no annotation are words"
    assert page.get_by_label("Words in the request").get_attribute("placeholder") == "Search words, score<0.5"


def test_images_are_sorted_by_a_value_and_those_without_come_last(scored, open_page):
    page = open_page(scored.as_uri())
    order = page.locator("select[name=order]")
    order.select_option(label="score, lowest first")
    assert shown(page) == ["sea", "sky", "fox", "owl", "bee", "lost"]
    assert "order=low" in page.url
    order.select_option(label="score, highest first")
    assert shown(page) == ["owl", "fox", "sky", "sea", "bee", "lost"]
    order.select_option(label="label, Z – A")
    assert shown(page)[:3] == ["sea", "sky", "fox"]
    assert page.locator(".shot .scores").first.inner_text().startswith("label water"), "what is asked for comes first"
    options = order.locator("option").all_inner_texts()
    assert "correct, yes first" in options
    assert not any(text.startswith("why") for text in options), "sentences are no labels"


def test_images_are_grouped_by_a_value_under_headings(scored, open_page):
    page = open_page(f"{scored.as_uri()}#group=by%3Acorrect&order=low%3Ascore")
    headings = page.locator(".sheet .group")
    assert headings.all_inner_texts() == [
        "correct: no · 1 image",
        "correct: yes · 2 images",
        "correct: not given · 3 images",
    ]
    assert shown(page) == ["sea", "sky", "fox", "owl", "bee", "lost"]
    page.locator("select[name=group]").select_option(label="By model")
    assert headings.all_inner_texts()[:2] == ["sd35 · 3 images", "flux · 2 images"]
    page.locator("[data-at='0']").focus()
    page.keyboard.press("ArrowDown")
    page.locator("[data-at='3']:focus").wait_for()
    page.get_by_role("button", name="Clear").click()
    expect(headings).to_have_count(0)


def test_many_numbers_are_grouped_in_round_ranges(tmp_path, open_page):
    names = [f"j{number:02}" for number in range(12)]
    write(tmp_path, *(record(tmp_path, name) for name in names))
    give(tmp_path, {name: {"score": number / 10 - 0.2} for number, name in enumerate(names)})
    page = open_page(f"{write_gallery(tmp_path).path.as_uri()}#group=by%3Ascore&size=small")
    assert page.locator(".sheet .group").all_inner_texts() == [
        "score: -0.5 – 0 · 2 images",
        "score: 0 – 0.5 · 5 images",
        "score: 0.5 – 1 · 5 images",
    ]


def test_blind_hides_the_values(scored, open_page):
    page = open_page(f"{scored.as_uri()}#group=by%3Acorrect")
    page.get_by_label("Blind").check()
    expect(page.locator(".shot .scores, .sheet .group")).to_have_count(0)
    page.locator(".shot").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Annotations")).to_have_count(0)


def test_without_annotations_the_page_is_as_it_was(tmp_path, open_page):
    write(tmp_path, record(tmp_path, "a"), record(tmp_path, "b", lane="flux"))
    page = open_page(write_gallery(tmp_path).path.as_uri())
    expect(page.locator("select[name=group]")).not_to_be_visible()
    expect(page.locator(".scores, optgroup")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("light", 390), ("dark", 1200)])
def test_axe_finds_no_barrier_in_groups(scored, open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    size = {"width": width, "height": 800}
    address = f"{scored.as_uri()}#group=by%3Acorrect"
    page = open_page(address, color_scheme=scheme, reduced_motion="reduce", viewport=size)
    found = axe.Axe().run(page, None, {"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_annotations_that_come_later_are_shown_and_sorted_by(scored, open_page):
    lines = (scored.parent / "manifest.jsonl").read_bytes().splitlines()
    records = {one["id"]: one for one in map(msgspec.json.decode, lines)}
    with LiveDouble(scored) as server:
        page = open_page(server.address, may_complain=True, reduced_motion="reduce")
        page.locator("select[name=order]").select_option(label="score, highest first")
        assert shown(page)[0] == "owl"
        digest = records["bee"]["files"][0]["sha256"][:16]
        server.send("annotations", [["bee", 1, digest, {"score": 7, "new": True}], ["bee", 1, "0" * 16, {"score": 9}]])
        expect(page.locator(".shot .under").first).to_have_text("bee")
        assert page.locator(".shot .scores").first.inner_text() == "score 7 · new yes"
        assert "By new" in page.locator("select[name=group]").locator("option").all_inner_texts()
        page.locator(".shot").first.click()
        server.send("annotations", [["bee", 1, digest, {"new": False}]])
        expect(page.get_by_role("dialog").locator(".pairs").first).to_have_text("newno")


@pytest.mark.no_cover
def test_ten_thousand_scored_images_are_grouped_with_few_elements(tmp_path, open_page):
    image = put(tmp_path, "images/a.png", image_bytes())
    line = msgspec.json.encode(outcome("ID", files=(image,), request={"model": "venice-sd35", "prompt": "Canal ID"}))
    with (tmp_path / "manifest.jsonl").open("wb") as manifest:
        manifest.writelines(line.replace(b"ID", b"%05d" % number) + b"\n" for number in range(10_000))
    with AnnotationsFile(tmp_path) as file:
        file.append(
            Annotation(image.sha256, f"{number:05}", 1, {"score": number / 10_000, "ok": number % 3 == 0}, "")
            for number in range(10_000)
        )
    page = open_page(f"{write_gallery(tmp_path).path.as_uri()}#order=high%3Ascore&group=by%3Aok")
    expect(page.locator("[name=count]")).to_have_text("10,000 images")
    assert page.locator(".sheet .group").first.inner_text() == "ok: no · 6,666 images"
    assert page.evaluate("document.querySelectorAll('*').length") < 2000
    assert shown(page)[0] == "09998"
    page.get_by_label("Words in the request").fill("score<0.5 ok=true")
    expect(page.locator("[name=count]")).to_have_text("1,667 images")
