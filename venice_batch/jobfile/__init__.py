"""The jobs file: read, checked, indexed."""

from venice_batch.jobfile.defaults import Defaults, SeedPolicy, parse_field, parse_setting
from venice_batch.jobfile.fields import FIELDS
from venice_batch.jobfile.identity import request_hash
from venice_batch.jobfile.index import JobIndex
from venice_batch.jobfile.jobs import Shard
from venice_batch.jobfile.line import Parsed, native_line, oversize, parse
from venice_batch.jobfile.reading import MAX_LINE_BYTES, TooLong, lines
from venice_batch.jobfile.request_check import problems
from venice_batch.jobfile.source import Source, open_source

__all__ = [
    "FIELDS",
    "MAX_LINE_BYTES",
    "Defaults",
    "JobIndex",
    "Parsed",
    "SeedPolicy",
    "Shard",
    "Source",
    "TooLong",
    "lines",
    "native_line",
    "open_source",
    "oversize",
    "parse",
    "parse_field",
    "parse_setting",
    "problems",
    "request_hash",
]
