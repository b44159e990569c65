"""JSON arrays and lines of JSON strings as jobs files."""

import gzip
import io
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, arrays, open_source
from venice_batch.jobfile.arrays import ArrayError, elements
from venice_batch.jobfile.reading import MAX_LINE_BYTES, TooLong, lines

MODEL = Defaults({"model": "venice-sd35"})


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into the current folder, so that messages hold its bare name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


def jobs(path):
    with open_source(path) as source:
        return list(JobIndex.build(source, defaults=MODEL).jobs_in_order())


def mistakes(path):
    with pytest.raises(JobsFileError) as caught:
        jobs(path)
    return str(caught.value).splitlines()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(VALUES), st.sampled_from([None, 0, 3]), st.integers(1, 70), st.booleans())
def test_the_elements_of_any_array_are_found_at_any_size_of_block(values, indent, block, ascii_only):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", block)
        found = list(elements(io.BytesIO(text.encode())))
    assert [orjson.loads(piece) for _, piece in found] == values
    assert all(text.splitlines()[line - 1].strip() for line, _ in found)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_no_text_is_taken_for_an_array_that_json_does_not_take_for_one(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", block)
        try:
            found = [orjson.loads(piece) for _, piece in elements(io.BytesIO(b"[" + text))]
        except (ArrayError, orjson.JSONDecodeError):
            return
    assert orjson.loads(b"[" + text) == found


def test_deep_elements_are_found_too(write):
    deep = b'{"prompt": "a]}\\"", "metadata": ' + b'{"a": [' * 20 + b"1" + b"]}" * 20 + b"}"
    assert [piece for _, piece in elements(io.BytesIO(b"[" + deep + b",\n" + deep + b"]"))] == [deep, deep]


def test_an_element_of_more_than_a_megabyte_is_known_by_its_size():
    long = b'{"prompt": "' + b"\\u0041 " * MAX_LINE_BYTES + b'"}'
    middle = b'"' + b"x" * MAX_LINE_BYTES + b'"'
    found = [piece for _, piece in elements(io.BytesIO(b'["a", %s, %s, "b"]' % (long, middle)))]
    assert found == [b'"a"', TooLong(len(long)), TooLong(len(middle)), b'"b"']


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('["a"', 1, "the array ends in the middle, after 1 element; the file may be cut"),
        ('["a",\n', 2, "the array ends in the middle, after 1 element; the file may be cut"),
        ('["a",\n{"b": "', 2, "an element begins here that does not end; the file may be cut"),
        ('["a", "b', 1, "an element begins here that does not end; the file may be cut"),
        ('["a"\n"b"]', 2, "expected a comma or ] after element 1"),
        ('["a"}', 1, "expected a comma or ] after element 1"),
        ('["a",]', 1, "expected a value before this comma or bracket"),
        ("[,]", 1, "expected a value before this comma or bracket"),
        ('["a"]\n["b"]', 2, "another value follows the array; a file holds one array, or one object a line"),
    ],
)
def test_a_damaged_array_is_refused_where_that_shows(write, text, line, what):
    assert mistakes(write("jobs.json", text)) == [f"jobs.json:{line}: {what}"]


def test_an_array_without_elements_holds_no_jobs(write):
    assert mistakes(write("jobs.json", " [ ] ")) == ["jobs.json: holds no jobs"]


def test_an_array_of_objects_makes_the_jobs_of_its_json_lines(write):
    objects = [{"id": f"p{number}", "prompt": f"a cat {number}", "seed": number} for number in range(30)]
    write("jobs.jsonl", "\n".join(map(json.dumps, objects)))
    for indent in (None, 2):
        write("jobs.json", json.dumps(objects, indent=indent))
        assert jobs("jobs.json") == jobs("jobs.jsonl")


def test_an_array_of_strings_makes_a_job_of_each_and_equal_ones_make_two(write):
    write("jobs.json", '["a cat", "a dog",\r\n " a cat"\r\n, "a cat"]')
    found = jobs("jobs.json")
    assert [job.request["prompt"] for job in found] == ["a cat", "a dog", " a cat", "a cat"]
    assert [job.line for job in found] == [1, 2, 3, 4]
    assert found[3].id == f"{found[0].id}-2"
    with open_source("jobs.json") as source:
        assert not source.has_ids


@pytest.mark.parametrize("first", ["", "\ufeff", "\n\n"])
def test_lines_of_json_strings_are_prompts(write, first):
    write("jobs.jsonl", f'{first}"a cat"\n\n  "a dog, \\"sitting\\""  \r\n"a cat"\n')
    found = jobs("jobs.jsonl")
    start = 1 + first.count("\n")
    assert [(job.line - start, job.request["prompt"]) for job in found] == [
        (0, "a cat"),
        (2, 'a dog, "sitting"'),
        (3, "a cat"),
    ]
    assert found[2].id == f"{found[0].id}-2"


def test_an_object_among_lines_of_strings_is_a_mistake(write):
    write("jobs.jsonl", '"a cat"\n{"prompt": "a dog"}\n3\n4\n5\n')
    assert mistakes("jobs.jsonl") == [
        "jobs.jsonl:2: is an object; expected a string, as line 1 is",
        "jobs.jsonl:3: is a number; expected a string, as line 1 is; the same on 2 more lines: 4-5",
    ]


def test_mixed_elements_are_reported_once_for_each_kind(write):
    mixed = [1, {"prompt": "a"}, 2, {"prompt": "b"}, "c", ["d"], None, True, 3]
    assert mistakes(write("jobs.json", json.dumps(mixed))) == [
        "jobs.json: element 1: is a number; expected an object or a string",
        "jobs.json: element 3: is a number; expected an object, as element 2 is",
        "jobs.json: element 5: is a string; expected an object, as element 2 is",
        "jobs.json: element 6: is an array; expected an object, as element 2 is",
        "jobs.json: element 7: is null; expected an object, as element 2 is",
        "jobs.json: element 8: is a boolean; expected an object, as element 2 is",
        "jobs.json: element 9: is a number; expected an object, as element 2 is",
    ]


def test_a_mistake_is_on_the_line_where_an_editor_finds_its_element(write):
    objects = [{"prompt": "a"}, {"prompt": "b", "widht": 8}, {"prompt": "c", "widht": 8}, {"prompt": "d", "widht": 8}]
    (told,) = mistakes(write("jobs.json", json.dumps(objects, indent=1)))
    assert told.startswith("jobs.json:5: widht: unknown field")
    assert told.endswith("; the same in 2 more elements: 3-4")


def test_elements_that_share_a_line_are_known_by_their_number(write):
    (told,) = mistakes(write("jobs.json", '[{"prompt": "a"},\n{"prompt": "b"}, {"prompt": ""}]'))
    assert told.startswith("jobs.json: element 3: prompt: ")


def test_a_repeated_id_names_both_places(write):
    same = [{"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}]
    assert mistakes(write("a.json", json.dumps(same))) == ["a.json: element 2: id: 'x' is used in element 1 already"]
    assert mistakes(write("a.json", json.dumps(same, indent=0))) == ["a.json:6: id: 'x' is used on line 2 already"]
    twice = [{"prompt": "a"}] * 2
    (told,) = mistakes(write("a.json", json.dumps(twice)))
    assert told.startswith("a.json: element 2: id: the request is that of element 1, where no id tells them apart")


def test_a_link_to_another_element_names_its_place(write):
    chained = [
        {"id": "cat", "model": "venice-sd35", "prompt": "a", "variants": 2},
        {"id": "b", "endpoint": "/image/upscale", "image": {"job": "cat", "variant": 3}},
        {"id": "c", "endpoint": "/image/upscale", "image": {"job": "caat"}},
    ]
    write("a.json", json.dumps(chained))
    with pytest.raises(JobsFileError) as caught, open_source("a.json") as source:
        JobIndex.build(source)
    assert str(caught.value).splitlines() == [
        "a.json: element 2: image: there is no variant 3: 'cat' (element 1) makes 2 images",
        "a.json: element 3: image: no job 'caat' is in this file; did you mean 'cat' (element 1)?",
    ]


@pytest.mark.parametrize(
    ("element", "what"),
    [
        ('{"prompt": "a", }', "not valid JSON: "),
        ('{"prompt":\n "a" "b"}', "not valid JSON: "),
        ('{"prompt": "a\nb"}', "not valid JSON: "),
        ('{"prompt": "a]', "an element begins here that does not end"),
        ("nul", "not valid JSON: "),
        (b'{"prompt":\n"\xff"}', "not valid UTF-8; save the file as UTF-8"),
        (b'"\xff"', "not valid UTF-8; save the file as UTF-8"),
    ],
)
def test_an_element_that_is_no_json_is_reported(write, element, what):
    element = element if isinstance(element, bytes) else element.encode()
    (told,) = mistakes(write("jobs.json", b'[\n{"prompt": "a"},\n' + element + b"\n]"))
    assert told.startswith(f"jobs.json:3: {what}")


def test_what_json_readers_lose_is_a_mistake_in_an_array_too(write):
    (told,) = mistakes(write("jobs.json", '[{"prompt": "a",\n "prompt": "b"}]'))
    assert told == "jobs.json:1: prompt: is given twice on the line; keep one of them"


def test_a_long_element_is_a_mistake(write):
    (told,) = mistakes(write("jobs.json", json.dumps(["a", "b" * 1_200_000])))
    assert told == "jobs.json: element 2: is 1.1 MB; at most 1 MB"
    (told,) = mistakes(write("jobs.jsonl", '"a"\n"' + "b" * 1_200_000 + '"'))
    assert told == "jobs.jsonl:2: is 1.1 MB; at most 1 MB"


@pytest.mark.no_cover
def test_an_array_takes_a_few_megabytes_whatever_its_size(write):
    write("jobs.json", b"[" + b",".join([b'{"prompt": "%s"}' % (b"a" * 1000)] * 40_000) + b"]")
    tracemalloc.start()
    with open_source("jobs.json") as source:
        count = sum(1 for _ in lines(source.file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 12e6


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            {"data": ["a"]},
            "holds one JSON object, whose list is under 'data'; take it out: jq -c '.data[]' s.json > jobs.jsonl",
        ),
        (
            {"the set": ["a"], "b": [{}]},
            "holds one JSON object, whose lists are under 'the set', 'b'; take one out: "
            """jq -c '.["the set"][]' s.json > jobs.jsonl""",
        ),
        (
            {"0": {"prompt": "a"}, "1": {"prompt": "b"}},
            "holds one JSON object with a job under each key; expected one a line: jq -c '.[]' s.json > jobs.jsonl",
        ),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_is_refused_with_the_command_that_takes_its_jobs_out(write, found, told, indent):
    assert mistakes(write("s.json", json.dumps(found, indent=indent))) == [f"s.json: {told}"]


def test_the_command_for_a_packed_object_unpacks_it(write):
    text = b'{"data": ["a"]}'
    take = "take it out: {} > jobs.jsonl"
    assert mistakes(write("s.json.gz", gzip.compress(text)))[0].endswith(
        take.format("gzip -dc s.json.gz | jq -c '.data[]'")
    )
    with pytest.raises(JobsFileError, match=r"take it out: pipe it through jq -c '\.data\[\]'$"):
        open_source("-", io.BytesIO(b'{\n"data": ["a"]}')).__enter__()


def test_one_job_in_a_json_file_is_a_job(write):
    assert len(jobs(write("s.json", '{"prompt": "a", "metadata": {"tags": ["b"]}}'))) == 1
    assert mistakes(write("s.json", '{"numbers": [1]}'))[0].startswith("s.json:1: numbers: unknown field")
    told = "s.json: holds JSON spread over several lines; expected one object a line: jq -c . jobs.json > jobs.jsonl"
    assert mistakes(write("s.json", '{\n"prompt": "a"}')) == [told]
    assert mistakes(write("s.json", "{\n")) == [told]
    assert mistakes(write("s.json", '{\n"numbers": {"a": 1}}')) == [told]
    assert len(jobs(write("s.json", '{"prompt": "a"}\n{"prompt": "b"}'))) == 2
