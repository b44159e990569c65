"""Twelve published prompt sets, in small files of their published shape with prompts of our own: checked and run."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from command import run
from pyarrow import parquet

pytestmark = pytest.mark.no_cover

SETS = Path(__file__).parent / "data" / "sets"
MODEL = ("--set", "model=venice-sd35", "--set", "width=64", "--set", "height=64")
SANDBOX = ("--sandbox", "--sandbox-latency", "0", "--sandbox-rpm", "0", "--sandbox-draw", "plain", "-q")

FILES = {
    "geneval": ("geneval", "evaluation_metadata.jsonl"),
    "geneval-plain": ("geneval", "generation_prompts.txt"),
    "geneval2": ("geneval2", "geneval2_data.jsonl"),
    "partiprompts": ("partiprompts", "PartiPrompts.tsv"),
    "drawbench": ("drawbench", "drawbench.csv"),
    "t2i-compbench": ("t2i-compbench", "color_val.txt"),
    "dpg-bench": ("dpg-bench", "prompts"),
    "hpsv2": ("hpsv2", "concept-art.json"),
    "genai-bench": ("genai-bench", "test-00000-of-00001.parquet"),
    "wise": ("wise", "natural_science.json"),
    "oneig": ("oneig", "OneIG-Bench.csv"),
    "unigenbench": ("unigenbench", "test_prompts_en.csv"),
}
"""The preset and the file of each."""

LAST = {
    "geneval": {"tag": "color_attr"},
    "geneval-plain": {},
    "geneval2": {"atom_count": 3, "skills": ["count", "attribute", "object"]},
    "partiprompts": {"Category": "Indoor Scenes", "Note": "A made-up row for tests"},
    "drawbench": {"Category": "Text"},
    "t2i-compbench": {"category": "color_val"},
    "dpg-bench": {},
    "hpsv2": {"style": "concept-art"},
    "genai-bench": {"Tags": {"basic_skills": ["attribute"], "advanced_skills": ["counting"]}},
    "wise": {"Category": "Biology", "Subcategory": "Behavior"},
    "oneig": {"prompt_length": "middle", "type": "NP"},
    "unigenbench": {},
}
"""Some of the metadata of each set's last prompt."""

IDS = {
    "dpg-bench": "whoops1",
    "genai-bench": "00023",
    "wise": "724",
    "oneig": "General_Object-007",
    "unigenbench": "23",
}
"""The ids of the last prompts of the sets that have ids."""


@pytest.fixture(params=FILES)
def published(request, tmp_path, monkeypatch):
    """Copy a set into the current folder, as somebody has downloaded it; return its name, preset and file."""
    monkeypatch.chdir(tmp_path)
    preset, name = FILES[request.param]
    if preset == "genai-bench":
        write_genai_bench(tmp_path / name)
    elif (SETS / preset / name).is_dir():
        shutil.copytree(SETS / preset / name, tmp_path / name)
    else:
        shutil.copy(SETS / preset / name, tmp_path / name)
    return request.param, preset, name


def write_genai_bench(path):
    """Write a table with the nested columns and the images of GenAI-Bench."""
    prompts = (SETS / "t2i-compbench" / "color_val.txt").read_text().splitlines()
    rows = [
        {
            "Index": f"{number:05}",
            "Prompt": f"{prompt}, on a table",
            "Tags": {"basic_skills": ["attribute"], "advanced_skills": ["counting"] if number % 2 else []},
            "HumanRatings": {"DALLE_3": [5, 4, 5], "SDXL_Base": [3, 3, 2]},
            "DALLE_3": {"bytes": b"\xff\xd8\xff" + bytes(100), "path": f"{number:05}.jpeg"},
            "SDXL_Base": {"bytes": b"\xff\xd8\xff" + bytes(100), "path": f"{number:05}.jpeg"},
        }
        for number, prompt in enumerate(prompts)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)


def records(output):
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]


def test_a_set_is_checked_expanded_and_run_as_it_was_published(published, tmp_path):
    name, preset, file = published
    checked = run("check", "--from", preset, file, *MODEL, "--offline", "--strict")
    assert checked.code == 0, checked.err
    assert checked.out.startswith("24 jobs, all lines valid\n")
    jobs = [json.loads(line) for line in run("expand", "--from", preset, file, *MODEL).out.splitlines()]
    assert len(jobs) == len({job["id"] for job in jobs}) == 24
    assert LAST[name].items() <= jobs[-1].get("metadata", {}).items()
    if name in IDS:
        assert jobs[-1]["id"] == IDS[name]
    output = tmp_path / "output" / Path(file).stem
    for number in (1, 2):
        done = run("run", "--from", preset, file, *MODEL, *SANDBOX, "--shard", f"{number}/2", "--junit", "junit.xml")
        assert done.code == 0, done.err
    made = {record["id"]: record["request"]["prompt"] for record in records(output)}
    assert made == {job["id"]: job["prompt"] for job in jobs}
    assert all((output / one["path"]).is_file() for record in records(output) for one in record["files"])
    again = run("run", "--from", preset, file, *MODEL, *SANDBOX, "--json")
    assert json.loads(again.out)["already_done"] == 24


def test_a_set_is_approved_and_run_as_approved(published):
    _, preset, file = published
    frozen = run("check", "--from", preset, file, *MODEL, "--offline", "--freeze", "approved.json")
    assert frozen.code == 0, frozen.err
    held = run("check", "--from", preset, file, *MODEL, "--offline", "--frozen", "approved.json")
    assert held.code == 0, held.err


@pytest.mark.parametrize("style", ["anime", "concept-art", "paintings", "photo"])
def test_every_style_of_hpsv2_is_an_array(style, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("expand", "--from", "hpsv2", str(SETS / "hpsv2" / f"{style}.json"), *MODEL)
    assert {json.loads(line)["metadata"]["style"] for line in found.out.splitlines()} == {style}


def test_the_chinese_prompts_of_unigenbench_are_read_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("expand", "--from", "unigenbench", str(SETS / "unigenbench" / "test_prompts_zh.csv"), *MODEL)
    assert json.loads(found.out.splitlines()[0])["prompt"].startswith("木刻风格")


def test_each_preset_of_the_package_is_tried():
    listed = json.loads(run("sets", "--json").out)
    names = {one["name"] for one in (listed["sets"] if isinstance(listed, dict) else listed)}
    assert names == {preset for preset, _ in FILES.values()}
