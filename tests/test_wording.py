"""Numbers of things in words."""

import pytest

from venice_batch.wording import counted


@pytest.mark.parametrize(("count", "told"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_one_thing_is_told_in_the_singular(count, told):
    assert counted(count, "job") == told
