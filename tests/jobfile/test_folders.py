"""A folder of texts as a jobs file."""

import os

import pytest

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.jobfile.folders import natural


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder named "prompts" in the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    return tmp_path / "prompts"


def jobs(path="prompts"):
    with open_source(path) as source:
        found = list(JobIndex.build(source, defaults=Defaults({"model": "venice-sd35"})).jobs_in_order())
        return found, source.notices


def mistakes(path="prompts"):
    with pytest.raises(JobsFileError) as caught:
        jobs(path)
    return str(caught.value).splitlines()


def test_every_text_is_a_job_with_the_files_name_as_its_id(folder):
    for number in (10, 2, 1):
        (folder / f"{number}.txt").write_text(f"Cat {number}\nsits.\n\n")
    (folder / "B-1.TXT").write_bytes(b"\xef\xbb\xbfDog\r\nruns\r\n")
    found, notices = jobs()
    assert [(job.id, job.request["prompt"]) for job in found] == [
        ("1", "Cat 1\nsits."),
        ("2", "Cat 2\nsits."),
        ("10", "Cat 10\nsits."),
        ("B-1", "Dog\nruns"),
    ]
    assert notices == ()
    assert [job.id for job in jobs("prompts/")[0]] == [job.id for job in found]


def test_what_else_is_in_the_folder_is_left_out_with_one_notice(folder):
    for name in ("a.txt", "README.txt", "license.txt", ".hidden.txt", "cat.png"):
        (folder / name).write_text("a cat")
    (folder / "old").mkdir()
    (folder / "old" / "b.txt").write_text("b")
    (folder / "gone.txt").symlink_to("nowhere")
    found, notices = jobs()
    assert [job.id for job in found] == ["a"]
    assert notices == (
        "prompts: 5 other files (.hidden.txt, cat.png, gone.txt, …) and 1 subfolder (old) left out; "
        "only .txt files in the folder itself are prompts, without README and hidden files",
    )


def test_symbolic_links_are_followed(folder, tmp_path):
    (tmp_path / "blob").write_text("a cat")
    (folder / "a.txt").symlink_to(tmp_path / "blob")
    assert [job.request["prompt"] for job in jobs()[0]] == ["a cat"]


def test_files_without_a_prompt_are_reported_by_their_names_once_for_each_kind(folder):
    contents = {"1": b"a", "2": b"", "3": b" \n", "4": b"\xff", "5": b"a\0b", "6": b"a" * (1 << 21), "7": b""}
    for name, content in contents.items():
        (folder / f"{name}.txt").write_bytes(content)
    assert mistakes() == [
        "prompts/2.txt: is empty; expected a prompt; the same in 2 more files: prompts/3.txt, prompts/7.txt",
        "prompts/4.txt: not valid UTF-8; save the file as UTF-8",
        "prompts/5.txt: is not text: holds NUL bytes",
        "prompts/6.txt: is larger than 1 MB; expected one prompt",
    ]


def test_a_mistake_of_a_job_names_its_file(folder):
    (folder / "a.txt").write_text("a")
    (folder / "b.TXT").write_text("b")
    (folder / "b.txt").write_text("b")
    assert mistakes() == ["prompts/b.txt: id: 'b' is used in prompts/b.TXT already"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_name_that_is_no_text_is_a_mistake(folder):
    (folder / os.fsdecode(b"\xff.txt")).write_text("a")
    (told,) = mistakes()
    assert told.endswith(": the file's name is not valid UTF-8; rename it")


def test_a_folder_without_texts_is_refused_with_what_may_be_meant(folder, monkeypatch):
    what = "is a folder without .txt files; expected a file of jobs, or a folder with one prompt a .txt file"
    assert mistakes() == [f"prompts: {what}"]
    (folder / "set.json").write_text("[]")
    (folder / "cat.png").write_text("")
    assert mistakes() == [f"prompts: {what}; did you mean 'prompts/set.json'?"]
    (folder / "inner").mkdir()
    assert mistakes() == [f"prompts: {what}; did you mean 'prompts/set.json'?"]
    (folder / "inner" / "a.txt").write_text("a")
    assert mistakes() == [f"prompts: {what}; did you mean 'prompts/inner'?"]

    def deny(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", deny)
    assert mistakes() == [f"prompts: {what}; did you mean 'prompts/set.json'?"]


def test_a_folder_that_cannot_be_listed_is_one_error(folder, monkeypatch):
    def deny(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    assert mistakes() == ["prompts: cannot be read: Permission denied"]


def test_names_are_sorted_as_people_count():
    names = ["a10", "a2", "A1", "b", "10", "9", "x1y20", "x1y3"]
    assert sorted(names, key=natural) == ["9", "10", "A1", "a2", "a10", "b", "x1y3", "x1y20"]
