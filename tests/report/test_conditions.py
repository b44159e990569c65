"""Conditions on annotations."""

import pytest

from venice_batch.errors import UsageError
from venice_batch.report.conditions import Condition, is_condition, parse_condition


@pytest.mark.parametrize(
    ("text", "values", "is_met"),
    [
        ("score<0.5", {"score": 0.4}, True),
        ("score<0.5", {"score": 0.5}, False),
        ("score <= .5", {"score": 0.5}, True),
        ("score>=1e-1", {"score": 0.1}, True),
        ("score>0.5", {"score": 1}, True),
        ("score=1", {"score": 1.0}, True),
        ("score==1", {"score": 2}, False),
        ("score!=1", {"score": 2}, True),
        ("score≥2", {"score": 2}, True),
        ("score≠2", {"score": 2}, False),
        ("annotation.score<1", {"score": 0}, True),
        ("clip.score-v2<1", {"clip.score-v2": 0}, True),
        ("CLIP score (B/32)<1", {"CLIP score (B/32)": 0}, True),
        ("correct=true", {"correct": True}, True),
        ("correct=False", {"correct": True}, False),
        ("correct!=true", {"correct": False}, True),
        ("correct<1", {"correct": False}, True),
        ("label=Cat", {"label": "cat"}, True),
        ("label='a < b'", {"label": "a < b"}, True),
        ('label!="cat"', {"label": "dog"}, True),
        ("label=cat", {"label": "dog"}, False),
        ("score=cat", {"score": 1}, False),
        ("score!=cat", {"score": 1}, True),
        ("label<5", {"label": "4"}, False),
        ("label>5", {"label": "nine"}, False),
        ("label=5", {"label": "5"}, True),
        ("other<5", {"score": 1}, False),
        ("other!=5", {"score": 1}, False),
    ],
)
def test_a_condition_compares_one_annotation_and_is_not_met_without_it(text, values, is_met):
    assert is_condition(text)
    assert parse_condition(text, "--where").is_met(values) is is_met


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score", "--where: 'score' is no condition; write it like score<0.5"),
        ("<0.5", "is no condition"),
        ("score<", "is no condition"),
        ("0.2<score<0.5", "has two operators; give two conditions"),
        ("score<good", "compares with 'good', which is no number; texts take = and != only"),
        ("score<nan", "which is no number"),
        ("score>inf", "which is no number"),
    ],
)
def test_what_is_no_condition_is_refused_with_an_example(text, message):
    with pytest.raises(UsageError) as refused:
        parse_condition(text, "--where")
    assert message in str(refused.value)


def test_a_condition_is_shown_as_it_is_written():
    assert str(parse_condition(" score == '0.5' ", "--where")) == "score=0.5"
    assert parse_condition("a<1", "--where") == Condition("a", "<", "1")
    assert not is_condition("blurred")
