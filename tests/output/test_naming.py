"""File names from ids that anybody may have written."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.model import Endpoint, Job
from venice_batch.output.naming import LONGEST_BYTES, Naming, case_key, safe_name, short_name, with_digest

ids = st.text(max_size=60) | st.text("a./\\~- :\0\n", max_size=12) | st.text("äé", min_size=60, max_size=300)
RESERVED = ["CON", "con", "PRN", "aux", "NUL", "nul.txt", "COM1", "com9.webp", "LPT¹", "CONIN$", "nul .txt"]
HOSTILE = [
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\Windows", "\\\\host\\share", "a/b", "a\\b", "a\0b", "a\nb",
    "\x1b[31m", "~root", "-rf", ".hidden", "name.", "name ", " name", "a:stream", "a\u202egpj.exe", "\ud800",
    "a\u2066b", "x" * 400, "é" * 200, "😀" * 100, *RESERVED,
]  # fmt: skip


@pytest.mark.parametrize(
    "job_id", ["gondola-01", "Ähre", "a.b.c", "50%", "a b", "日本", "x" * LONGEST_BYTES, "console", "con-1", "null"]
)
def test_a_safe_id_is_its_own_name(job_id):
    assert safe_name(job_id) == job_id


@given(ids)
def test_a_name_is_safe_everywhere(job_id):
    name = safe_name(job_id)
    assert name
    assert not re.search(r'[<>:"/\\|?*]', name)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
    assert not name.startswith((".", "~", "-", " "))
    assert not name.endswith((".", " "))
    assert len(f"{name}-4.webp".encode()) <= 255
    assert name.partition(".")[0].strip().lower() not in {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        "com1",
        "lpt9",
    }
    assert unicodedata.is_normalized("NFC", name)


for hostile in HOSTILE:
    test_a_name_is_safe_everywhere = example(hostile)(test_a_name_is_safe_everywhere)


@pytest.mark.parametrize("job_id", RESERVED)
def test_a_name_reserved_by_windows_is_avoided(job_id):
    assert safe_name(job_id).startswith("_")


@pytest.mark.parametrize("char", "\u200e\u202e\u2066\u2069\u061c\u2060\ufeff")
def test_invisible_characters_that_turn_text_about_are_replaced(char):
    assert char not in safe_name(f"a{char}b")


@given(ids, ids)
@example("a/b", "a\\b")
@example("a/b", "a_b")
@example("é", "e\u0301")
@example("x" * 200 + "1", "x" * 200 + "2")
@example("con", "_con")
@example(".", "..")
@example("", "_")
@example("a.", "a_")
def test_distinct_ids_have_distinct_names(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)


@given(ids)
def test_the_same_id_has_the_same_name_and_a_name_keeps_itself(job_id):
    name = safe_name(job_id)
    assert safe_name(job_id) == name
    assert safe_name(name) == name


def test_a_cut_name_ends_at_a_whole_character_with_twelve_hex_digits():
    name = safe_name("é" * 300)
    assert re.fullmatch("é+-[0-9a-f]{12}", name)
    assert len(name.encode()) in (LONGEST_BYTES, LONGEST_BYTES - 1)
    assert re.fullmatch("ab-[0-9a-f]{12}", with_digest("ab. ", "ab. "))


@pytest.mark.parametrize(("one", "other"), [("Abc", "aBC"), ("é", "E\u0301"), ("straße", "STRASSE"), ("ﬁ", "FI")])
def test_names_that_some_system_takes_for_one_have_one_key(one, other):
    assert case_key(one) == case_key(other)


@given(st.text(max_size=20))
def test_a_name_shares_its_key_with_its_other_normal_form(name):
    assert (
        case_key(name) == case_key(unicodedata.normalize("NFD", name)) == case_key(unicodedata.normalize("NFC", name))
    )


def test_different_names_have_different_keys():
    assert len({case_key(name) for name in ("a", "b", "ä", "a-1", "a_1")}) == 5


@given(st.text(min_size=1))
def test_a_short_name_is_short_plain_and_tells_its_name(name):
    short = short_name(name)
    assert re.fullmatch("[A-Za-z0-9_-]{1,60}", short)
    assert short != short_name(name + "x")
    assert short == short_name(name)


def job(id="a", index=0, *, metadata=None, **request):  # noqa: A002
    return Job(id, index + 1, index, Endpoint.GENERATE, {"model": "org/m", **request}, "abcdef0123456789", metadata)


def settled(template, *jobs, **options):
    naming = Naming(template, **options)
    complaints = [complaint for one in jobs for complaint in naming.examine(one)]
    assert complaints == []
    naming.settle(jobs, "jobs.jsonl")
    return naming


def test_an_image_is_named_after_its_job():
    assert settled("{id}", job("gondola-01")).stem(job("gondola-01")) == "gondola-01"


def test_a_template_may_use_every_field_and_make_folders():
    one = job("a", 4, seed=7, metadata={"set": {"name": "Blue Hour"}})
    naming = settled("{date}/{model}/{metadata.set.name}/{index:04}-{id}-{seed}-{hash}", one, date="2026-11-22")
    assert naming.stem(one).startswith("2026-11-22/org_m-")
    assert naming.stem(one).endswith("/Blue Hour/0005-a-7-abcdef01")
    assert len(naming.folders) == 1


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{colour}", "none of"),
        ("{id", "expected '}'"),
        ("images", "one name"),
        ("{date}", "one name"),
        ("a//{id}", "empty part"),
        ("{metadata}", "none of"),
        ("{id:>100000000000}", "longer names"),
        ("{index:.99999}", "longer names"),
    ],
)
def test_a_template_that_cannot_work_is_refused(template, words):
    with pytest.raises(UsageError, match=words):
        Naming(template)


def test_a_job_without_a_value_that_the_name_needs_is_told():
    assert Naming("{id}-{seed}").examine(job()) == [("seed", "is missing, and --name needs it")]
    assert Naming("{metadata.a}").examine(job(metadata={"b": 1}))[0][0] == "metadata.a"
    assert "cannot be made" in Naming("{id:05d}").examine(job())[0][1]


def test_two_jobs_with_one_name_are_told_with_both_lines():
    naming = Naming("{model}")
    jobs = [job("a", 0), job("b", 1)]
    assert [naming.examine(one) for one in jobs] == [[], []]
    with pytest.raises(JobsFileError, match=r"jobs.jsonl:2: --name: .* line 1's image too"):
        naming.settle(jobs, "jobs.jsonl")


def test_ids_that_differ_only_in_case_get_different_names_everywhere():
    jobs = [job("Sea", 0), job("sea", 1), job("lake", 2)]
    naming = settled("{id}", *jobs)
    # "sea" needs no cleaning, so it keeps its name; the other one gets a digest.
    stems = [naming.stem(one) for one in jobs]
    assert stems[2] == "lake"
    assert len({stem.casefold() for stem in stems}) == 3


@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=8))
def test_no_two_ids_share_a_name_and_none_leaves_its_folder(ids):
    jobs = [job(one, number) for number, one in enumerate(ids)]
    naming = settled("x/{id}", *jobs)
    stems = [naming.stem(one) for one in jobs]
    assert len({stem.casefold() for stem in stems}) == len(stems)
    assert all(stem.startswith("x/") and stem.count("/") == 1 for stem in stems)


@pytest.mark.parametrize("name", ["con", "nul", "aux", "prn", "com1", "lpt9"])
def test_a_device_of_windows_is_no_name(name):
    naming = settled("{id}", job(name), job(f"{name}sole"))
    assert naming.stem(job(name)).startswith(f"_{name}-")
    assert naming.stem(job(f"{name}sole")) == f"{name}sole"


def named(prompt, **others):
    return Naming(has_ids=False).stem(job("0123456789abcdef", 6, prompt=prompt, **others))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A gondola at blue hour", "0007-a-gondola-at-blue-hour"),
        ("  Caf\u00e9, \u2018M\u00fcnchen\u2019!  ", "0007-caf\u00e9-m\u00fcnchen"),
        ("\u9713\u8679\u706f\u4e0b\u7684\u8857\u9053", "0007-\u9713\u8679\u706f\u4e0b\u7684\u8857\u9053"),
        ("../../etc/passwd", "0007-etc-passwd"),
        ("CON", "0007-con"),
        ("\U0001f600", "0007"),
        ("x" * 300, "0007-" + "x" * 60),
        ("word " * 30, "0007-" + "-".join(["word"] * 12)),
    ],
)
def test_without_ids_images_are_named_after_line_and_prompt(prompt, name):
    assert named(prompt) == name


def test_the_number_of_a_line_takes_more_digits_than_four_where_it_has_them():
    assert Naming(has_ids=False).stem(job("a", 12_344, prompt="A cat")) == "12345-a-cat"


def test_the_fields_of_a_matrix_follow_the_prompt():
    one = Job("a", 7, 6, Endpoint.GENERATE, {"prompt": "A cat"}, "00", suffix="__seed-1")
    assert settled(None, one, has_ids=False).stem(one) == "0007-a-cat__seed-1"


def test_a_job_without_a_prompt_is_named_after_its_picture():
    assert Naming(has_ids=False).stem(job("a", 6, image={"path": "photos/Cat 1.png"})) == "0007-cat-1"
    assert Naming(has_ids=False).stem(job("a", 6, images=[{"path": "C:\\pictures\\cat.png"}])) == "0007-cat"
    assert Naming(has_ids=False).stem(job("a", 6, image="https://example.com/cat.png")) == "0007"


def test_a_template_may_use_the_prompt():
    one, other = job("a", 0, prompt="A cat"), job("b", 1, prompt="A cat!")
    assert settled("{prompt}", one).stem(one) == "a-cat"
    assert settled("{prompt}-{line}", one, other).stem(other) == "a-cat-2"
    assert Naming("{prompt}").examine(job()) == [("prompt", "is missing, and --name needs it")]
    assert Naming("{prompt}").plain_stem(job()) == ""


def test_jobs_of_one_line_with_one_name_are_told_apart_by_their_ids():
    jobs = [Job(id_, 1, n, Endpoint.GENERATE, {"prompt": "A cat"}, "00") for n, id_ in enumerate("ab")]
    naming = settled(None, *jobs, has_ids=False)
    assert len({naming.stem(one) for one in jobs}) == 2
