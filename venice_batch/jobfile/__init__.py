"""The jobs file: read, checked, indexed."""

from venice_batch.jobfile.defaults import Defaults, SeedPolicy, parse_field, parse_setting
from venice_batch.jobfile.index import JobIndex
from venice_batch.jobfile.jobs import Shard
from venice_batch.jobfile.line import native_line, oversize, parse
from venice_batch.jobfile.selection import Part
from venice_batch.jobfile.source import Source, open_source

__all__ = [
    "Defaults",
    "JobIndex",
    "Part",
    "SeedPolicy",
    "Shard",
    "Source",
    "native_line",
    "open_source",
    "oversize",
    "parse",
    "parse_field",
    "parse_setting",
]
