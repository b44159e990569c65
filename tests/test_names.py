"""File names from ids that anybody may have written."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venice_batch.names import LONGEST_BYTES, case_key, safe_name, short_name, with_digest

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
