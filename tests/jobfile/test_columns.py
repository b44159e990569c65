"""The columns of a map, found in files of every kind."""

import json

import pytest

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.jobfile.columns import paths_in
from venice_batch.jobfile.mapping import FieldMap


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, *lines):
    with open(name, "w") as file:
        file.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return name


def jobs(path, unknown=None, settings=("model=m",), **fields):
    field_map = FieldMap.of(
        {name.replace("metadata_", "metadata."): column for name, column in fields.items()}, unknown
    )
    with open_source(path, field_map=field_map) as source:
        index = JobIndex.build(source, defaults=Defaults.of(settings))
        first = list(index.jobs_in_order())
        assert first == list(index.jobs_in_order())  # as read again
        return first


def mistakes(path, unknown=None, **fields):
    with pytest.raises(JobsFileError) as caught:
        jobs(path, unknown, **fields)
    return [str(problem) for problem in caught.value.distinct]


def test_json_lines_keep_the_rest_as_metadata_and_are_named_after_their_lines():
    line = {"tag": "colors", "include": [{"class": "bench"}], "prompt": "a bench"}
    path = write("geneval.jsonl", line, {**line, "tag": "counting"}, "", {**line, "prompt": "two"})
    first, second, third = jobs(path, "metadata")
    assert first.metadata == {"tag": "colors", "include": [{"class": "bench"}]}
    # The second prompt is the first one again, and a job of its own.
    assert second.id == f"{first.id}-2"
    assert [job.line for job in (first, second, third)] == [1, 2, 4]
    with open_source(path, field_map=FieldMap(unknown="metadata")) as source:
        assert not source.has_ids


def test_ids_of_a_column_or_of_the_lines_are_kept():
    path = write("a.jsonl", {"key": 3, "prompt": "p"}, {"key": 4, "prompt": "p"})
    assert [job.id for job in jobs(path, id="key")] == ["3", "4"]
    assert [job.id for job in jobs(write("b.jsonl", {"id": "x", "prompt": "p", "k": 1}), "metadata")] == ["x"]
    batch = {"custom_id": "c", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "p"}}
    assert jobs(write("c.jsonl", batch, {"id": "d", "Text": "p"}), prompt="Text")[0].id == "c"


def test_a_table_gives_mapped_columns_to_fields_and_the_others_to_metadata():
    path = write("a.csv", "Prompts,Prompt,Category,size,metadata.x,", "p,old,Colors,big,1,2", "p,,,,,")
    first, second = jobs(path, prompt="prompts", metadata_size="Size")
    assert first.request == {"model": "m", "prompt": "p"}
    assert first.metadata == {"Prompt": "old", "Category": "Colors", "size": "big", "x": "1", "column 6": "2"}
    assert second.id == f"{first.id}-2"


def test_a_tables_ids_can_be_made_of_columns():
    path = write("a.csv", "category,id,prompt_en,steps", "a,000,p,5.0", "b,000,q,TRUE")
    with pytest.raises(JobsFileError, match=r"a\.csv:3: steps: 'TRUE' is a string"):
        jobs(path, id="{category}-{id}", prompt="prompt_en", steps="steps")
    path = write("a.csv", "category,id,prompt_en,steps", "a,000,p,5.0", "b,000,q,")
    first, second = jobs(path, id="{category}-{id}", prompt="prompt_en", steps="steps")
    assert (first.id, second.id, first.request["steps"]) == ("a-000", "b-000", 5)
    assert first.metadata == {"category": "a", "id": "000"}
    assert mistakes(write("b.csv", "key,prompt", ",p", "x,p"), id="key") == [
        "b.csv:2: id: missing: the line has no value for it (--map id=key)"
    ]


def test_a_table_with_two_columns_of_one_field_needs_no_other_name_for_the_mapped_one():
    path = write("a.csv", "prompt,Prompt", "old,p")
    assert [(job.request["prompt"], job.metadata) for job in jobs(path, prompt="Prompt")] == [("p", {"prompt": "old"})]


def test_an_empty_cell_of_a_mapped_column_never_means_the_files_own_field():
    path = write("a.csv", "id,prompt,model,caption,m2", "a,OLD a,old,new a,m", "b,OLD b,old,,", "c,OLD c,old,,m")
    assert mistakes(path, prompt="caption") == ["a.csv:3: prompt: missing", "a.csv:4: prompt: missing"]
    first, second, third = jobs(path, settings=("model=m", "prompt=same"), prompt="caption", model="m2")
    assert first.request == {"model": "m", "prompt": "new a"}
    assert second.request == third.request == {"model": "m", "prompt": "same"}
    assert [job.metadata for job in (first, second, third)] == [
        {"prompt": f"OLD {name}", "model": "old"} for name in "abc"
    ]
    assert mistakes(path, id="m2", prompt="prompt") == [
        "a.csv:3: id: missing: the line has no value for it (--map id=m2)"
    ]


def test_a_mapped_key_of_the_metadata_wins_over_a_column_of_its_name_in_tables_as_in_json():
    table = write("a.csv", "prompt,split,Prompt2", "p,train,q", "p,train,")
    lines = write("a.jsonl", {"prompt": "p", "split": "train", "Prompt2": "q"}, {"prompt": "p", "split": "train"})
    for path in (table, lines):
        found = [job.metadata for job in jobs(path, "metadata", metadata_split="Prompt2")]
        assert found == [{"split": "q"}, {"split": "train"}]


def test_prompts_of_texts_arrays_and_strings_take_a_map_too():
    assert [job.metadata for job in jobs(write("anime.txt", "a", "b"), metadata_style="@file")] == [
        {"style": "anime"}
    ] * 2
    assert jobs(write("a.txt", "a"), prompt="Prompt")[0].request["prompt"] == "a"
    array = write("set.json", '["a", "a"]')
    first, second = jobs(array, "metadata")
    assert second.id == f"{first.id}-2"
    objects = write("wise.json", json.dumps([{"prompt_id": 1, "Prompt": "p", "Category": "c"}], indent=1))
    assert [(job.id, job.metadata) for job in jobs(objects, "metadata", id="prompt_id", prompt="Prompt")] == [
        ("1", {"Category": "c"})
    ]


def test_a_column_that_is_nowhere_is_one_mistake_with_the_nearest_name():
    lines = [{"Prompt": "p", "meta": {"key": 1}, "n": n} for n in range(5)]
    path = write("a.jsonl", *lines)
    assert mistakes(path, prompt="Promt", id="meta.kye") == [
        "a.jsonl: --map prompt=Promt: nothing is called 'Promt' in this file; did you mean 'Prompt'?",
        "a.jsonl: --map id=meta.kye: nothing is called 'meta.kye' in this file; did you mean 'meta.key'?",
    ]
    assert mistakes(path, prompt="{Prompt} {zzz}") == [
        "a.jsonl: --map prompt={Prompt} {zzz}: nothing is called 'zzz' in this file; "
        "the file has Prompt, meta, meta.key, n"
    ]
    many = write("b.csv", ",".join(f"c{n}" for n in range(12)), "x")
    assert mistakes(many, prompt="Text")[0].endswith("the file has c0, c1, c2, c3, c4, c5, c6, c7, …")
    assert mistakes(write("c.txt", "a"), prompt="Text")[0].endswith("the file has prompt")


def test_a_name_that_fits_two_columns_but_for_case_is_ambiguous():
    path = write("a.jsonl", {"Text": "p", "TEXT": "q"})
    assert mistakes(path, prompt="text") == [
        "a.jsonl: --map prompt=text: 'text' could be 'Text' or 'TEXT'; spell it as the file does"
    ]
    assert jobs(path, "metadata", prompt="TEXT")[0].request["prompt"] == "q"


def test_lines_that_lack_the_column_lack_the_field():
    path = write("a.jsonl", {"Text": "p"}, {"text": 5, "note": "x"}, "[1]", "{", "5")
    assert mistakes(path, prompt="Text") == [
        "a.jsonl:2: text: unknown field",
        "a.jsonl:2: note: unknown field",
        "a.jsonl:2: prompt: missing",
        'a.jsonl:3: the line is an array; expected an object, as in {"model": "…", "prompt": "…"}',
        "a.jsonl:4: not valid JSON: unexpected end of data at column 2",
        'a.jsonl:5: the line is a number; expected an object, as in {"model": "…", "prompt": "…"}',
    ]


def test_columns_that_look_like_fields_are_doubted():
    path = write("a.jsonl", {"prompt": "p", "widht": 5, "metadata": {"x": 1}})
    assert [field for field, _ in jobs(path, "metadata")[0].doubts] == ["widht"]
    assert jobs(path, "metadata", width="widht", settings=("model=m",))[0].doubts == ()
    assert jobs(write("a.csv", "Text,widht", "p,5"), prompt="Text")[0].doubts[0][0] == "widht"


def test_a_line_nested_too_deeply_is_reported_like_any_other():
    deep = '{"prompt": "p", "x": ' + "[" * 300 + "]" * 300 + "}"
    path = write("a.jsonl", deep, {"prompt": "p", "x": 1})
    assert mistakes(path, "metadata") == ["a.jsonl:1: metadata: is nested too deeply; at most 250 levels"]
    deep = '{"prompt": ' + "[" * 300 + "]" * 300 + "}"
    assert len(mistakes(write("b.jsonl", deep), "metadata")) == 1


def test_places_of_a_name():
    value = {"a": {"b": [{"c": 1}], "B": 2}, "a.b": 3, "A": {"b": 4}}
    assert list(paths_in(value, "a.b")) == [("a.b",), ("a", "b")]
    assert list(paths_in(value, "a.b.0.c")) == [("a", "b", 0, "c")]
    assert list(paths_in(value, "a.b.1")) == list(paths_in(value, "a.b.x")) == list(paths_in(5, "a")) == []
    assert ("A", "b") in paths_in(value, "a.B", fold=True)
