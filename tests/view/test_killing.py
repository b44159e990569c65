"""Marks survive the death of the server that has acknowledged them."""

import subprocess
import sys
from pathlib import Path

import pytest
from gallery.made import record, write

from venice_batch import portable


@pytest.mark.skipif(portable.IS_WINDOWS, reason="needs fork and SIGKILL")
def test_no_acknowledged_mark_is_lost_when_the_server_is_killed(tmp_path):
    """Two hundred kills take half a minute: `python tests/view/killing.py FOLDER 200 1`."""
    write(tmp_path, record(tmp_path, "a"))
    program = [sys.executable, str(Path(__file__).parent / "killing.py"), str(tmp_path), "20", "1"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("marks acknowledged, lost in 0 kills\n"), done.stderr
    assert done.returncode == 0, done.stdout
