"""Variables in prompts, and lists of values from options."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import UsageError
from venice_batch.jobfile import Defaults, native_line
from venice_batch.jobfile.line import parse
from venice_batch.jobfile.matrix import MAX_JOBS
from venice_batch.jobfile.variables import check_lists, parse_matrix, parse_variables

LINE = {"id": "a", "model": "m", "prompt": "A {subject} at dusk"}
SUBJECTS = {"subject": ["cat", "big dog"]}


def read(record, **defaults):
    return parse(orjson.dumps(record), number=1, first_index=0, defaults=Defaults(**defaults), source="jobs.jsonl")


def jobs(record, **defaults):
    parsed = read(record, **defaults)
    assert not parsed.problems, parsed.problems
    return parsed.jobs


def prompts(record, **defaults):
    return [job.request["prompt"] for job in jobs(record, **defaults)]


def messages(record, **defaults):
    parsed = read(record, **defaults)
    assert not parsed.jobs
    return [str(problem).removeprefix("jobs.jsonl:1: ") for problem in parsed.problems]


@pytest.mark.parametrize("arguments", [{"record": {**LINE, "vars": SUBJECTS}}, {"record": LINE, "variables": SUBJECTS}])
def test_a_prompt_is_made_with_every_value_of_its_variable(arguments):
    found = jobs(**arguments)
    assert [job.request["prompt"] for job in found] == ["A cat at dusk", "A big dog at dusk"]
    assert [job.id for job in found] == ["a__subject-cat", "a__subject-big-dog"]
    assert [job.metadata for job in found] == [{"vars": {"subject": "cat"}}, {"vars": {"subject": "big dog"}}]


def test_several_variables_and_a_matrix_make_every_combination_with_the_matrix_fastest():
    line = {**LINE, "prompt": "{a} and {b}", "vars": {"a": ["x", "y"], "b": ["1"]}, "matrix": {"seed": [1, 2]}}
    assert [job.id for job in jobs(line)] == [
        "a__a-x__b-1__seed-1",
        "a__a-x__b-1__seed-2",
        "a__a-y__b-1__seed-1",
        "a__a-y__b-1__seed-2",
    ]
    assert [job.suffix for job in jobs(line)][:2] == ["__seed-1", "__seed-2"]


def test_a_lines_own_values_win_over_an_options():
    assert prompts({**LINE, "vars": {"subject": ["owl"]}}, variables=SUBJECTS) == ["A owl at dusk"]


def test_two_braces_stand_for_one_and_other_braces_stay():
    line = {**LINE, "prompt": "{{x}} {a|b} {} {subject}}"}
    assert prompts(line, variables={"subject": ["cat"]}) == ["{x} {a|b} {} cat}"]


def test_variables_are_replaced_in_negative_prompts_too():
    line = {**LINE, "prompt": "A street", "negative_prompt": "{subject}"}
    assert [job.request["negative_prompt"] for job in jobs(line, variables=SUBJECTS)] == ["cat", "big dog"]


@pytest.mark.parametrize("prompt", ["A street", "{{x}} {y}"])
def test_a_line_without_any_of_an_options_variables_stays_as_it_is(prompt):
    (job,) = jobs({**LINE, "prompt": prompt}, variables=SUBJECTS)
    assert (job.id, job.request["prompt"], job.metadata) == ("a", prompt, None)


def test_a_value_that_looks_like_a_variable_is_not_replaced_again():
    assert prompts({**LINE, "vars": {"subject": ["{subject} {{}}"]}}) == ["A {subject} {{}} at dusk"]


def test_a_variable_without_values_is_an_error_in_a_line_with_others():
    line = {**LINE, "prompt": "{subject} {subjekt} {mood}"}
    assert messages(line, variables=SUBJECTS) == [
        "prompt: {subjekt} has no values; did you mean 'subject'?",
        "prompt: {mood} has no values; add --var mood=A,B, or write {{mood}} for a brace",
    ]


def test_a_prompt_that_seems_to_have_a_variable_gets_a_warning_if_none_has_values():
    (job,) = jobs(LINE)
    assert job.request["prompt"] == LINE["prompt"]
    assert job.doubts == (("prompt", "{subject} is sent as written; --var subject=A,B gives it values"),)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, 'vars: expected an object of arrays, as in {"subject": ["a cat", "a dog"]}'),
        (None, 'vars: expected an object of arrays, as in {"subject": ["a cat", "a dog"]}'),
        ({"subject": []}, "vars.subject: expected an array of at least one value"),
        ({"subject": "cat"}, "vars.subject: expected an array of at least one value"),
        ({"subject": ["cat", "cat"]}, 'vars.subject: lists "cat" 2 times'),
        ({"subject": ["cat", 1]}, "vars.subject: 1 is not text; put it in quotes"),
        ({"subject": ["cat"], "mood": ["calm"]}, "vars.mood: is not in the prompt; write it there in braces"),
    ],
)
def test_a_mistake_in_a_lines_variables_is_reported(variables, found):
    assert messages({**LINE, "vars": variables}) == [found]


def test_a_name_with_other_characters_is_no_variable():
    (found,) = messages({**LINE, "vars": {"big subject": ["cat"]}})
    assert found.startswith("vars.big subject: is not a variable's name")


def test_prompts_of_a_matrix_get_only_the_variables_that_they_name():
    line = {"model": "m", "matrix": {"prompt": ["a {subject}", "a street"]}}
    assert prompts(line, variables=SUBJECTS) == ["a cat", "a street", "a big dog"]
    assert prompts({"model": "m"}, variables=SUBJECTS, values={"prompt": "the {subject}"}) == ["the cat", "the big dog"]


def test_more_combinations_than_a_line_may_make_are_an_error_unless_a_sample_is_drawn():
    values = {name: [str(number) for number in range(30)] for name in "abc"}
    line = {**LINE, "prompt": "{a} {b} {c}"}
    assert messages(line, variables=values) == [
        "vars: makes 27,000 jobs; at most 10,000 a line; --sample N draws some of them"
    ]
    drawn = [job.id for job in jobs(line, variables=values, draw=1)]
    assert len(set(drawn)) == len(drawn) == MAX_JOBS
    assert drawn == [job.id for job in jobs(line, variables=values, draw=1)]
    assert drawn != [job.id for job in jobs(line, variables=values, draw=2)]


def test_a_matrix_from_an_option_multiplies_lines_that_lack_the_field():
    given = {"matrix": {"seed": [1, 2]}}
    assert [job.id for job in jobs({"id": "a", "model": "m", "prompt": "p"}, **given)] == ["a__seed-1", "a__seed-2"]
    assert [job.id for job in jobs({"id": "a", "model": "m", "prompt": "p", "seed": 7}, **given)] == ["a"]
    line = {"id": "a", "model": "m", "prompt": "p", "matrix": {"seed": [3], "steps": [4]}}
    assert [job.id for job in jobs(line, **given)] == ["a__seed-3__steps-4"]


def test_a_matrix_from_an_option_is_for_every_kind_of_line_whose_endpoint_takes_the_field():
    batch = {"custom_id": "a", "method": "POST", "url": "/v1/image/generate", "body": {"model": "m", "prompt": "p"}}
    assert [job.id for job in jobs(batch, matrix={"seed": [1, 2]})] == ["a__seed-1", "a__seed-2"]
    (job,) = jobs({**batch, "url": "/v1/images/generations"}, matrix={"seed": [1, 2]})
    assert job.id == "a"


def test_a_job_written_as_a_line_is_not_multiplied_again():
    given = {"matrix": {"seed": [1, 2]}, "variables": SUBJECTS}
    for job in jobs(LINE, **given):
        (again,) = jobs(orjson.loads(native_line(job)), **given)
        assert (again.id, again.request_hash, again.metadata) == (job.id, job.request_hash, job.metadata)


# Spaces around the x keep single braces from making it the name of a variable.
texts = st.lists(st.sampled_from(["{a}", "{b}", "{{", "}}", "{", "}", " x ", "{1}", " "]), max_size=6).map("".join)


@given(prompt=texts, values=st.lists(texts.filter(str.strip), min_size=1, max_size=3, unique=True))
def test_whatever_the_braces_a_written_job_is_the_job_again(prompt, values):
    line = {"id": "j", "model": "m", "prompt": f"{prompt} {{a}}", "vars": {"a": values}}
    parsed = read(line, variables={"b": ["1", "2"]})
    assert len(parsed.jobs) == len(values) * (2 if "{b}" in prompt.replace("{{", "  ") else 1)
    for job in parsed.jobs:
        (again,) = jobs(orjson.loads(native_line(job)))
        assert (again.id, again.request_hash, again.metadata) == (job.id, job.request_hash, job.metadata)


def test_pixels_and_ratios_fit_into_one_matrix_with_fields_of_single_models():
    models = {"pixels": {"width": 512}, "ratios": {"aspect_ratio": "1:1", "steps": 9}}
    given = {"matrix": {"model": ["pixels", "ratios"]}, "models": models, "values": {"steps": 5}}
    assert [job.request for job in jobs({"prompt": "p"}, **given)] == [
        {"prompt": "p", "model": "pixels", "width": 512, "steps": 5},
        {"prompt": "p", "model": "ratios", "aspect_ratio": "1:1", "steps": 9},
    ]
    (own,) = jobs({"prompt": "p", "model": "ratios", "steps": 1}, models=models)
    assert own.request["steps"] == 1
    (named,) = jobs({"prompt": "p"}, models=models, values={"model": "pixels"})
    assert named.request["width"] == 512


def test_values_that_make_the_same_prompt_make_one_job_unless_ids_tell_them_apart():
    line = {"model": "m", "prompt": "{a} {b}", "vars": {"a": ["red", "red wine"], "b": ["wine glass", "glass"]}}
    assert prompts(line) == ["red wine glass", "red glass", "red wine wine glass"]
    assert len(jobs({**line, "id": "g"})) == 4


def test_a_prompt_that_is_not_text_is_reported_as_such():
    assert messages({**LINE, "prompt": 5}, variables=SUBJECTS) == ["prompt: 5 is a number; expected a string"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,3", [1, 2, 3]),
        (" 1, 2 ", [1, 2]),
        ("[1, 2]", [1, 2]),
    ],
)
def test_values_are_numbers_where_the_field_takes_them(text, values):
    assert parse_matrix([f"seed={text}"]) == {"seed": values}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("cat,dog", ["cat", "dog"]),
        ('"a red, fat cat",dog', ["a red, fat cat", "dog"]),
        ('"say ""hi"""', ['say "hi"']),
        ('["a, b", "c"]', ["a, b", "c"]),
        ("[cat],dog", ["[cat]", "dog"]),
        ("12,13", ["12", "13"]),
    ],
)
def test_values_of_a_variable_are_text_and_quotes_keep_commas(text, values):
    assert parse_variables([f"subject={text}"]) == {"subject": values}


def test_a_file_gives_a_value_a_line_without_comments(tmp_path):
    file = tmp_path / "animals.txt"
    file.write_text("\ufeff# animals\ncat\n\n  a red, fat dog  \r\n#\n#hashtag\n", encoding="utf-8")
    assert parse_variables([f"subject=@{file}"]) == {"subject": ["cat", "a red, fat dog", "#hashtag"]}


@pytest.mark.parametrize(
    ("read", "setting", "found"),
    [
        (parse_matrix, "seed", "--matrix seed: expected FIELD=A,B,C, as in --matrix seed=1,2,3"),
        (parse_matrix, "sead=1", "--matrix sead: no endpoint has this field; did you mean 'seed'?"),
        (parse_matrix, "seed=1,x", "--matrix seed: 'x' is a string; expected an integer from -999999999 to 999999999"),
        (parse_matrix, "seed=1,1", "--matrix seed: lists 1 2 times"),
        (parse_matrix, "seed=", "--matrix seed: a value is empty"),
        (parse_matrix, "seed=[99999999999999999999]", "--matrix seed: 99999999999999999999 has more than 64 bits"),
        (parse_matrix, "style_preset=\udcff", "--matrix style_preset: the value is not valid UTF-8"),
        (parse_variables, "subject", "--var subject: expected NAME=A,B,C or NAME=@FILE"),
        (parse_variables, "a b=1", "--var a b: is not a variable's name"),
        (parse_variables, "a=1,,2", "--var a: a value is empty"),
        (parse_variables, 'a="x" y,z', "--var a: ',' expected after '\"'; put a value with a comma in double quotes"),
        (parse_variables, "a=[1]", "--var a: 1 is not text; put it in quotes"),
        (parse_variables, "a=@none.txt", "--var a: none.txt cannot be read: No such file or directory"),
        (parse_variables, "a=@empty.txt", "--var a: empty.txt holds no values"),
        (parse_variables, "a=@bytes.txt", "--var a: bytes.txt cannot be read: not valid UTF-8"),
    ],
)
def test_a_mistake_in_a_list_is_one_line(read, setting, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\n")
    with pytest.raises(UsageError) as caught:
        read([setting])
    assert str(caught.value).startswith(found)


def test_the_lists_of_a_program_are_checked_too():
    check_lists({"seed": (1, 2)}, {"subject": ("cat",)})
    check_lists({"sead": (1, 2)}, {}, allow_unknown=True)
    with pytest.raises(UsageError, match="--matrix sead"):
        check_lists({"sead": (1, 2)}, {})
    with pytest.raises(UsageError, match="--var subject"):
        check_lists({}, {"subject": ()})
