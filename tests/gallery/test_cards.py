"""The page's data on one job."""

import msgspec
import pytest
from gallery.made import file, image_bytes, noise_bytes, put
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, attempt, failed, outcome

from venice_batch.gallery.cards import LONGEST_LINE, Card, FolderImages, Picture, card, job_line, without_thumbnails
from venice_batch.jobfile import Defaults
from venice_batch.jobfile.line import parse
from venice_batch.model import Endpoint, Flags, Parent, Status


def parsed(line):
    found = parse(line.encode(), number=1, first_index=0, defaults=Defaults(), source="x")
    assert not found.problems
    return found.jobs[0]


@given(
    prompt=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip),
    seed=st.integers(-999_999_999, 999_999_999),
    metadata=st.none()
    | st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5), st.integers(-(1 << 63), (1 << 64) - 1), max_size=3
    ),
)
def test_a_job_line_is_the_same_job_again(prompt, seed, metadata):
    line = {"id": "a", "model": "venice-sd35", "prompt": prompt, "seed": seed, "cfg_scale": 7.0, "variants": 1}
    job = parsed(msgspec.json.encode(line | ({} if metadata is None else {"metadata": metadata})).decode())
    sent = {**job.request, "return_binary": True}
    text, is_cut = job_line(outcome("a", request=sent, metadata=metadata, request_hash=job.request_hash))
    again = parsed(text)
    assert not is_cut
    assert (again.id, again.request_hash, again.metadata) == ("a", job.request_hash, metadata)
    assert text.isprintable()


def test_the_other_endpoint_is_named():
    text, _ = job_line(outcome("a", endpoint=Endpoint.GENERATIONS, request={"prompt": "p"}))
    assert text == '{"id":"a","endpoint":"/images/generations","prompt":"p"}'


def test_characters_that_turn_the_text_around_them_are_escaped():
    text, _ = job_line(outcome("a", request={"prompt": "a\u202eb\u2028\U000e0001"}))
    assert text == '{"id":"a","prompt":"a\\u202eb\\u2028\\udb40\\udc01"}'


def test_a_job_too_long_for_a_page_is_cut():
    request = {"prompt": "p", "image": "x" * (LONGEST_LINE + 1), "list": ["y"] * LONGEST_LINE, "seed": 1}
    text, is_cut = job_line(outcome("a", request=request))
    assert is_cut
    assert len(text) < 6000
    assert '"seed":1' in text
    assert "(32,001 characters)" in text


def test_a_record_points_to_its_image_and_thumbnail(tmp_path):
    small, large = put(tmp_path, "images/ä #1?.png", image_bytes()), put(tmp_path, "images/b.png", noise_bytes())
    found = card(outcome("a", files=(small, large)), FolderImages(tmp_path)).pictures
    assert found[0].src == "images/%C3%A4%20%231%3F.png"
    assert (found[0].thumb, found[0].state) == ("", "")
    assert found[1].thumb == f"thumbnails/{large.sha256[:32]}.webp"


def test_a_page_elsewhere_reaches_back(tmp_path):
    image = put(tmp_path, "images/a.png", image_bytes())
    assert FolderImages(tmp_path, "../out #1/").picture(image).src == "../out%20%231/images/a.png"


@given(st.text(st.characters(codec="utf-8")))
def test_only_the_thumbnails_that_could_not_be_made_are_removed(prompt):
    names = [f"{digit * 32}.webp" for digit in "ab"]
    text = f'{prompt},"thumb":"thumbnails/{names[0]}"'
    pictures = tuple(Picture("x", "y", 1, 1, 1, "png", "", thumb=f"../out/thumbnails/{name}") for name in names)
    made = Card(text, Status.SUCCEEDED, text, "", 1.0, {}, pictures, deprecated=text, enhanced_prompt=text)
    line = without_thumbnails(msgspec.json.encode(made), {names[0]})
    found = msgspec.json.decode(line, type=Card)
    assert [picture.thumb for picture in found.pictures] == ["", f"../out/thumbnails/{names[1]}"]
    assert msgspec.structs.replace(found, pictures=pictures) == made


def test_a_missing_or_changed_file_is_marked(tmp_path):
    put(tmp_path, "images/changed.png", b"other bytes")
    images = FolderImages(tmp_path)
    gone, changed = images.picture(file("images/gone.png", b"x")), images.picture(file("images/changed.png", b"x"))
    assert (gone.state, gone.src) == ("missing", "")
    assert (changed.state, changed.src) == ("changed", "images/changed.png")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a.png", "images/../../a.png", "images/\0.png", "x" * 5000])
def test_a_record_cannot_point_out_of_the_folder(tmp_path, path):
    (tmp_path / "a.png").write_bytes(b"x")
    root = tmp_path / "out"
    root.mkdir()
    found = FolderImages(root).picture(file(path, b"x"))
    assert (found.src, found.state) == ("", "missing")


def test_names_with_dots_are_within(tmp_path):
    image = put(tmp_path, "images/a..b/....png", image_bytes())
    assert FolderImages(tmp_path).picture(image).state == ""


def test_a_scheme_is_a_file_name(tmp_path):
    image = put(tmp_path, "javascript:alert(1)", image_bytes())
    assert FolderImages(tmp_path).picture(image).src == "javascript%3Aalert%281%29"


def test_flags_show_what_happened(tmp_path):
    flags = Flags(blurred=True, content_violation=True, possibly_billed=True, deprecated="soon", enhanced_prompt="more")
    made = card(outcome("a", flags=flags, sandbox=True, attempts=(attempt(429), attempt())), FolderImages(tmp_path))
    assert made.flags == (
        "sandbox",
        "blurred",
        "content violation",
        "possibly billed",
        "deprecated model",
        "enhanced prompt",
        "retried",
    )
    assert (made.deprecated, made.enhanced_prompt) == ("soon", "more")


def test_attempts_are_kept_if_there_was_a_retry_or_an_error(tmp_path):
    images = FolderImages(tmp_path)
    assert card(outcome("a"), images).attempts == ()
    assert len(card(failed("a"), images).attempts) == 1
    assert len(card(outcome("a", attempts=(attempt(500), attempt())), images).attempts) == 2


def test_a_derived_image_is_known_by_the_words_that_made_it(tmp_path):
    upscale = {"endpoint": Endpoint.UPSCALE, "request": {"scale": 2}, "parent": Parent("fox", "0" * 64, 1)}
    found = card(outcome("a", metadata={"prompt": "a fox"}, **upscale), FolderImages(tmp_path))
    assert found.prompt == "a fox"
    assert parsed(job_line(outcome("a", parent=upscale["parent"]))[0]).parent == upscale["parent"]
    assert card(outcome("a"), FolderImages(tmp_path)).prompt == "", "its request has it"


def test_a_card_leaves_out_empty_fields(tmp_path):
    made = msgspec.json.decode(msgspec.json.encode(card(outcome("a", files=(IMAGE,)), FolderImages(tmp_path))))
    assert set(made) == {"line", "status", "lane", "at", "total_s", "spent", "pictures"}
    assert made["spent"] == {"queued_s": 0.1, "rate_wait_s": 0.2, "server_s": 0.9, "download_s": 0.1, "write_s": 0.01}


def test_an_image_that_was_rejected_and_removed_is_not_missing(tmp_path):
    images = FolderImages(tmp_path)
    there = put(tmp_path, "rejected/a.png", image_bytes())
    moved = msgspec.structs.replace(there, pruned="moved")
    assert (images.picture(moved).state, images.picture(moved).src) == ("", "rejected/a.png")
    (tmp_path / "rejected/a.png").unlink()
    deleted = msgspec.structs.replace(put(tmp_path, "images/b.png", image_bytes()), pruned="deleted")
    assert [(images.picture(one).state, images.picture(one).src) for one in (moved, deleted)] == [("pruned", "")] * 2
