"""Values as text."""

import json
from pathlib import Path

import pytest

from venice_batch.text_format import counted, json_bytes


@pytest.mark.parametrize(("count", "told"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_one_thing_is_told_in_the_singular(count, told):
    assert counted(count, "job") == told


def test_json_of_a_name_that_is_no_text_has_question_marks():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert json.loads(json_bytes({name: [name, {"deep": Path(name)}, 1]})) == {"caf?": ["caf?", {"deep": "caf?"}, 1]}


def test_json_of_text_is_that_text():
    assert json_bytes({"a": "é\u2028"}).decode() == '{"a":"é\u2028"}'
