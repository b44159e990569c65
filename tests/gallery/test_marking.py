"""Marks by keyboard, mouse and finger; selection, comparison, survey and blind, in a browser."""

import re

import pytest
from gallery.made import image_bytes, put, record, write
from records import failed, outcome

from venice_batch.gallery import write_gallery
from venice_batch.output.marks import read_marks

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=10_000)

FOX = "A fox in the snow"


@pytest.fixture(scope="module")
def foxes(tmp_path_factory):
    """Two jobs of four images each, of two models, a single one, and a failure."""
    root = tmp_path_factory.mktemp("foxes")
    jobs = []
    for number, (job_id, lane) in enumerate((("fox", "flux"), ("owl", "venice-sd35"))):
        files = tuple(
            put(root, f"images/{job_id}-{place}.png", image_bytes(colour=(60 * place, 100 * number, 9)))
            for place in (1, 2, 3, 4)
        )
        prompt = FOX if job_id == "fox" else "An owl"
        jobs.append(
            outcome(job_id, lane=lane, files=files, request={"model": lane, "prompt": prompt, "seed": 7}, cost_usd=0.16)
        )
    return write_gallery(write(root, *jobs, record(root, "last", prompt="The last"), failed("broken"))).path


@pytest.fixture
def page(foxes, open_page):
    return open_page(foxes.as_uri(), reduced_motion="reduce")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def locked(page, key):
    """Press a key while Caps Lock is on, which Playwright cannot switch."""
    page.evaluate(
        """key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
            { key: key.toUpperCase(), code: "Key" + key.toUpperCase(), modifierCapsLock: true, bubbles: true,
              cancelable: true }))""",
        key,
    )


def cell(page, at):
    return page.locator(f".card:has([data-at='{at}'])")


def marked(page, at, *signs):
    """Expect these signs on an image, and no others."""
    expect(cell(page, at).locator(".sign > [aria-hidden]")).to_have_text(list(signs))


def said(page):
    return page.locator("dialog[open] .said, body:not(:has(dialog[open])) main > .said")


def focused(page, at):
    page.locator(f"[data-at='{at}']:focus").wait_for()


def selected(page):
    return page.locator(".card[aria-selected=true]")


def test_p_x_u_and_numbers_mark_the_image_with_the_focus(page):
    press(page, "ArrowRight", "p", "4")
    focused(page, 0)
    marked(page, 0, "✓", "★★★★")
    expect(said(page)).to_have_text(f"Picked, 4 stars: {FOX} (image 1 of 4)")
    press(page, "ArrowRight", "x", "ArrowRight", "2", "0")
    marked(page, 1, "✕")
    marked(page, 2)
    press(page, "Home", "u")
    marked(page, 0, "★★★★")
    expect(page.locator(".tally")).to_have_text("1 rejected, 1 rated")


def test_a_mark_is_in_the_name_of_the_image_for_screen_readers(page):
    press(page, "ArrowRight", "p", "3")
    assert page.get_by_role("button", name=f"{FOX} (image 1 of 4) , picked , 3 stars").count() == 1


def test_undo_and_redo_go_step_by_step(page):
    press(page, "ArrowRight", "p", "3", "Control+z")
    marked(page, 0, "✓")
    expect(said(page)).to_have_text(f"Undone. Picked: {FOX} (image 1 of 4)")
    press(page, "Control+z")
    marked(page, 0)
    press(page, "Control+z")
    expect(said(page)).to_have_text("Nothing to undo")
    press(page, "Control+Shift+z", "Control+y")
    marked(page, 0, "✓", "★★★")
    press(page, "Control+y")
    expect(said(page)).to_have_text("Nothing to redo")
    page.get_by_role("button", name="Undo").click()
    marked(page, 0, "✓")


def test_keys_are_text_in_a_field_and_nothing_with_modifiers(page):
    press(page, "/")
    page.get_by_label("Words in the request").press_sequentially("fox p")
    expect(page.get_by_label("Words in the request")).to_have_value("fox p")
    page.get_by_label("Words in the request").fill("")
    press(page, "Enter")
    focused(page, 0)
    press(page, "Control+p", "Alt+p", "Shift+P", "Meta+x", "Control+3")
    page.locator("[name=order]").focus()
    press(page, "p", "x")
    expect(page.locator(".tally")).to_have_text("")
    assert page.locator(".sign").count() == 0


def test_with_caps_lock_or_the_switch_a_mark_moves_on(page):
    press(page, "ArrowRight")
    for key in ("p", "x"):
        locked(page, key)
    focused(page, 2)
    press(page, "p")
    focused(page, 2)
    page.get_by_label("Move on").check()
    page.locator("[data-at='3']").focus()
    press(page, "ArrowRight", "5")
    focused(page, 5)
    marked(page, 0, "✓")
    marked(page, 1, "✕")
    marked(page, 4, "★★★★★")


def test_space_and_e_open_the_image_and_marks_go_on_inside(page):
    press(page, "ArrowRight", "e")
    viewer = page.get_by_role("dialog")
    expect(viewer.locator(".which")).to_have_text("image 1 of 4")
    press(page, "p")
    expect(viewer.get_by_role("button", name="Pick")).to_have_attribute("aria-pressed", "true")
    expect(said(page)).to_have_text(f"Picked: {FOX} (image 1 of 4)")
    locked(page, "x")
    expect(viewer.locator(".which")).to_have_text("image 2 of 4")
    viewer.get_by_role("button", name="3 stars").click()
    press(page, "g")
    focused(page, 1)
    marked(page, 0, "✕")
    marked(page, 1, "★★★")
    press(page, "Space")
    expect(viewer.locator(".which")).to_have_text("image 2 of 4")
    viewer.get_by_role("button", name="3 stars").click()
    press(page, "Escape")
    marked(page, 1)


def test_a_double_click_opens_an_image_and_a_click_zooms_into_it(page):
    page.locator("[data-at='1']").dblclick()
    stage = page.locator(".viewer .stage")
    expect(stage).to_be_visible()
    expect(stage).to_have_class("stage")
    # A click after a pause: not the third of a series.
    page.locator(".viewer .pane img").dispatch_event("click", {"detail": 1})
    expect(stage).to_have_class("stage zoomed")


def test_z_zooms_to_the_pixels_and_a_drag_moves_them(page):
    press(page, "ArrowRight", "e", "z")
    image = page.locator(".viewer .pane img")
    expect(page.locator(".viewer .stage")).to_have_class("stage zoomed")
    before = image.evaluate("it => it.style.transform")
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(430, 420, steps=3)
    page.mouse.up()
    assert image.evaluate("it => it.style.transform") != before
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "z")
    expect(page.locator(".viewer .stage")).to_have_class("stage")
    press(page, "i")
    expect(page.locator(".viewer .facts")).not_to_be_visible()
    press(page, "i")


def test_selecting_with_shift_and_ctrl_marks_many_at_once(page):
    press(page, "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight")
    expect(selected(page)).to_have_count(3)
    page.locator("[data-at='5']").click(modifiers=["Control"])
    page.locator("[data-at='1']").click(modifiers=["Control"])
    expect(page.locator(".chosen .number")).to_have_text("3 selected")
    press(page, "p")
    expect(said(page)).to_have_text("Picked: 3 images")
    for at in (0, 2, 5):
        marked(page, at, "✓")
    marked(page, 1)
    press(page, "Control+z")
    assert page.locator(".sign").count() == 0
    press(page, "Escape")
    expect(selected(page)).to_have_count(0)
    page.locator("[data-at='3']").focus()
    page.locator("[data-at='0']").focus()
    press(page, "ArrowRight")
    page.locator("[data-at='4']").click(modifiers=["Shift"])
    expect(selected(page)).to_have_count(4)
    press(page, "Control+a")
    expect(selected(page)).to_have_count(10)
    page.get_by_role("button", name="Deselect").click()
    expect(page.locator(".chosen")).not_to_be_visible()


def test_the_check_of_an_image_and_s_choose_it_without_opening(page):
    cell(page, 2).hover()
    cell(page, 2).get_by_role("checkbox").click()
    expect(selected(page)).to_have_count(1)
    page.locator("[data-at='4']").click()  # while something is chosen, a click chooses too
    press(page, "ArrowRight", "s")
    expect(selected(page)).to_have_count(3)
    expect(cell(page, 2).get_by_role("checkbox")).to_have_attribute("aria-checked", "true")
    page.locator(".chosen").get_by_role("button", name="Reject").click()
    for at in (2, 4, 5):
        marked(page, at, "✕")


def test_a_long_press_chooses_and_taps_choose_more(foxes, open_page):
    page = open_page(foxes.as_uri(), viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.clock.install()
    shot = page.locator("[data-at='0']")
    shot.scroll_into_view_if_needed()
    finger = {"pointerType": "touch", "bubbles": True, "clientX": 50, "clientY": 50}
    shot.dispatch_event("pointerdown", finger)
    page.clock.fast_forward(600)
    shot.dispatch_event("pointerup", finger)
    expect(selected(page)).to_have_count(1)
    page.locator("[data-at='1']").tap()
    expect(page.locator(".chosen .number")).to_have_text("2 selected")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".chosen").get_by_role("button", name="Survey").tap()
    board = page.get_by_role("dialog")
    expect(board.get_by_role("option")).to_have_count(2)
    board.get_by_role("button", name="Pick").tap()
    board.get_by_role("button", name="Close").tap()
    marked(page, 1, "✓")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_finger_turns_to_the_next_image(foxes, open_page):
    page = open_page(f"{foxes.as_uri()}#job=fox&image=1", has_touch=True)
    where = page.locator(".viewer .which")
    expect(where).to_have_text("image 1 of 4")
    pane = page.locator(".viewer .pane")
    for name, x in (("pointerdown", 500), ("pointermove", 380), ("pointerup", 380)):
        # A made-up pointer cannot be captured.
        page.evaluate("Element.prototype.setPointerCapture = () => {}")
        pane.dispatch_event(
            name, {"pointerType": "touch", "pointerId": 5, "bubbles": True, "clientX": x, "clientY": 300}
        )
    expect(where).to_have_text("image 2 of 4")


def test_marks_filter_and_a_mark_takes_an_image_out_of_the_filter(page):
    press(page, "ArrowRight", "p", "4", "ArrowRight", "x")
    marks = page.locator("[name=marked]")
    marks.select_option("picked")
    expect(page.locator("[name=count]")).to_have_text("1 image")
    marks.select_option("4")
    expect(page.locator("[name=count]")).to_have_text("1 image")
    marks.select_option("kept")
    expect(page.locator("[name=count]")).to_have_text("8 images")
    marks.select_option("unmarked")
    expect(page.locator("[name=count]")).to_have_text("7 images")
    page.locator("[data-at='1']").focus()
    name = page.locator("[data-at='2'] img").get_attribute("alt")
    locked(page, "p")
    expect(page.locator("[name=count]")).to_have_text("6 images")
    focused(page, 1)
    assert page.locator("[data-at='1'] img").get_attribute("alt") == name
    press(page, "e", "x")
    expect(page.locator(".viewer .place")).to_have_text("2 of 5")
    press(page, "Control+z")
    expect(page.locator(".viewer .place")).to_have_text("3 of 6")
    assert "marked=unmarked" in page.url
    press(page, "Escape")


def test_the_best_rated_come_first_on_request(page):
    press(page, "End", "ArrowLeft", "ArrowLeft", "5", "Home")
    page.locator("[data-at='7']").focus()
    press(page, "5")
    page.locator("[name=order]").select_option("rating")
    marked(page, 0, "★★★★★")


def test_compare_shows_the_images_of_a_job_and_zooms_them_together(page):
    press(page, "ArrowRight", "ArrowRight", "c")
    board = page.get_by_role("dialog")
    expect(board.get_by_role("option")).to_have_count(4)
    expect(board.locator(".subject")).to_have_text(FOX)
    expect(board.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -300)
    transforms = "[...document.querySelectorAll('.board .pane img')].map(it => it.style.transform)"
    page.locator(".tiles.zoomed").wait_for()
    found = page.evaluate(transforms)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert "scale(1.9" in found[0]
    page.mouse.down()
    page.mouse.move(330, 330, steps=3)
    page.mouse.up()
    moved = page.evaluate(transforms)
    assert len(set(moved)) == 1
    assert moved != found
    press(page, "z", "ArrowRight", "p", "-", "+")
    press(page, "PageDown")
    expect(board.locator(".subject")).to_have_text("An owl")
    press(page, "x", "PageUp", "c")
    marked(page, 2, "✓")
    marked(page, 4, "✕")


def test_in_a_survey_marks_move_on_from_job_to_job(page):
    page.get_by_label("Move on").check()
    page.locator("[data-at='0']").focus()
    press(page, "n", "x", "p", "x", "x")
    board = page.get_by_role("dialog")
    expect(board.locator(".subject")).to_have_text("An owl")
    press(page, "ArrowDown", "ArrowUp", "End", "Home", "Delete")
    expect(board.get_by_role("option")).to_have_count(3)
    press(page, "e")
    expect(page.locator(".viewer .which")).to_have_text("image 2 of 4")
    press(page, "Escape")
    for at, sign in enumerate("✕✓✕✕"):
        marked(page, at, sign)


def test_compare_takes_four_of_a_selection_and_a_survey_all(page):
    press(page, "ArrowRight", "Control+a", "c")
    board = page.get_by_role("dialog")
    expect(board.get_by_role("option")).to_have_count(4)
    expect(said(page)).to_have_text("The first 4 of 9 images")
    press(page, "n")
    expect(board.get_by_role("option")).to_have_count(9)
    expect(board.get_by_role("heading")).to_have_text("Survey")
    press(page, "Escape")


def test_blind_hides_everything_but_image_and_prompt_in_an_order_of_its_own(page):
    order = "[...document.querySelectorAll('.shot img')].map(it => it.getAttribute('src'))"
    page.locator(".shot img[src]").nth(8).wait_for()
    before = page.evaluate(order)
    press(page, "ArrowRight", "b")
    focused(page, 0)
    expect(page.locator("[name=count]")).to_have_text("9 images")
    page.locator("[data-at='8'] img[src]").wait_for()
    text = page.locator("body").inner_text()
    assert not [
        word for word in ("flux", "venice-sd35", "last-", "broken") if word in page.locator("main").inner_text()
    ]
    assert FOX in text
    blind = page.evaluate(order)
    assert sorted(blind) == sorted(before)
    press(page, "e")
    facts = page.get_by_role("dialog").inner_text()
    assert not [word for word in ("flux", "venice", "seed", "fox-", "sha256", "owl-") if word in facts]
    assert "job=" not in page.url
    press(page, "Escape")
    page.reload()
    page.locator("html.ready").wait_for()
    page.locator("[data-at='8'] img[src]").wait_for()
    assert page.evaluate(order) == blind
    press(page, "b")
    expect(page.locator("[name=count]")).to_have_text("9 images, 1 without")


def test_an_address_names_the_image_and_its_panel_its_place_and_cost(foxes, open_page):
    page = open_page(f"{foxes.as_uri()}#job=owl&image=3")
    viewer = page.get_by_role("dialog")
    expect(viewer.locator(".which")).to_have_text("image 3 of 4")
    expect(viewer.locator(".pane img")).to_have_attribute("src", "images/owl-3.png")
    assert "$0.04, of $0.16 for 4 images" in viewer.inner_text()
    press(page, "ArrowRight")
    assert page.url.endswith("#job=owl&image=4")
    press(page, "ArrowRight")
    assert page.url.endswith("#job=last")


def test_marks_are_exported_as_the_file_that_the_folder_keeps(page, tmp_path):
    press(page, "ArrowRight", "p", "ArrowRight", "x", "5", "ArrowRight", "p", "Control+z")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export marks").click()
    assert download.value.suggested_filename == "marks.jsonl"
    download.value.save_as(tmp_path / "marks.jsonl")
    found = read_marks(tmp_path)
    assert {(mark.id, mark.image, mark.mark, mark.rating) for mark in found.values()} == {
        ("fox", 1, "picked", None),
        ("fox", 2, "rejected", 5),
    }
    assert all(re.fullmatch("[0-9a-f]{64}", mark.sha256) for mark in found.values())


def test_the_marks_of_the_folder_are_shown(foxes, open_page, tmp_path):
    text = foxes.read_text()
    sha256 = re.search(r'"images/fox-2.png".*?"sha256":"(\w+)"', text)[1]
    mark = f'{{"sha256":"{sha256}","id":"fox","image":2,"mark":"picked","rating":5,"at":"2026-11-29T12:00:00Z"}}'
    other = foxes.with_name("marked.html")
    other.write_text(text.replace('"marks":[]', f'"marks":[{mark}]'))
    page = open_page(other.as_uri())
    marked(page, 1, "✓", "★★★★★")
    expect(page.locator(".tally")).to_have_text("1 picked, 1 rated")


def test_marks_work_on_sweeps_and_not_on_jobs_without_image(tmp_path, open_page):
    records = [
        record(tmp_path, f"m__seed-{seed}", request={"seed": seed}, data=image_bytes(colour=(seed, 2, 3)))
        for seed in (1, 2)
    ]
    write(tmp_path, *records, failed("broken"))
    page = open_page(write_gallery(tmp_path).path.as_uri() + "#view=sweeps")
    page.locator("table.grid .shot").nth(1).focus()
    press(page, "p")
    expect(page.locator("table.grid .shot").nth(1).locator(".sign.picked")).to_have_count(1)
    press(page, "e")
    expect(page.locator(".viewer h2")).to_have_text("m__seed-2")
    press(page, "Escape", "c")
    expect(page.locator(".board").get_by_role("option")).to_have_count(1)
    press(page, "Escape", "g")
    marked(page, 1, "✓")
    press(page, "End", "p")
    expect(said(page)).to_have_text("No image to mark")


def test_the_help_names_the_keys(page):
    press(page, "?")
    help_dialog = page.get_by_role("dialog")
    for words in ("pick", "reject", "compare", "survey", "blind", "undo"):
        expect(help_dialog.get_by_text(words).first).to_be_visible()
    press(page, "p")
    press(page, "Escape")
    assert page.locator(".sign").count() == 0
    page.get_by_role("button", name="Keys").click()
    help_dialog.get_by_role("button", name="Close").click()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_axe_finds_no_barrier_in_what_marks_bring(foxes, open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(
        foxes.as_uri(), color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 800}
    )

    def violations():
        found = axe.Axe().run(page, None, {"resultTypes": ["violations"]}).response["violations"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return [(one["id"], one["nodes"][0]["html"]) for one in found]

    press(page, "ArrowRight", "p", "3", "ArrowRight", "x", "s", "Shift+ArrowRight")
    assert violations() == []
    for key in ("n", "c"):
        press(page, key)
        page.locator(".board[open]").wait_for()
        assert violations() == []
    press(page, "e")
    page.locator(".viewer .which").wait_for()
    assert violations() == []
    press(page, "Escape", "?")
    page.locator(".help[open]").wait_for()
    assert violations() == []
