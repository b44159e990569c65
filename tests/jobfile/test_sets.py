"""Prompt sets: the packaged ones, and tables of settings files."""

import pytest

from venice_batch.errors import UsageError
from venice_batch.jobfile.mapping import Need, entry
from venice_batch.jobfile.sets import field_map, named, packaged, prompt_set, recognised

TWELVE = (
    "geneval", "geneval2", "partiprompts", "drawbench", "t2i-compbench", "dpg-bench", "hpsv2", "genai-bench", "wise",
    "oneig", "unigenbench",
)  # fmt: skip
"""GenEval's set is two files: with metadata, and its prompts alone."""

LAYOUTS = {"geneval", "t2i-compbench", "hpsv2", "unigenbench", "dpg-grid", "flat"}


def test_the_packaged_sets_say_where_they_come_from():
    assert tuple(packaged()) == TWELVE
    for one in packaged().values():
        assert one.title
        assert one.url.startswith("https://")
        assert one.file
        assert one.prompts
        assert one.layout in LAYOUTS
        assert one.origin == ""


def test_a_set_needs_its_prompt_alone():
    first, second = packaged()["wise"].entries
    assert first == entry("prompt", "Prompt", "--from wise", need=Need.INSTEAD)
    assert second == entry("id", "prompt_id", "--from wise", need=Need.NEVER)


def test_a_set_of_ones_own_has_only_data():
    table = {"title": "T", "map": {"prompt": ["a", "b"], "metadata.x": "c"}, "unknown": "error", "set": {"width": 64}}
    one = prompt_set("my.set-2", table, "venice-batch.toml")
    assert one.columns == {"prompt": ("a", "b"), "metadata.x": ("c",)}
    assert (one.unknown, one.values, one.origin) == ("error", {"width": 64}, "venice-batch.toml")
    assert named("my.set-2", {"my.set-2": one}) is one
    assert named("wise", {}) is packaged()["wise"]
    assert prompt_set("empty", {}).entries == ()


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("My Set", {}, "My Set: a set's name has small letters, digits, dots, dashes and underscores"),
        ("a", 5, "a: expected a table, as in [from.a]"),
        ("a", {"titel": "x"}, "a.titel: no such key; did you mean 'title'?"),
        (
            "a",
            {"command": "rm"},
            "a.command: no such key; the known ones are "
            "title, url, licence, file, layout, notes, prompts, map, unknown, set, signs",
        ),
        ("a", {"prompts": True}, "a.prompts: expected a number of prompts"),
        ("a", {"signs": "tag"}, "a.signs: expected a list of columns"),
        ("a", {"unknown": "keep"}, "a.unknown: expected 'error' or 'metadata'"),
        ("a", {"title": 5}, "a.title: expected a text of at most 2,000 characters"),
        ("a", {"map": "x"}, 'a.map: expected a table, as in map = { prompt = "Caption" }'),
        ("a", {"map": {"promt": "x"}}, "a.map.promt: no job has this field; did you mean 'prompt'?"),
        ("a", {"map": {"prompt": []}}, "a.map.prompt: expected the name of a column, or a list of names"),
        ("a", {"map": {"prompt": 5}}, "a.map.prompt: expected the name of a column, or a list of names"),
        ("a", {"set": 5}, "a.set: expected a table, as in set = { width = 768, height = 768 }"),
        ("a", {"set": {"image": "x.png"}}, "a.set.image: a set names no pictures; name them in the jobs"),
        ("a", {"set": {"width": -1}}, "a.set.width: -1 is out of range; expected an integer from 1 to 1280"),
    ],
)
def test_a_wrong_set_is_refused_with_its_key(name, table, message):
    with pytest.raises(UsageError) as caught:
        prompt_set(name, table)
    assert str(caught.value) == message


def test_a_file_is_recognised_by_its_columns():
    assert [one.name for one in packaged().values() if one.signs and recognised(one.signs) is one] == [
        "geneval", "geneval2", "drawbench", "genai-bench", "wise", "oneig", "unigenbench",
    ]  # fmt: skip
    assert recognised(["tag", "Prompt", "category"]) is None
    assert recognised([]) is None


def test_an_unknown_set_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError) as caught:
        named("Gen-Eval", {})
    assert str(caught.value) == (
        "--from Gen-Eval: no such prompt set; did you mean 'geneval'? `venice-batch sets` lists them"
    )
    with pytest.raises(UsageError, match=r"no such prompt set; `venice-batch sets`"):
        named("zzz", {})


def test_options_win_over_settings_files_and_these_over_sets():
    wise = packaged()["wise"]
    asked = [entry("prompt", "A", "--map prompt=A", need=Need.ALWAYS)]
    kept = [entry("prompt", "B", "file"), entry("seed", "S", "file")]
    found = field_map(asked, kept, wise, None)
    assert [(one.field, one.names) for one in found.fields] == [
        ("prompt", ("A",)), ("seed", ("S",)), ("id", ("prompt_id",)),
    ]  # fmt: skip
    assert (found.unknown, found.has_suspects) == ("metadata", False)
    assert [one.names for one in field_map((), kept, wise, "error").fields] == [
        ("B",), ("S",), ("Prompt",), ("prompt_id",),
    ]  # fmt: skip
    assert field_map((), kept, wise, "error").unknown == "error"
    assert field_map((), (), None, None).unknown == "error"
