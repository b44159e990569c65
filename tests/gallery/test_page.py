"""The page as a file: whole, self-contained, and running nothing that a record holds."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest
from gallery.made import noise_bytes, put, record, report, write
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.errors import FolderError
from venice_batch.gallery import page as module
from venice_batch.gallery import write_gallery
from venice_batch.gallery.page import script_json
from venice_batch.output.resume import LatestRecords

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u202e{{ 7 * 7 }}{% raw %}"


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of each script and style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {"script": [], "style": []}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag if tag in self.texts else None

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.texts[self._open].append(data)


def made(root, **given):
    text = write_gallery(root, **given).path.read_text("utf-8")
    page = Page(text)
    return text, page, msgspec.json.decode(page.texts["script"][0])


def test_the_page_holds_the_last_record_of_each_id(tmp_path):
    write(tmp_path, failed("a"), failed("b"), record(tmp_path, "a"))
    with (tmp_path / "manifest.jsonl").open("ab") as manifest:
        manifest.write(b'no record\n\n{"id": "c", "sta')
    _, _, data = made(tmp_path)
    assert [(msgspec.json.decode(job["line"])["id"], job["status"]) for job in data["jobs"]] == [
        ("b", "failed"),
        ("a", "succeeded"),
    ]


def test_an_empty_manifest_has_a_page(tmp_path):
    text, _, data = made(write(tmp_path))
    assert data == {"lanes": [], "sweeps": [], "marks": [], "jobs": []}
    assert "<h1>" in text


def test_scripts_and_markup_in_a_record_stay_text(tmp_path):
    write(
        tmp_path,
        record(tmp_path, "a", prompt=HOSTILE, metadata={HOSTILE: HOSTILE}, lane=HOSTILE),
        failed("b", message=HOSTILE, lane=HOSTILE),
    )
    text, page, data = made(tmp_path)
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == ["application/json", None]
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert "<img" not in text.partition("<script")[0]
    assert msgspec.json.decode(data["jobs"][0]["line"])["prompt"] == HOSTILE
    assert data["jobs"][1]["error"]["message"] == HOSTILE


def test_the_page_may_run_its_own_script_and_use_no_network(tmp_path):
    _, page, _ = made(write(tmp_path, record(tmp_path, "a")))
    (policy,) = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = {
        name: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for name, text in (("script-src", page.texts["script"][1]), ("style-src", page.texts["style"][0]))
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' data: file:",
        "base-uri": "'none'",
        "form-action": "'none'",
        **digests,
    }
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(value.startswith(("#", "data:")) for value in addresses)
    assert not re.search(
        r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page.texts["style"][0] + page.texts["script"][1]
    )


def test_no_key_is_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "secret-key-123")
    text, _, _ = made(write(tmp_path, record(tmp_path, "a")))
    assert "secret-key-123" not in text
    assert "VENICE_API_KEY" not in text


def test_the_page_shows_the_numbers_of_the_report(tmp_path):
    write(tmp_path, record(tmp_path, "a", cost_usd=0.25), record(tmp_path, "b", lane="flux"), failed("c"))
    text, _, data = made(tmp_path)
    found = report(LatestRecords(tmp_path / "manifest.jsonl"))
    assert data["lanes"] == list(found.lanes)
    table = text.partition('id="figures-of-models"')[2].partition("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">.*?<bdi>(.*?)</bdi></th>(.*?)</tr>', table, re.DOTALL)
    for name, cells in rows:
        lane = found.lanes[name]
        numbers = re.findall(r"<td .*?>(.*?)</td>", cells)
        expected = (lane.succeeded, lane.failed, lane.rejected, lane.images)
        assert [int(number) for number in numbers[:4]] == list(expected)
        assert numbers[8] == ("$0.25" if lane.cost_usd else "–")
    assert len(rows) == 2


def test_the_times_of_each_model_have_a_table_of_their_own(tmp_path):
    write(tmp_path, record(tmp_path, "a"), record(tmp_path, "b", lane="flux"))
    table = made(tmp_path)[0].partition('id="times-of-models"')[2].partition("</table>")[0]
    (_, *cells), other = [re.findall(r"<(?:th scope=.row|td data-label=.(.*?))\">(.*?)</t[hd]>", row) for row in
                          table.partition("<tbody>")[2].split("</tr>")[:2]]  # fmt: skip
    assert [label for label, _ in cells] == [
        f"{part} p{n}" for part in ("queue", "server", "total") for n in (50, 95, 99)
    ]
    assert cells[-1] == ("total p99", "2.0 s")
    assert len(other) == 10


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (["2026-11-29T12:53:01Z"], "29 November 2026, 12:53 UTC"),
        (["2026-11-29T12:53:01Z", "2026-11-29T12:53:41Z"], "29 November 2026, 12:53 UTC"),
        (["2026-11-29T12:53:01Z", "2026-11-29T13:10:00Z"], "29 November 2026, 12:53 – 13:10 UTC"),
        (["2026-11-28T12:53:01Z", "2026-11-29T12:53:00Z"], "28 November 2026, 12:53 UTC – 29 November 2026, 12:53 UTC"),
        (["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"], "an impossible time"),
    ],
)
def test_no_minute_or_day_of_the_runs_is_shown_twice(tmp_path, times, shown):
    base = outcome("a").timing
    write(
        tmp_path,
        *(
            record(tmp_path, str(number), run_id=str(number), timing=msgspec.structs.replace(base, enqueued_at=text))
            for number, text in enumerate(times)
        ),
    )
    assert f'<p class="when">{shown}</p>' in made(tmp_path)[0]


def test_sandbox_images_are_marked_as_such(tmp_path):
    write(tmp_path, record(tmp_path, "a", sandbox=True))
    assert "drew these images from hashes" in made(tmp_path)[0]
    write(tmp_path, record(tmp_path, "a", sandbox=True), record(tmp_path, "b"))
    assert "1 of 2 jobs ran in the sandbox" in made(tmp_path)[0]
    write(tmp_path, record(tmp_path, "a"))
    assert "from hashes" not in made(tmp_path)[0]


def test_images_get_thumbnails(tmp_path):
    image = put(tmp_path, "images/a.png", noise_bytes())
    write(tmp_path, outcome("a", files=(image,)))
    found = write_gallery(tmp_path)
    assert (found.path, found.images) == (tmp_path / "gallery.html", 1)
    assert f"thumbnails/{image.sha256[:32]}.webp" in found.path.read_text()


def test_a_thumbnail_that_cannot_be_made_is_not_pointed_to(tmp_path):
    torn, good = put(tmp_path, "images/torn.png", noise_bytes()[:30_000]), put(tmp_path, "images/b.png", noise_bytes())
    write(tmp_path, outcome("a", files=(torn, good)))
    _, _, data = made(tmp_path)
    (shown,) = [job["pictures"] for job in data["jobs"]]
    assert [picture.get("thumb", "") for picture in shown] == ["", f"thumbnails/{good.sha256[:32]}.webp"]


def test_the_records_are_read_once(tmp_path, monkeypatch):
    write(tmp_path, record(tmp_path, "a"), failed("b"))
    iterations = []
    numbered = LatestRecords.numbered
    monkeypatch.setattr(LatestRecords, "numbered", lambda self: [iterations.append(1), numbered(self)][1])
    write_gallery(tmp_path)
    assert len(iterations) == 1


@pytest.mark.parametrize(
    ("where", "src"),
    [("out/page.html", "images/a.png"), ("page.html", "out/images/a.png"), ("x/y/page.html", "../../out/images/a.png")],
)
def test_a_page_elsewhere_finds_the_images(tmp_path, where, src):
    root = tmp_path / "out"
    write(root, record(root, "a"))
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    _, _, data = made(root, page=tmp_path / where)
    assert data["jobs"][0]["pictures"][0]["src"] == src


def test_a_page_that_cannot_be_finished_leaves_the_earlier_one(tmp_path, monkeypatch):
    write(tmp_path, record(tmp_path, "a"))
    before = write_gallery(tmp_path).path.read_bytes()
    monkeypatch.setattr(module, "card", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_gallery(tmp_path)
    assert (tmp_path / "gallery.html").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    (write(tmp_path / "out", failed("a")) / "gallery.html").mkdir()
    with pytest.raises(FolderError, match=r"gallery\.html"):
        write_gallery(tmp_path / "out")


def test_the_same_folder_makes_the_same_page(tmp_path):
    write(tmp_path, record(tmp_path, "a"), failed("b"))
    assert write_gallery(tmp_path).path.read_bytes() == write_gallery(tmp_path).path.read_bytes()


def test_memory_does_not_grow_with_the_page(tmp_path):
    """The page is written as it is made: of thousands of records, a few are in memory at a time."""
    script = (
        "import sys, tracemalloc\n"
        "from pathlib import Path\n"
        "from venice_batch.gallery import write_gallery\n"
        "tracemalloc.start()\n"
        "write_gallery(Path(sys.argv[1]))\n"
        "print(tracemalloc.get_traced_memory()[1])\n"
    )
    prompt = "a gondola " * 400
    write(tmp_path, *(failed(str(number), request={"prompt": f"{number}{prompt}"}) for number in range(1500)))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (tmp_path / "gallery.html").stat().st_size > 6_000_000
    assert int(done.stdout) < 0.8 * (tmp_path / "gallery.html").stat().st_size


def test_a_page_that_is_a_link_is_replaced_and_its_target_kept(tmp_path):
    root = write(tmp_path / "out", record(tmp_path / "out", "a"))
    (tmp_path / "victim").write_text("precious")
    for options in ({}, {"page": root / "gallery.html"}):
        (root / "gallery.html").unlink(missing_ok=True)
        (root / "gallery.html").symlink_to(tmp_path / "victim")
        write_gallery(root, **options)
        assert not (root / "gallery.html").is_symlink()
        assert (tmp_path / "victim").read_text() == "precious"


def test_anything_but_a_plain_file_of_the_folder_is_reported_and_not_shown(tmp_path):
    root = tmp_path / "out"
    private = put(tmp_path, "private.png", noise_bytes())
    linked = record(root, "b")
    (root / "images/b.png").unlink()
    (root / "images/b.png").symlink_to("../../private.png")
    outside = msgspec.structs.replace(private, path="../private.png")
    write(root, record(root, "a"), linked, outcome("c", files=(outside,)))
    found = write_gallery(root)
    reported = "b: 'images/b.png' is a link, which is not followed, and 1 more like it"
    assert found.refused == f"left out everything but plain files of the folder: {reported}"
    assert (root / "thumbnails").is_dir()
    assert list((root / "thumbnails").iterdir()) == []
    _, _, data = made(root)
    assert [picture.get("src", "") for job in data["jobs"] for picture in job["pictures"]] == ["images/a.png", "", ""]


hostile = st.lists(
    st.one_of(
        st.sampled_from(
            ["</script", ">", "<!--", "<script", "]]>", "\u2028", "\u2029", "\u202e", "&lt;", "\\", '"', "\0"]
        ),
        st.text(max_size=5),
    )
).map("".join)


class Scripts(HTMLParser):
    """The contents of script elements as a browser sees them."""

    def __init__(self):
        super().__init__()
        self.tags = []
        self.texts = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@given(st.recursive(hostile, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3)))
def test_whatever_strings_hold_the_element_ends_where_it_should(value):
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    seen = Scripts()
    seen.feed(f'<script type="application/json">{text}</script><p>after</p>')
    assert seen.tags == ["script", "p"]
    assert json.loads(seen.texts[0]) == value


def test_it_is_not_escaped_again_in_a_template():
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string("{{ value }}")
    assert template.render(value=script_json({"a": '<"'})) == '{"a":"\\u003c\\""}'
