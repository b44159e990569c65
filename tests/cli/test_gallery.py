"""The gallery through the command line: by `report`, and by `run --gallery`."""

import io
import json
import os
import sys

import click
import pytest

from venice_batch.cli.env import Environment
from venice_batch.cli.gallery import EVERY_S, Progress
from venice_batch.cli.main import main

JOB = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
RUN = ["jobs.jsonl", "--sandbox", "--sandbox-latency", "0"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text(json.dumps(JOB) + "\n")


@pytest.fixture
def made(capsys):
    assert main([*RUN, "-q"]) == 0
    capsys.readouterr()


def test_report_writes_the_gallery_and_says_where(made, tmp_path, capsys):
    assert main(["report", "output/jobs"]) == 0
    assert capsys.readouterr().out.endswith("\ngallery: output/jobs/gallery.html\n")
    assert '"src":"images/a.webp"' in (tmp_path / "output/jobs/gallery.html").read_text()


def test_report_without_gallery_writes_none(made, tmp_path, capsys):
    assert main(["report", "output/jobs", "--no-gallery"]) == 0
    assert "gallery" not in capsys.readouterr().out
    assert not (tmp_path / "output/jobs/gallery.html").exists()


def test_report_writes_it_elsewhere(made, tmp_path, capsys):
    assert main(["report", "output/jobs", "--html", "page.html"]) == 0
    assert capsys.readouterr().out.endswith("\ngallery: page.html\n")
    assert '"src":"output/jobs/images/a.webp"' in (tmp_path / "page.html").read_text()
    assert not (tmp_path / "output/jobs/gallery.html").exists()


@pytest.mark.parametrize(("options", "page"), [([], "output/jobs/gallery.html"), (["--no-gallery"], None)])
def test_as_json_the_report_is_one_object_that_names_the_page(made, capsys, options, page):
    assert main(["report", "output/jobs", "--json", *options]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["gallery"] == page
    assert found["lanes"]["venice-sd35"]["images"] == 1
    assert captured.err == ""


def test_a_name_that_is_no_page_s_is_refused(made, tmp_path, capsys):
    assert main(["report", "output/jobs", "--html", "jobs.jsonl"]) == 2
    assert capsys.readouterr().err == "venice-batch: --html jobs.jsonl: give a name that ends in .html\n"
    assert json.loads((tmp_path / "jobs.jsonl").read_text()) == JOB


def test_a_page_that_cannot_be_written_is_one_line_and_5(made, tmp_path, capsys):
    (tmp_path / "output/jobs/gallery.html").mkdir()
    assert main(["report", "output/jobs"]) == 5
    captured = capsys.readouterr()
    assert "venice-sd35" in captured.out
    assert captured.err == "venice-batch: output/jobs/gallery.html: is a folder; give the name of a file\n"


def test_a_run_makes_the_gallery_when_asked(tmp_path, capsys):
    assert main([*RUN, "--gallery"]) == 0
    assert "gallery: output/jobs/gallery.html\n" in capsys.readouterr().err
    assert '"src":"images/a.webp"' in (tmp_path / "output/jobs/gallery.html").read_text()


def test_a_quiet_run_makes_it_without_a_word(tmp_path, capsys):
    assert main([*RUN, "--gallery", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "output/jobs/gallery.html").exists()


def test_with_json_only_the_summary_is_on_standard_output(capsys):
    assert main([*RUN, "--gallery", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["succeeded"] == 1


def test_a_gallery_that_fails_costs_no_run_its_result(tmp_path, capsys):
    (tmp_path / "output/jobs/gallery.html").mkdir(parents=True)
    assert main([*RUN, "--gallery"]) == 0
    captured = capsys.readouterr()
    assert "venice-batch: warning: --gallery: output/jobs/gallery.html: is a folder" in captured.err
    assert "1 succeeded" in captured.out


def counted(stream, moments_s, numbers, of):
    """Count thumbnails up to `numbers` at `moments_s`."""
    now = iter(moments_s)
    progress = Progress(stream, now=lambda: next(now))
    for made in numbers:
        progress(made, of)
    progress.close()


def test_thumbnails_are_counted_now_and_then_and_at_the_end():
    stream = io.StringIO()
    counted(stream, [0.0, 1.0, 5.0, 6.0, 9.9, 10.0, 10.1], [1, 1500, 1501, 1502, 2999, 3000], 3000)
    lines = ["thumbnails: 1,500 of 3,000", "thumbnails: 2,999 of 3,000", "thumbnails: 3,000 of 3,000"]
    assert stream.getvalue().splitlines() == lines


def test_a_few_thumbnails_are_not_worth_a_line():
    stream = io.StringIO()
    counted(stream, [0.0, 1.0, 2.0], [1, 2], 2)
    assert stream.getvalue() == ""


def test_on_a_terminal_thumbnails_are_counted_in_one_line_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("venice_batch.cli.gallery.terminal_width", lambda stream: 80)
    stream = io.StringIO()
    counted(stream, [0.0, 0.1, 0.3, 0.4, 0.6, 0.7], [1, 117, 118, 190, 200], 200)
    shown = [f"\rthumbnails: {made} of 200" for made in (117, 190, 200)]
    assert stream.getvalue() == "".join(shown) + "\r\x1b[K"


def test_a_folder_whose_name_is_no_text_has_a_report(made, tmp_path, capsys):
    name = os.fsdecode(b"out\xff")
    (tmp_path / "output/jobs").rename(tmp_path / name)
    assert main(["report", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gallery"] == "out\ufffd/gallery.html"


def test_an_image_that_is_a_link_is_reported_in_one_line(made, tmp_path, capsys):
    image = tmp_path / "output/jobs/images/a.webp"
    image.rename(tmp_path / "private")
    image.symlink_to(tmp_path / "private")
    assert main(["report", "output/jobs"]) == 0
    reported = "left out everything but plain files of the folder: a: 'images/a.webp' is a link, which is not followed"
    assert capsys.readouterr().err == f"venice-batch: warning: {reported}\n"


def test_in_a_json_log_thumbnails_and_files_left_out_are_lines(made, capsys):
    env = Environment.of_process()
    env.messages.settle("json")
    moments = iter((0.0, EVERY_S))
    with click.Context(click.Command("run"), obj=env):
        progress = Progress(sys.stderr, now=lambda: next(moments))
        progress(3, 10)
        progress.close()
    env.messages.close()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["done"], line["total"]) == ("thumbnails", 3, 10)
    os.remove("output/jobs/images/a.webp")
    os.symlink("/etc/passwd", "output/jobs/images/a.webp")
    main([*RUN, "-q", "--gallery", "--log-format", "json", "--max-time", "1ms"])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines].count("notice") >= 1
