"""Equal files of requests that differ only in their seeds."""

import msgspec
import pytest
from records import IMAGE, failed, outcome

from venice_batch.model import Flags
from venice_batch.report.seeds import IgnoredSeed, SeedCheck


def made(job_id, seed, sha256, *, lane="gpt-image-2", prompt="p", **changes):
    files = (msgspec.structs.replace(IMAGE, sha256=sha256 * 64),)
    request = {"model": lane, "prompt": prompt, "seed": seed}
    return outcome(job_id, lane=lane, files=files, request=request, **changes)


def ignored(*outcomes):
    check = SeedCheck()
    for one in outcomes:
        check.add(one)
    return check.ignored()


def test_a_model_whose_files_are_all_equal_ignored_the_seed():
    (found,) = ignored(made("a", 1, "0"), made("b", 2, "0"), made("c", 3, "0"))
    assert found == IgnoredSeed("gpt-image-2", 3, 3)
    assert found.text == "gpt-image-2 ignored the seed: 3 of 3 pairs have equal files"
    assert IgnoredSeed("m", 1, 1).text == "m ignored the seed: 1 pair has equal files"


def test_a_model_with_some_equal_files_may_ignore_it():
    (found,) = ignored(made("a", 1, "0"), made("b", 2, "0"), made("c", 3, "1"))
    assert found.text == "gpt-image-2 may ignore the seed: 1 of 3 pairs has equal files"
    assert IgnoredSeed("m", 30, 12).text == "m may ignore the seed: 12 of 30 pairs have equal files"


def test_each_model_is_judged_for_itself():
    found = ignored(
        *(made(f"a{seed}", seed, "0") for seed in range(4)),
        *(made(f"b{seed}", seed, str(seed), lane="flux") for seed in range(4)),
        *(made(f"c{seed}", seed, "5", lane="a") for seed in range(2)),
    )
    assert found == (IgnoredSeed("a", 1, 1), IgnoredSeed("gpt-image-2", 6, 6))


@pytest.mark.parametrize(
    "other",
    [
        made("b", 1, "0"),  # the same seed
        made("b", 2, "1"),
        made("b", 2, "0", prompt="another"),
        made("b", 2, "0", flags=Flags(blurred=True)),
        made("b", 2, "0", flags=Flags(content_violation=True)),
        made("b", None, "0"),
        outcome("b", lane="gpt-image-2"),
        failed("b", lane="gpt-image-2", request={"model": "gpt-image-2", "prompt": "p", "seed": 2}),
    ],
)
def test_other_jobs_say_nothing_about_the_seed(other):
    assert ignored(made("a", 1, "0"), other) == ()


def test_of_two_jobs_with_the_same_seed_the_last_counts():
    assert ignored(made("a", 1, "0"), made("b", 1, "1"), made("c", 2, "1")) == (IgnoredSeed("gpt-image-2", 1, 1),)
    assert ignored(made("a", 1, "0"), made("c", 2, "1"), made("b", 1, "1")) == (IgnoredSeed("gpt-image-2", 1, 1),)


def test_a_seed_of_any_type_is_compared():
    assert ignored(made("a", [1], "0"), made("b", {"x": 1}, "0")) == (IgnoredSeed("gpt-image-2", 1, 1),)
