import importlib.util
import sys
from pathlib import Path

import pytest

from venice_batch.api.answers import Answer
from venice_batch.api.responses import AnswerHeaders, RateLimit, Reset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def make_answer(
    status=200, *, sent_s=0.0, now_s=1.0, message="", hint_s=None, limit=None, remaining=None,
    reset_s=None, reset_in_s=None, date_s=None, fault=None, left=None,
):  # fmt: skip
    reset = None
    if reset_s is not None or reset_in_s is not None:
        reset = Reset(unix_s=reset_s, in_s=reset_in_s)
    rate = RateLimit(limit, remaining, reset)
    head = AnswerHeaders(date_unix_s=date_s, retry_after_s=hint_s, rate=rate, errors_left=left)
    return Answer(status, head, message, sent_s, now_s, fault)


@pytest.fixture(name="answer", scope="session")
def _answer():
    return make_answer


@pytest.fixture(scope="session")
def simulation():
    spec = importlib.util.spec_from_file_location("simulation", BENCHMARKS / "simulation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulation"] = module
    spec.loader.exec_module(module)
    return module
