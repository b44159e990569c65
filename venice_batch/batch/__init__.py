"""A whole run: a jobs file into an output folder."""

from venice_batch.batch.run import run_batch
from venice_batch.batch.settings import RunSettings

__all__ = ["RunSettings", "run_batch"]
