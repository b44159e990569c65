"""A whole run: a jobs file into an output folder."""

from venice_batch.batch.run import run_batch
from venice_batch.batch.settings import RunSettings
from venice_batch.batch.summing_up import SUMMARY

__all__ = ["SUMMARY", "RunSettings", "run_batch"]
