import pytest

from venice_batch.cli.output_folder import default_output


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("jobs.jsonl", "jobs"),
        ("a/b/x.jsonl.gz", "x"),
        ("x.jsonl.zst", "x"),
        ("x.csv", "x"),
        ("-", "stdin"),
        ("plain", "plain"),
        (".jsonl", ".jsonl"),
    ],
)
def test_the_output_folder_is_named_after_the_jobs(name, stem):
    assert default_output(name).name == stem
