from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.request import pixels


@pytest.mark.parametrize(
    ("ratio", "resolution", "expected"),
    [
        ("1:1", "", (1024, 1024)),
        ("auto", "1k", (1024, 1024)),
        ("16:9", "1K", (1280, 720)),
        ("16:9", "2K", (2560, 1440)),
        ("16:9", "4K", (3840, 2160)),
        ("9:16", "4K", (2160, 3840)),
        ("21:9", "", (1568, 672)),
        ("19.5:9", "", (1456, 672)),
    ],
)
def test_known_sizes(ratio, resolution, expected):
    assert pixels(ratio, resolution) == expected


RATIOS = sorted({ratio for model in shipped().models.values() for ratio in model.ratios} - {"auto"})


@given(ratio=st.sampled_from(RATIOS), resolution=st.sampled_from(["", "1K", "2K", "4K"]))
def test_every_offered_ratio_is_exact_in_multiples_of_sixteen(ratio, resolution):
    width, height = pixels(ratio, resolution)
    across, down = ratio.split(":")
    assert Fraction(width, height) == Fraction(across) / Fraction(down)
    assert width % 16 == height % 16 == 0
    assert max(width, height) <= 3840


def test_a_malformed_ratio_raises():
    with pytest.raises(ValueError, match="wide"):
        pixels("wide")
