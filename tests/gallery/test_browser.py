"""The page in a browser: what it shows, what keys and filters do, and that it loads nothing from the network."""

import itertools
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from gallery.made import image_bytes, noise_bytes, put, record, write
from records import attempt, failed, outcome

from venice_batch.gallery import write_gallery
from venice_batch.jobfile import Defaults
from venice_batch.jobfile.line import parse
from venice_batch.model import Endpoint, Failure, Flags, Parent, ServerTiming, Status, Timing

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# The address selects the tab or image, and the page follows it a moment later: wait for the expected state.
expect = sync_api.expect
expect.set_options(timeout=10_000)

AXES = ("seed", "steps", "cfg_scale")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u2028\u202eb"


def until(page, condition):
    """Wait for `condition`; Playwright's own waiting needs `eval`, which the page's policy forbids."""
    page.evaluate(
        f"""async () => {{
            const end = performance.now() + 30_000;
            while (!({condition})) {{
                if (performance.now() > end) throw new Error("it never was so");
                await new Promise(requestAnimationFrame);
            }}
        }}"""
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with two models, a sweep, variants, a retry, a failure, a rejection and a missing file."""
    root = tmp_path_factory.mktemp("small") / "canal & lagoon"
    shades = {f"images/many-{number}.png": image_bytes(colour=(number * 60, 99, 9)) for number in (1, 2, 3)}
    variants = tuple(put(root, path, data) for path, data in shades.items())
    sweep = [
        record(
            root,
            f"gondola__seed-{seed}__style_preset-{style}",
            prompt="A gondola at blue hour",
            request={"seed": seed, "style_preset": style},
        )
        for seed in (1, 2, 3)
        for style in ("Anime", "Cinematic")
    ]
    tries = (attempt(429, 0.1), attempt(200, 2.0))
    refused = Failure("content_policy", 422, "not this")
    gone = outcome("gone", files=(put(root, "images/gone.png", image_bytes()),))
    (root / "images/gone.png").unlink()
    write(
        root,
        record(root, "sea", prompt="The sea in winter", metadata={"set": "blue"}, data=noise_bytes()),
        record(root, "hostile", prompt=HOSTILE, metadata={HOSTILE: HOSTILE}),
        outcome("many", lane="flux", files=variants, request={"model": "flux", "prompt": "Many"}),
        *sweep,
        record(root, "tried", prompt="Tried", attempts=tries, flags=Flags(blurred=True)),
        failed("broken", message="out of <b>order</b>"),
        outcome("refused", status=Status.REJECTED, files=(), error=refused),
        gone,
    )
    return write_gallery(root).path


def shown(page):
    return page.locator(".shot .under")


def count(page):
    return page.locator("[name=count]")


def shown_by(page, tab):
    """Click a tab; return its panel's selector once the panel is visible."""
    tab.click()
    panel = f"#{tab.get_attribute('aria-controls')}"
    page.locator(panel).wait_for()
    return panel


def test_every_image_and_every_job_without_one_is_on_the_sheet(small, open_page):
    page = open_page(small.as_uri())
    expect(count(page)).to_have_text("12 images, 3 without")
    assert page.locator("[name=count]").get_attribute("aria-live") == "polite"
    expect(shown(page)).to_have_count(15)
    expect(page.locator(".shot img")).to_have_count(12)
    expect(page.locator(".shot .blank strong")).to_have_text(["failed", "rejected", "missing"], use_inner_text=True)
    until(page, "[...document.querySelectorAll('.shot img')].every(image => image.naturalWidth > 0)")


def test_images_stand_where_their_size_says_before_they_have_come(small, open_page):
    page = open_page(small.as_uri())
    moved = page.evaluate(
        """() => new Promise(done => {
            let moved = 0;
            const seen = new PerformanceObserver(list => list.getEntries().forEach(entry => moved += entry.value));
            seen.observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(moved), 50)));
        })"""
    )
    assert moved < 0.01


def test_filters_narrow_by_words_model_status_and_flag(small, open_page):
    page = open_page(small.as_uri())
    search = page.get_by_label("Words in the request")
    search.fill("GONDOLA cinematic")
    expect(count(page)).to_have_text("3 images")
    search.fill("blue")  # in a prompt, and in metadata
    expect(count(page)).to_have_text("7 images")
    search.fill("order")
    expect(shown(page)).to_have_text(["broken"], use_inner_text=True)
    page.get_by_role("button", name="Clear").click()
    page.locator("[name=model]").select_option("flux")
    expect(shown(page)).to_have_text([f"many · {number} of 3" for number in (1, 2, 3)], use_inner_text=True)
    page.locator("[name=model]").select_option("")
    page.locator("[name=status]").select_option("rejected")
    expect(count(page)).to_have_text("0 images, 1 without")
    expect(shown(page)).to_have_text(["refused"], use_inner_text=True)
    page.locator("[name=status]").select_option("")
    page.locator("[name=flag]").select_option("blurred")
    expect(shown(page)).to_have_text(["tried"], use_inner_text=True)
    page.locator("[name=flag]").select_option("")
    page.locator("[name=order]").select_option("id")
    expect(shown(page).nth(0)).to_have_text("broken")
    expect(shown(page).nth(1)).to_have_text("gondola__seed-1__style_preset-Anime")


def test_a_search_without_a_match_says_so_and_can_be_undone(small, open_page):
    page = open_page(small.as_uri())
    page.get_by_label("Words in the request").fill("nowhere to be found")
    expect(page.get_by_text("No image matches.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(count(page)).to_have_text("12 images, 3 without")


def test_a_view_is_kept_in_the_address(small, open_page):
    page = open_page(small.as_uri())
    page.locator("[name=model]").select_option("flux")
    page.get_by_label("Words in the request").fill("many")
    many = [f"many · {number} of 3" for number in (1, 2, 3)]
    expect(shown(page)).to_have_text(many, use_inner_text=True)
    page.reload()
    page.locator("html.ready").wait_for()
    expect(shown(page)).to_have_text(many, use_inner_text=True)
    page.get_by_role("tab", name="Time & cost").click()
    page.reload()
    expect(page.get_by_role("heading", name="Images over time")).to_be_visible()


def test_keys_move_between_images_and_into_one_and_back(small, open_page):
    page = open_page(small.as_uri())
    page.get_by_label("Size").focus()
    page.keyboard.press("Tab")  # one stop for the whole sheet

    def focused(at):
        page.locator(f"[data-at='{at}']:focus").wait_for()

    focused(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    focused(2)
    page.keyboard.press("End")
    focused(14)
    page.keyboard.press("ArrowUp")
    page.locator("[data-at]:focus:not([data-at='14'])").wait_for()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="sea").wait_for()
    expect(dialog.locator(".place")).to_have_text("1 of 15", use_inner_text=True)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    dialog.get_by_role("heading", name="many").wait_for()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    focused(2)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.name") == "size"


def test_the_dialog_shows_everything_about_a_job_and_copies_its_line(small, open_page):
    page = open_page(small.as_uri(), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Tried").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="Open file")).to_have_attribute("href", "images/tried.png")
    text = dialog.inner_text()
    parts = ("tried", "blurred", "retried", "venice-sd35", "images/tried.png", "64 × 48", "2 attempts", "429", "server")
    assert [part for part in parts if part not in text] == []
    dialog.get_by_role("button", name="Copy").click()
    dialog.get_by_text("Copied").wait_for()
    line = page.evaluate("navigator.clipboard.readText()")
    parsed = parse(line.encode(), number=1, first_index=0, defaults=Defaults(), source="x")
    assert (parsed.jobs[0].id, parsed.jobs[0].request["prompt"]) == ("tried", "Tried")
    dialog.get_by_role("button", name="Close").click()
    page.locator(".shot:focus").wait_for()


def test_the_dialog_shows_why_an_image_is_missing(small, open_page):
    page = open_page(f"{small.as_uri()}#job=broken")
    text = page.get_by_role("dialog").inner_text()
    assert "failed, server: out of <b>order</b>" in text
    expect(page.get_by_role("link", name="Open file")).not_to_be_visible()


def test_markup_and_scripts_in_a_record_show_as_text(small, open_page):
    page = open_page(f"{small.as_uri()}#job=hostile")
    assert page.title() == "canal & lagoon: 13 images"
    assert page.locator(".viewer .prompt").text_content() == HOSTILE
    expect(page.locator("img[src=x]")).to_have_count(0)
    # Characters that turn the text around them affect only their own element.
    assert page.locator(".viewer .prompt").evaluate("it => getComputedStyle(it).unicodeBidi") == "plaintext"
    assert "\u202e" not in page.locator(".viewer pre").text_content()


def test_a_sweep_is_a_grid_with_its_fields_as_headers(small, open_page):
    page = open_page(small.as_uri())
    page.get_by_role("tab", name="Sweeps").click()
    table = page.locator("table.grid")
    expect(page.get_by_role("heading", name="gondola")).to_be_visible()
    expect(table.locator("thead th")).to_have_text(["Anime", "Cinematic"], use_inner_text=True)
    expect(table.locator("tbody th")).to_have_text(["1", "2", "3"], use_inner_text=True)
    expect(table.locator("tbody img")).to_have_count(6)
    button = table.locator("tbody tr").nth(1).locator("button").nth(1)
    button.click()
    expect(page.locator(".viewer h2")).to_have_text("gondola__seed-2__style_preset-Cinematic", use_inner_text=True)
    expect(page.locator(".viewer .place")).to_have_text("4 of 6", use_inner_text=True)
    page.keyboard.press("Escape")
    table.locator("tbody tr").nth(1).locator("button:focus").wait_for()


def test_of_a_sweep_with_three_axes_the_third_is_chosen(tmp_path, open_page):
    records = [
        record(
            tmp_path,
            "m" + "".join(f"__{field}-{value}" for field, value in values.items()),
            request=values,
        )
        for values in (dict(zip(AXES, place, strict=True)) for place in itertools.product((1, 2, 3), (10, 20), (5, 7)))
    ]
    write(tmp_path, *records)
    page = open_page(write_gallery(tmp_path).path.as_uri() + "#view=sweeps")
    expect(page.locator("table.grid img")).to_have_count(6)
    page.get_by_label("cfg_scale").select_option("7")
    page.locator("table.grid .shot").first.click()
    expect(page.locator(".viewer h2")).to_have_text("m__seed-1__steps-10__cfg_scale-7", use_inner_text=True)


STYLES = ("Film Noir", "Anime", "Watercolor")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two sweeps of 12 by 3 with prompts of their own, whose records are in another order than the file."""
    root = tmp_path_factory.mktemp("swept")
    jobs = [
        record(
            root,
            f"{name}__seed-{seed}__style_preset-{style.replace(' ', '-')}",
            prompt=f"A {name} at dusk",
            request={"seed": seed, "style_preset": style},
            index=index,
        )
        for index, (name, seed, style) in enumerate(itertools.product(("fox", "hare"), range(20, 8, -1), STYLES))
    ]
    return write_gallery(write(root, *reversed(jobs))).path.as_uri() + "#view=sweeps"


def heads(page, number=0):
    table = page.locator("table.grid").nth(number)
    return [table.locator(f"{part} th").all_inner_texts() for part in ("thead", "tbody")]


def test_sweeps_have_the_file_s_order_and_their_prompts(swept, open_page):
    page = open_page(swept)
    page.locator(".sweep").nth(1).scroll_into_view_if_needed()
    expect(page.locator(".sweep h2")).to_have_text(["fox", "hare"], use_inner_text=True)
    expect(page.locator(".sweep .prompt")).to_have_text(["A fox at dusk", "A hare at dusk"], use_inner_text=True)
    expected = [list(STYLES), [str(seed) for seed in range(20, 8, -1)]]
    assert heads(page, 0) == heads(page, 1) == expected


def test_sweeps_obey_the_search_and_the_marks(swept, open_page):
    page = open_page(swept)
    search = page.get_by_label("Words in the request")
    search.fill("hare noir")
    expect(page.locator(".sweep:visible h2")).to_have_text(["hare"], use_inner_text=True)
    expect(page.locator(".sweep:visible .size")).to_have_text("12 of 36 jobs by seed (12) × style_preset (3)")
    assert heads(page)[0] == ["Film Noir"] or heads(page, 1)[0] == ["Film Noir"]
    # From within a sweep the keys lead through what is shown.
    page.locator(".sweep:visible .shot").nth(1).click()
    expect(page.locator(".viewer .place")).to_have_text("2 of 12", use_inner_text=True)
    page.keyboard.press("p")
    page.keyboard.press("Escape")
    search.fill("")
    page.locator("[name=marked]").select_option("picked")
    expect(page.locator(".sweep:visible .shot")).to_have_count(1)
    search.fill("nowhere")
    expect(page.get_by_text("No sweep matches.")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".sweep:visible")).to_have_count(2)
    page.get_by_role("tab", name="Images").click()
    expect(count(page)).to_have_text("72 images")


@pytest.mark.parametrize("width", [1200, 390])
def test_headers_of_a_sweep_stay_in_sight(swept, open_page, width):
    page = open_page(swept, viewport={"width": width, "height": 700})
    box = page.locator(".sweep .scroll").first
    box.evaluate("box => box.scrollTo(90, 500)")
    edge = box.bounding_box()
    assert abs(box.locator("thead .corner").bounding_box()["y"] - edge["y"]) < 2
    assert abs(box.locator("thead th").last.bounding_box()["y"] - edge["y"]) < 2
    assert abs(box.locator("tbody th").last.bounding_box()["x"] - edge["x"]) < 2


def test_jobs_without_image_are_listed_with_their_reasons(small, open_page):
    page = open_page(small.as_uri())
    page.get_by_role("tab", name="No image").click()
    expect(page.locator("table.lines tbody tr")).to_have_count(3)
    rows = page.locator("table.lines tbody tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == ["broken", "refused", "gone"]
    assert "out of <b>order</b>" in rows[0]
    assert "content_policy (422)" in rows[1]
    assert "no longer in the folder" in rows[2]
    page.get_by_role("button", name="refused").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_many_failures_are_listed_step_by_step_on_request(tmp_path, open_page):
    write(tmp_path, *(failed(f"job-{number}") for number in range(450)))
    page = open_page(write_gallery(tmp_path).path.as_uri() + "#view=problems")
    rows = page.locator("table.lines tbody tr")
    expect(rows).to_have_count(200)
    page.get_by_role("button", name="Show 200 more of 250").click()
    page.get_by_role("button", name="Show 50 more of 50").click()
    expect(rows).to_have_count(450)


def test_an_image_that_cannot_be_shown_gives_way_to_words(tmp_path, open_page):
    write(tmp_path, record(tmp_path, "a", data=b"no image at all"))
    context = open_page(write_gallery(tmp_path).path.as_uri())
    context.get_by_text("The file cannot be shown.").wait_for()


def test_an_empty_folder_has_a_page(tmp_path, open_page):
    page = open_page(write_gallery(write(tmp_path)).path.as_uri())
    expect(count(page)).to_have_text("0 images")
    shown_by(page, page.get_by_role("tab", name="Time & cost"))
    expect(page.get_by_role("heading", name="What it cost")).to_have_count(0)


@pytest.fixture
def served(small):
    """The folder on a web server: its address, and the paths that were requested."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *given):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(small.parent)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/gallery.html", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_page_asks_for_its_images_and_for_nothing_else(small, served, open_page, scheme):
    address, asked = served
    address = address if scheme == "http" else small.as_uri()
    requests = []
    page = open_page(address)
    page.on("request", lambda request: requests.append(request.url))
    page.reload()
    page.locator("html.ready").wait_for()
    until(page, "[...document.querySelectorAll('.shot img')].every(image => image.naturalWidth > 0)")
    for tab in page.get_by_role("tab").all():
        tab.click()
    page.get_by_role("tab", name="Images").click()
    page.locator(".shot").first.click()
    until(page, "document.querySelector('.frame img').naturalWidth > 0")
    base = address.rsplit("/", 1)[0]
    wanted = [url.removeprefix(base) for url in requests if urlsplit(url).scheme != "data"]
    assert len(wanted) > 10
    assert all(path == "/gallery.html" or path.startswith(("/images/", "/thumbnails/")) for path in wanted)
    if scheme == "http":
        assert {path.split("/")[1] for path in asked} == {"gallery.html", "images", "thumbnails"}


def test_nothing_on_the_page_could_ask_for_more(small, served, browser):
    """The policy refuses everything that is not the page's own, even to a script that was injected."""
    address, asked = served
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.locator("html.ready").wait_for()
    refused = page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
            await fetch("manifest.jsonl").catch(() => refused.push("fetch"));
            document.body.append(Object.assign(new Image(), { src: "http://localhost:9/x.png" }));
            document.body.append(Object.assign(document.createElement("script"), { textContent: "window.owned = 1" }));
            const frame = Object.assign(document.createElement("iframe"), { src: "/images/" });
            document.body.append(frame);
            document.body.insertAdjacentHTML("beforeend", "<p style='color: red' onclick='1'>x</p>");
            const expected = ["connect-src", "img-src", "script-src-elem", "frame-src", "style-src-attr"];
            for (let tries = 0; tries < 400 && !expected.every(one => refused.includes(one)); tries += 1) {
                await new Promise(done => setTimeout(done, 25));
            }
            return [...refused, String(window.owned)];
        }"""
    )
    context.close()
    directives = {"connect-src", "img-src", "script-src-elem", "frame-src", "style-src-attr"}
    assert set(refused) >= {*directives, "fetch", "undefined"}
    assert "/manifest.jsonl" not in asked


def test_dark_and_light_follow_the_system_and_can_be_read(small, open_page):
    shades = {}
    page = open_page(small.as_uri())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shades[scheme] = page.evaluate(
            """() => {
                const sum = colour => colour.match(/[0-9]+/g).reduce((a, b) => a + Number(b), 0);
                const style = name => getComputedStyle(document.querySelector(name));
                return [sum(style("html").backgroundColor), sum(style("h1").color)];
            }"""
        )
    assert shades["light"][0] > 700 > 100 > shades["light"][1]
    assert shades["dark"][0] < 100 < 600 < shades["dark"][1]


def test_reduced_motion_is_respected(small, open_page):
    durations = "getComputedStyle(document.querySelector('.shot img')).transitionDuration"
    page = open_page(small.as_uri(), reduced_motion="reduce")
    assert page.evaluate(durations) == "0s"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(durations) != "0s"


def test_print_has_the_images_and_the_charts_and_no_controls(small, open_page):
    page = open_page(small.as_uri())
    page.emulate_media(media="print")
    expect(page.locator("#run")).to_be_visible()
    expect(page.locator(".shot").first).to_be_visible()
    expect(page.locator(".filters")).not_to_be_visible()
    assert page.pdf()[:5] == b"%PDF-"


def test_a_phone_shows_all_without_scrolling_sideways(small, open_page):
    page = open_page(small.as_uri(), viewport={"width": 360, "height": 740})
    for tab in page.get_by_role("tab").all():
        shown_by(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("tab", name="Images").click()
    page.locator(".shot").first.click()
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.querySelector('.viewer').scrollWidth") <= 360


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder whose models have long names, large numbers and long durations; all of it was made by the sandbox."""
    root = tmp_path_factory.mktemp("large")
    timing = Timing("2026-11-29T12:53:01Z", 1111.1, 1.0, 1.0, 1.0, 1.0, 1.0, 71_111.1, ServerTiming(7_777_777.7))
    image = msgspec.structs.replace(put(root, "images/a.png", image_bytes()), bytes=888_888_888)
    lanes = ["venice-sd35", "a-model-with-a-name-of-more-than-forty-characters-x", "gpt-image-1-5-edit", "m" * 60]
    write(
        root,
        *(
            outcome(f"{number}", lane=lane, files=(image,) * 8, timing=timing, cost_usd=12_345.67, sandbox=True)
            for number, lane in enumerate(lanes)
        ),
    )
    return write_gallery(root).path


@pytest.mark.parametrize("width", [1440, 1280, 961, 960, 600, 390, 320])
def test_no_figure_is_cut_or_broken_at_any_width(large, open_page, width):
    page = open_page(large.as_uri(), viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    lines = "e => e.getClientRects().length && Math.round(e.offsetHeight / parseFloat(getComputedStyle(e).lineHeight))"
    for figure in page.locator(".figures dd:not(.more)").all():
        assert figure.evaluate(lines) == 1
    shown_by(page, page.get_by_role("tab", name="Time & cost"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for region in page.locator("#run .scroll").all():
        assert region.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        assert region.evaluate("e => [...e.querySelectorAll('td')].every(d => d.scrollWidth <= d.clientWidth)")


def test_on_a_phone_every_figure_of_a_model_has_its_name(large, open_page):
    page = open_page(large.as_uri(), viewport={"width": 390, "height": 844})
    shown_by(page, page.get_by_role("tab", name="Time & cost"))
    shown_name = "e => getComputedStyle(e, '::before').content"
    first = page.locator(".models").first.locator("tbody tr").first.locator("td")
    assert [cell.evaluate(shown_name) for cell in first.all()] == [
        f'"{name}"'
        for name in (
            "jobs succeeded", "jobs failed", "jobs rejected", "images", "size", "requests", "repeated", "429s",
            "cost",
        )
    ]  # fmt: skip
    assert page.get_by_role("table", name="By model", exact=True).count() == 1
    assert page.get_by_role("rowheader", name="venice-sd35").count() == 2
    assert page.get_by_role("columnheader", name="succeeded").count() == 1


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("light", 390), ("dark", 1200)])
def test_axe_finds_no_barrier(small, open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    # Only colours differ in the dark.
    options = {"resultTypes": ["violations"], **({"runOnly": ["color-contrast"]} if scheme == "dark" else {})}
    size = {"width": width, "height": 800}
    page = open_page(small.as_uri(), color_scheme=scheme, reduced_motion="reduce", viewport=size)

    def violations(place):
        found = axe.Axe().run(page, place, options).response["violations"]
        return [(one["id"], one["nodes"][0]["html"]) for one in found]

    assert violations(None) == []
    for tab in page.get_by_role("tab").all()[1:]:
        assert violations(shown_by(page, tab)) == []
    page.get_by_role("tab", name="No image").click()
    page.get_by_role("button", name="broken").click()
    page.get_by_role("dialog").wait_for()
    assert violations(".viewer") == []


def test_axe_would_find_a_barrier(small, open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(small.as_uri())
    page.evaluate("document.querySelector('.shot img').removeAttribute('alt')")
    found = axe.Axe().run(page, ".sheet", {"runOnly": ["image-alt"]})
    assert [one["id"] for one in found.response["violations"]] == ["image-alt"]


@pytest.mark.no_cover
def test_ten_thousand_images_have_elements_only_where_they_are_seen(tmp_path, open_page):
    (tmp_path / "images").mkdir()
    data = image_bytes()
    image = put(tmp_path, "images/a.png", data)
    line = msgspec.json.encode(outcome("ID", files=(image,), request={"model": "venice-sd35", "prompt": "Canal ID"}))
    with (tmp_path / "manifest.jsonl").open("wb") as manifest:
        manifest.writelines(line.replace(b"ID", b"%05d" % number) + b"\n" for number in range(10_000))
    page = open_page(write_gallery(tmp_path).path.as_uri())
    expect(count(page)).to_have_text("10,000 images")
    elements = "document.querySelectorAll('*').length"
    assert page.evaluate(elements) < 2000
    assert page.locator(".sheet").get_attribute("aria-rowcount") == str(-(-10_000 // 4))
    page.locator("[data-at='0']").focus()
    page.keyboard.press("End")
    page.locator("[data-at='9999']:focus").wait_for()
    expect(page.locator("[data-at='9999']")).to_be_visible()
    assert page.evaluate(elements) < 2000
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight / 2)")
    until(page, "[...document.querySelectorAll('.shot')].some(it => Math.abs(it.dataset.at - 5000) < 100)")
    page.get_by_label("Words in the request").fill("canal 07777")
    expect(shown(page)).to_have_text(["07777"], use_inner_text=True)
    if Path("/proc/self/smaps_rollup").exists():
        from benchmarks.gallery import page_memory_mb

        assert page_memory_mb(page.context.browser) < 400


def test_derived_images_are_found_by_the_words_of_their_parents(open_page, tmp_path):
    fox, sea = record(tmp_path, "fox", prompt="a fox in snow"), record(tmp_path, "sea", prompt="the sea")
    upscale = {"endpoint": Endpoint.UPSCALE, "lane": "upscaler"}
    carried = record(
        tmp_path, "3f9c-x2", metadata={"prompt": "a fox in snow"}, parent=Parent("3f9c", "0" * 64, 2), **upscale
    )
    chained = record(tmp_path, "chained", parent=Parent("fox", fox.files[0].sha256, 1), **upscale)
    made = [msgspec.structs.replace(one, request={"scale": 2}) for one in (carried, chained)]
    request = {"image": {"path": "/a.png"}, "prompt": "at night"}
    edited = msgspec.structs.replace(chained, id="edited", endpoint=Endpoint.EDIT, request=request)
    nameless = msgspec.structs.replace(record(tmp_path, "nameless", **upscale), request={"scale": 2})
    write(tmp_path, fox, sea, *made, edited, nameless)
    page = open_page(write_gallery(tmp_path).path.as_uri() + "#q=fox")
    captions = page.locator(".caption > .prompt")
    expect(captions).to_have_text([*["a fox in snow"] * 3, "a fox in snow → at night"])
    page.get_by_role("searchbox").fill("nameless")
    expect(page.locator(".caption")).to_have_text(["namelessupscaler"])
    page.get_by_role("searchbox").fill("3f9c-x2")
    page.locator("button.shot").click()
    expect(page.locator(".viewer .prompt")).to_have_text("a fox in snow")
    expect(page.locator(".viewer")).to_contain_text("Made from")


def test_images_that_were_rejected_and_removed_are_not_shown(open_page, tmp_path):
    kept = record(tmp_path, "kept", prompt="a fox")
    gone = [msgspec.structs.replace(kept.files[0], path=f"images/{n}.png", pruned="deleted") for n in (1, 2)]
    write(tmp_path, kept, outcome("gone", files=tuple(gone)), outcome("half", files=(gone[0], *kept.files)))
    page = open_page(write_gallery(tmp_path).path.as_uri())
    expect(page.locator(".caption > .under")).to_have_text(["kept", "half · 2 of 2"])
    expect(page.locator("#tab-problems")).to_be_hidden()
    expect(page.locator("#tab-images .number")).to_have_text("2")
    expect(page.locator("body")).to_contain_text("3 deleted")
