"""--from, --map and --unknown through the command line, in this process."""

import json
from pathlib import Path

import pytest
from command import run

SANDBOX = ["--sandbox", "--sandbox-latency", "0", "--offline", "--set", "width=64", "--set", "height=64"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [{"tag": "t", "include": [{"class": "bench"}], "prompt": f"a bench {n}"} for n in range(553)]
    lines[2]["exclude"] = lines[5]["exclude"] = []
    Path("geneval.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("draw.csv").write_text("Prompts,Category\na red car,Colors\ntwo dogs,Counting\n")


def project(text):
    Path("venice-batch.toml").write_text(text)


def expanded(*args):
    found = run("expand", *args, "--set", "model=m")
    assert (found.code, found.err) == (0, "")
    return [json.loads(line) for line in found.out.splitlines()]


def errors(*args):
    found = run(*args)
    assert found.code == 2
    return found.err.splitlines()


def test_a_file_without_options_says_in_a_line_for_each_kind_what_would_help():
    assert errors("check", "geneval.jsonl", "--sandbox") == [
        "geneval.jsonl:1: tag, include, exclude: unknown fields on all 553 lines; "
        "add --unknown metadata to keep what is no field, or --allow-unknown to send it",
        "geneval.jsonl:1: model: missing on all 553 lines; add --set model=NAME",
        "venice-batch: 1661 problems; nothing was sent; this may be a file of geneval: try --from geneval",
    ]
    assert errors("check", "geneval.jsonl", "--from", "geneval", "--sandbox")[-1] == (
        "venice-batch: 553 problems; nothing was sent"
    )
    Path("draw.csv").write_text("Prompts,Category\n" + "a,b\n" * 3)
    assert errors("check", "draw.csv", "--sandbox", "--set", "model=venice-sd35")[0] == (
        "draw.csv:2: prompt: missing on all 3 lines; add --map prompt=Prompts"
    )
    Path("b.csv").write_text("prompt_id,Prompt Length,Caption,prompt_en\n" + "1,2,3,4\n" * 3)
    assert errors("check", "b.csv", "--sandbox", "--set", "model=venice-sd35")[0].endswith("add --map prompt=prompt_en")
    Path("c.csv").write_text("prompt_id,tag\n" + "1,2\n" * 3)
    assert errors("check", "c.csv", "--sandbox", "--set", "model=venice-sd35")[0].endswith("add --set prompt=VALUE")
    Path("a.jsonl").write_text("".join(f'{{"id": {n}, "The Text": "p", "size": "x"}}\n' for n in range(30)))
    assert errors("check", "a.jsonl", "--sandbox", "--set", "model=venice-sd35")[:-1] == [
        'a.jsonl:1: id: 0 is a number; an id is text: put it in quotes, "0"; 29 more like it on line 2-30; '
        "or add --map id=id",
        "a.jsonl:1: The Text: unknown field; the same on all 30 lines; "
        "add --unknown metadata to keep what is no field, or --allow-unknown to send it",
        "a.jsonl:1: size: belongs to /images/generations; this line goes to /image/generate; the same on all 30 lines; "
        "to keep it as metadata: --map metadata.size=size",
        "a.jsonl:1: prompt: missing on all 30 lines; add --map 'prompt=The Text'",
    ]
    fixed = ["--map", "prompt=the text", "--map", "id=id", "--map", "metadata.size=size"]
    assert expanded("a.jsonl", *fixed)[3] == {"id": "3", "model": "m", "prompt": "p", "metadata": {"size": "x"}}


def test_the_options_make_a_foreign_file_run():
    found = run("geneval.jsonl", "--unknown", "metadata", "--set", "model=venice-sd35", "--limit", "3", *SANDBOX)
    assert found.code == 0
    assert sorted(path.name for path in Path("output/geneval/images").iterdir()) == [
        "0001-a-bench-0.webp", "0002-a-bench-1.webp", "0003-a-bench-2.webp",
    ]  # fmt: skip
    records = [json.loads(line) for line in Path("output/geneval/manifest.jsonl").read_text().splitlines()]
    assert {record["index"]: record["metadata"] for record in records}[2] == {
        "tag": "t", "include": [{"class": "bench"}], "exclude": [],
    }  # fmt: skip
    again = run("geneval.jsonl", "--from", "geneval", "--set", "model=venice-sd35", "--limit", "3", *SANDBOX)
    assert "3 done before" in again.out
    checked = run("check", "geneval.jsonl", "--from", "geneval", "--offline", "--set", "model=venice-sd35")
    assert checked.out.startswith("553 jobs, all lines valid\n")


def test_a_published_set_is_read_by_its_name():
    first, second = expanded("draw.csv", "--from", "drawbench")
    assert (first["prompt"], first["metadata"]) == ("a red car", {"Category": "Colors"})
    assert second["prompt"] == "two dogs"
    assert expanded("draw.csv", "--from", "drawbench", "--map", "prompt=category")[0] == {
        "id": expanded("draw.csv", "--map", "prompt=Category")[0]["id"],
        "model": "m",
        "prompt": "Colors",
        "metadata": {"Prompts": "a red car"},
    }
    assert errors("check", "geneval.jsonl", "--from", "geneval", "--unknown", "error", "--sandbox")[0].startswith(
        "geneval.jsonl:1: tag, include, exclude: unknown fields"
    )


def test_a_set_that_does_not_fit_the_file_says_so():
    assert errors("check", "draw.csv", "--from", "wise", "--sandbox") == [
        "draw.csv: --from wise: nothing is called 'Prompt' in this file; add --map prompt=Prompts",
        "venice-batch: 1 problem; nothing was sent",
    ]
    assert errors("check", "draw.csv", "--from", "wize") == [
        "venice-batch: --from wize: no such prompt set; did you mean 'wise'? `venice-batch sets` lists them"
    ]
    Path("a.csv").write_text("Quote,Author\nx,y\n")
    assert errors("check", "a.csv", "--from", "wise", "--sandbox")[0] == (
        "a.csv: --from wise: nothing is called 'Prompt' in this file, which has Quote, Author; add --map prompt=NAME"
    )
    # A file that has the field itself needs no column, such as a set's prompts alone.
    Path("prompts.txt").write_text("a bench\n")
    assert expanded("prompts.txt", "--from", "wise")[0]["prompt"] == "a bench"


def test_a_settings_file_remembers_the_map_for_the_files_that_have_the_columns():
    project('[map]\nprompt = "Prompts"\n"metadata.kind" = ["Category", "tag"]\n[profile.b.map]\nprompt = "Category"\n')
    assert expanded("draw.csv")[0] == {
        "id": expanded("draw.csv", "--no-config", "--map", "prompt=Prompts")[0]["id"],
        "model": "m",
        "prompt": "a red car",
        "metadata": {"kind": "Colors"},
    }
    assert expanded("draw.csv", "--profile", "b")[0]["prompt"] == "Colors"
    assert expanded("draw.csv", "--map", "prompt=Category")[0]["prompt"] == "Colors"
    assert expanded("geneval.jsonl", "--unknown", "metadata")[0]["metadata"]["kind"] == "t"
    shown = json.loads(run("config", "--json").out)
    assert shown["map"] == {
        "prompt": {"value": "Prompts", "from": "venice-batch.toml"},
        "metadata.kind": {"value": ["Category", "tag"], "from": "venice-batch.toml"},
    }
    assert "map.metadata.kind" in run("config", "check").out
    assert json.loads(run("config", "models", "--json").out)["map"] is None


def test_a_settings_file_adds_sets_of_its_own():
    project(
        '[from.mine]\ntitle = "Mine"\nmap = { prompt = "Category" }\nset = { width = 512, steps = 7 }\n'
        '[defaults]\nsteps = 8\n[run]\nfrom = "mine"\n[check]\nfrom = "mine"\n'
    )
    assert expanded("draw.csv") == expanded("draw.csv", "--from", "mine")
    first = expanded("draw.csv", "--from", "mine", "--matrix", "width=256")[0]
    assert (first["prompt"], first["width"], first["steps"]) == ("Colors", 256, 8)
    first = expanded("draw.csv", "--from", "mine", "--set", "steps=9")[0]
    assert (first["width"], first["steps"]) == (512, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[map]\npromt = "x"\n', "map.promt: no job has this field; did you mean 'prompt'?"),
        ("[map]\nprompt = 5\n", "map.prompt: expected the name of a column, or a list of names"),
        ("map = 5\n", "map: expected a table, as in [map]"),
        ('[run]\nmap = ["prompt=x"]\n', "run.map: columns belong in [map]"),
        ('[profile.x.map]\nid = []\n', "profile.x.map.id: expected the name of a column, or a list of names"),
        ('[map]\nimage = "/home/{name}"\n', "map.image: a picture is one column, without other text"),
        ("[from.A]\n", "from.A: a set's name has small letters, digits, dots, dashes and underscores"),
        ('[from.a]\non-finish = "rm"\n', "from.a.on-finish: no such key; the known ones are "
         "title, url, licence, file, layout, notes, prompts, map, unknown, set"),
    ],
)  # fmt: skip
def test_mistakes_in_settings_files_name_file_and_key(text, message):
    project(text)
    assert errors("config") == [f"venice-batch: venice-batch.toml: {message}"]


def test_the_maps_options_are_in_the_command_that_approves_prices():
    words = ["draw.csv", "--from", "drawbench", "--map", "id=Category", "--unknown", "metadata"]
    asked = [*words, "--set", "model=venice-sd35", "--offline"]
    assert run("check", *asked, "--freeze", "prices.json").code == 0
    approved = Path("prices.json").read_text()
    Path("prices.json").write_text(approved.replace('"image": 0.01', '"image": 0.001'))
    found = run("check", *asked, "--frozen", "prices.json")
    assert found.code == 2
    assert "--from drawbench --map id=Category --unknown metadata --set model=venice-sd35" in found.err


def test_names_are_completed(monkeypatch):
    def completed(*words):
        monkeypatch.setenv("_VENICE_BATCH_COMPLETE", "zsh_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(["venice-batch", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return run().out.split("\n")[1::3]

    assert completed("run", "draw.csv", "--from", "gene") == ["geneval", "geneval2"]
    assert completed("run", "draw.csv", "--map", "neg") == ["negative_prompt="]
    assert completed("run", "draw.csv", "--map", "prompt=P") == [""]
    assert "metadata." in completed("run", "draw.csv", "--map", "meta")
    project("[from.drawings]\n")
    assert completed("sets", "dra") == ["drawbench", "drawings"]
    project("from = 5\n")
    assert completed("sets", "dra") == ["drawbench"]
    project("[from.Drawings]\n")
    assert completed("sets", "dra") == ["drawbench"]
