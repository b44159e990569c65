"""`venice-batch sets`, in this process."""

import json
from pathlib import Path

import pytest
from command import run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def test_the_sets_are_listed():
    head, *rows = run("sets").out.splitlines()
    assert head.split() == ["set", "prompts", "title", "layout"]
    assert [row.split()[0] for row in rows][:3] == ["geneval", "geneval2", "partiprompts"]
    assert len(rows) == 11


def test_own_sets_are_listed_with_their_file():
    Path("venice-batch.toml").write_text('[from.mine]\nset = { width = 64 }\n[from.wise]\ntitle = "W"\n')
    head, *rows = run("sets").out.splitlines()
    assert head.split()[-1] == "from"
    assert rows[-1].split() == ["mine", "-", "-", "-", "venice-batch.toml"]
    assert [row.split() for row in rows if row.startswith("wise")] == [["wise", "-", "W", "-", "venice-batch.toml"]]
    assert run("sets", "mine").out == "set    mine\ngives  width = 64\nfrom   venice-batch.toml\n"


def test_one_set_in_detail():
    shown = run("sets", "oneig").out
    assert "map      prompt = prompt_en or prompt_cn\n         id     = {category}-{id}\n" in shown
    assert "unknown  other columns become metadata\n" in shown
    found = run("sets", "oneg")
    assert (found.code, found.out) == (2, "")
    assert found.err == (
        "venice-batch: --from oneg: no such prompt set; did you mean 'oneig'? `venice-batch sets` lists them\n"
    )


def test_sets_as_json():
    listed = json.loads(run("sets", "--json").out)
    assert listed[8] == json.loads(run("sets", "wise", "--json").out)
    assert listed[8]["map"] == {"prompt": ["Prompt"], "id": ["prompt_id"]}
    assert (listed[8]["unknown"], listed[8]["from"], listed[8]["licence"]) == ("metadata", None, None)
