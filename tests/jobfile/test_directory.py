"""Jobs found by the hash of their id."""

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from venice_batch.jobfile.directory import Directory

# Hashes that share a bucket whatever the number of jobs, and some that are equal.
HASHES = st.sampled_from([number << 60 for number in range(-8, 8)]) | st.integers(-4, 4)


@given(st.lists(HASHES, max_size=40), HASHES)
def test_every_job_with_a_hash_is_found_and_what_several_have_is_known(hashes, other):
    directory = Directory(array("q", hashes))
    for hashed in {*hashes, other}:
        assert sorted(directory.places(hashed)) == [place for place, one in enumerate(hashes) if one == hashed]
    assert directory.repeated == {hashed for hashed, count in Counter(hashes).items() if count > 1}
