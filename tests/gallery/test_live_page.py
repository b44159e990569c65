"""The page as `venice-batch view` serves it: marks are saved, new images and marks made elsewhere arrive."""

import msgspec
import pytest
from gallery.live_double import LiveDouble
from gallery.made import image_bytes, put, record, write
from records import failed, outcome

from venice_batch.gallery import write_gallery
from venice_batch.gallery.cards import FolderImages, card

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=10_000)


@pytest.fixture
def root(tmp_path):
    return write(
        tmp_path,
        *(record(tmp_path, f"job-{at}", prompt=f"Image {at}", data=image_bytes(colour=(at, 2, 3))) for at in range(3)),
        failed("broken"),
    )


@pytest.fixture
def server(root):
    with LiveDouble(write_gallery(root).path) as double:
        yield double


@pytest.fixture
def live(server, open_page):
    # What a broken connection writes to the console is no mistake of the page.
    return open_page(server.address, may_complain=True, reduced_motion="reduce")


def sent(server):
    return [(mark["id"], mark["mark"], mark["rating"]) for marks in server.posts for mark in marks]


def cards(root, *outcomes):
    images = FolderImages(root)
    return [msgspec.to_builtins(card(one, images)) for one in outcomes]


def new(root, *ids, **changes):
    return cards(root, *(record(root, one, prompt=f"New {one}", **changes) for one in ids))


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def said(page):
    return page.locator("main > .said")


def unsaved(page):
    return page.locator("main > .unsaved")


def count(page):
    return page.locator("[name=count]")


def test_a_mark_is_sent_as_it_is_made(server, live):
    press(live, "ArrowRight", "p")
    expect(said(live)).to_have_text("Picked: Image 0")
    press(live, "ArrowRight", "4")
    expect(said(live)).to_have_text("4 stars: Image 1")
    press(live, "Control+z")
    expect(said(live)).to_have_text("Undone. Unmarked: Image 1")
    assert sent(server) == [("job-0", "picked", None), ("job-1", None, 4), ("job-1", None, None)]
    assert set(server.posts[0][0]) == {"sha256", "id", "image", "mark", "rating"}


def test_nothing_is_said_to_be_marked_before_the_server_has_it(server, live):
    server.hold()
    press(live, "ArrowRight", "p")
    waiting = live.locator(".badge.waiting")
    expect(waiting).to_have_count(1)
    expect(unsaved(live)).to_have_text("1 mark not saved yet")
    expect(said(live)).to_have_text("")
    press(live, "x", "ArrowRight", "x")
    server.release()
    expect(said(live)).to_have_text("Rejected: Image 1")
    expect(waiting).to_have_count(0)
    expect(unsaved(live)).not_to_be_visible()
    # The pick was on its way when the image was rejected.
    assert sent(server) == [("job-0", "picked", None), ("job-0", "rejected", None), ("job-1", "rejected", None)]


def test_while_the_server_is_away_marks_wait_and_are_sent_when_it_is_back(server, live):
    server.stop()
    press(live, "ArrowRight", "p", "ArrowRight", "x")
    expect(unsaved(live)).to_have_text("2 marks not saved: the server does not answer. Trying again.")
    expect(live.locator(".state")).to_have_text("no connection to venice-batch view; trying again")
    press(live, "5")
    server.come_back()
    expect(unsaved(live)).not_to_be_visible()
    expect(live.locator(".state")).not_to_have_class("state lost")
    assert sorted(sent(server)) == [("job-0", "picked", None), ("job-1", "rejected", 5)]


def test_a_server_that_does_not_know_the_page_keeps_no_marks(server, live):
    server.status = 404
    press(live, "ArrowRight", "p")
    expect(unsaved(live)).to_contain_text("1 mark not saved: the server does not know this page")
    server.status = 204
    expect(unsaved(live)).not_to_be_visible()


def test_marks_that_the_server_refuses_are_named_and_the_others_saved(server, live):
    server.hold()
    press(live, "ArrowRight", "p", "ArrowRight", "x", "ArrowRight", "x")
    server.status, server.error = 400, "no such image"
    server.release()
    expect(live.locator(".badge.waiting")).to_have_count(0)
    expect(unsaved(live)).to_have_text("A mark was refused: no such image")
    # What is not in the folder is not shown as if it were.
    expect(live.locator(".sign")).to_have_count(0)
    assert [len(marks) for marks in server.posts] == [1, 2, 1, 1]
    server.status = 204
    press(live, "5")
    expect(unsaved(live)).not_to_be_visible()


def test_a_page_with_unsaved_marks_asks_before_it_goes(server, live):
    server.hold()
    press(live, "ArrowRight", "p")
    asked = []
    live.on("dialog", lambda dialog: [asked.append(dialog.type), dialog.accept()])
    with live.expect_event("close"):
        live.close(run_before_unload=True)
    assert asked == ["beforeunload"]


def test_new_images_come_at_the_end_without_moving_the_others(root, server, live):
    places = "[...document.querySelectorAll('.shot')].slice(0, 3).map(it => it.getBoundingClientRect().top)"
    live.locator("[data-at='0']").focus()
    before = live.evaluate(places)
    server.send("jobs", new(root, "fresh-1", "fresh-2", lane="a-new-model"))
    expect(count(live)).to_have_text("5 images, 1 without")
    assert live.evaluate(places) == before
    live.locator("[data-at='0']:focus").wait_for()
    expect(live.locator("#tab-images .number")).to_have_text("5")
    live.locator("[name=model]").select_option("a-new-model")
    expect(count(live)).to_have_text("2 images")


def test_a_job_that_comes_twice_is_shown_once(root, server, live):
    fresh = new(root, "fresh")
    server.send("jobs", fresh)
    server.send("jobs", fresh)
    server.send("jobs", new(root, "last"))
    expect(count(live)).to_have_text("5 images, 1 without")


def test_a_job_that_failed_before_gets_its_image_in_its_place(root, server, live):
    server.send("jobs", new(root, "broken"))
    expect(count(live)).to_have_text("4 images")
    expect(live.locator("[data-at='3'] img")).to_have_attribute("alt", "New broken")
    expect(live.locator("#tab-problems")).not_to_be_visible()


def test_another_order_waits_for_a_click(root, server, live):
    live.locator("[name=order]").select_option("latest")
    first = live.locator("[data-at='0'] .under").inner_text()
    server.send("jobs", [job | {"at": "2031-01-01T00:00:00Z"} for job in new(root, "fresh-1", "fresh-2")])
    fresh = live.get_by_role("button", name="2 new images")
    expect(fresh).to_be_visible()
    expect(live.locator("[data-at='0'] .under")).to_have_text(first, use_inner_text=True)
    fresh.click()
    expect(count(live)).to_have_text("5 images, 1 without")
    expect(fresh).not_to_be_visible()
    live.locator(".shot:focus img[alt='New fresh-1']").wait_for()


def test_images_below_the_window_are_counted_on_a_button(root, server, live):
    colours = [image_bytes(colour=(9, at, 9)) for at in range(60)]
    files = tuple(put(root, f"images/many-{at}.png", data) for at, data in enumerate(colours))
    server.send("jobs", cards(root, outcome("many", files=files, request={"prompt": "Many"})))
    expect(count(live)).to_have_text("63 images, 1 without")
    server.send("jobs", new(root, "below"))
    live.get_by_role("button", name="new image").click()
    live.locator(".shot:focus").wait_for()
    live.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(live.locator(".fresh")).not_to_be_visible()


def test_an_open_image_stays_while_others_arrive(root, server, live):
    press(live, "ArrowRight", "ArrowRight", "e")
    server.send("jobs", new(root, "fresh"))
    expect(live.locator(".viewer .place")).to_have_text("2 of 5")
    expect(live.locator(".viewer h2")).to_have_text("job-1")


def test_marks_made_elsewhere_appear(root, server, live):
    live.locator("[name=marked]").select_option("picked")
    expect(count(live)).to_have_text("0 images")
    sha256 = record(root, "job-1", data=image_bytes(colour=(1, 2, 3))).files[0].sha256
    mark = {"sha256": sha256, "id": "job-1", "image": 1, "mark": "picked", "rating": 2, "at": "2026-11-29T12:00:00Z"}
    server.send("marks", [mark])
    server.send("marks", [mark])
    expect(count(live)).to_have_text("1 image")
    expect(live.locator(".sign.rated")).to_have_count(1)
    assert server.posts == []
    press(live, "Control+z")
    expect(said(live)).to_have_text("Nothing to undo")


def test_the_line_of_the_run_says_how_far_it_is(server, live):
    line = live.locator(".state")
    for state, text in (
        ({"running": True, "done": 37, "jobs": 200, "pending": None}, "running, 37 of 200 jobs"),
        ({"running": False, "done": 37, "jobs": 200, "pending": 163}, "not running, 37 of 200 jobs; 163 left"),
        ({"running": True, "done": 1, "jobs": None, "pending": None}, "running, 1 job"),
        ({"running": True, "done": 0, "jobs": None, "pending": None}, "running"),
        ({"running": False, "done": 0, "jobs": None, "pending": None}, "not running"),
    ):
        server.send("state", state)
        expect(line).to_have_text(text)


def test_a_broken_connection_is_resumed_where_it_broke(root, server, live):
    server.send("jobs", new(root, "one"))
    expect(count(live)).to_have_text("4 images, 1 without")
    server.stop()
    expect(live.locator(".state")).to_have_class("state lost")
    server.come_back()
    server.send("jobs", new(root, "two"))
    expect(count(live)).to_have_text("5 images, 1 without")
    assert server.resumed[0] == 0
    assert set(server.resumed[1:]) == {1}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_while_images_come_and_marks_wait(root, server, live, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    live.emulate_media(color_scheme=scheme)
    live.locator("[name=order]").select_option("latest")
    server.send("state", {"running": True, "done": 3, "jobs": 9, "pending": None})
    server.send("jobs", [job | {"at": "2031-01-01T00:00:00Z"} for job in new(root, "fresh")])
    expect(live.get_by_role("button", name="1 new image")).to_be_visible()
    server.hold()
    live.locator("[data-at='0']").focus()
    press(live, "ArrowRight", "p")
    expect(unsaved(live)).to_be_visible()
    found = axe.Axe().run(live, None, {"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    server.stop()
    expect(live.locator(".state")).to_have_class("state lost")
    found = axe.Axe().run(live, "header", {"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
