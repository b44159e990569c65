"""What a comparison of two output folders has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from venice_batch.model import Percentiles
    from venice_batch.report.intervals import Estimate


class Some(msgspec.Struct, frozen=True):
    """A number of jobs, with the ids of the first."""

    count: int
    ids: tuple[str, ...]


class StatusChange(msgspec.Struct, frozen=True):
    """Jobs that ended differently in the second folder."""

    a: str
    b: str
    jobs: Some


class Side(msgspec.Struct, frozen=True):
    """One folder's share of the jobs that both have; `cost_usd` includes what may have been charged."""

    succeeded: int
    images: int
    bytes: int
    cost_usd: float | None
    unpriced: int
    sandbox_usd: float
    server_s: Percentiles


class ValueDifference(msgspec.Struct, frozen=True):
    """An annotation of the `n` images that have it in both folders.

    For numbers (true is 1) `a` and `b` are the means and `difference` is the mean of b - a, with its interval; for
    texts they are null. `changed` counts the images whose value is another one in the second folder.
    """

    n: int
    changed: int
    a: float | None
    b: float | None
    difference: Estimate | None


class GroupDifference(msgspec.Struct, frozen=True):
    """The jobs of one group in both folders.

    `values` are those of the fields by which the table is grouped; "x → y" if they differ. `same_requests` counts the
    jobs whose requests are equal, `equal_files` those of the `compared_files` images in both folders whose content is.
    """

    values: dict[str, Any]
    jobs: int
    same_requests: int
    a: Side
    b: Side
    compared_files: int
    equal_files: int
    annotations: dict[str, ValueDifference]


class ImageDifference(msgspec.Struct, frozen=True):
    """An image of a job that is in both folders, or the job if it has none (`image` is null then).

    Each pair holds the first folder's value and the second's; null where there is no image. The cost of a job is
    divided among its images. `equal_file` is null unless both folders have the image.
    """

    id: str
    image: int | None
    model: tuple[str, str]
    status: tuple[str, str]
    same_request: bool
    cost_usd: tuple[float | None, float | None]
    server_s: tuple[float | None, float | None]
    total_s: tuple[float | None, float | None]
    bytes: tuple[int | None, int | None]
    equal_file: bool | None
    annotations: dict[str, tuple[Any, Any]]


class Comparison(msgspec.Struct, frozen=True):
    """Two folders compared: `total` covers all jobs that both have, `groups` the same by group.

    `cluster` is the field whose values the bootstrap draws as a whole, null if it draws images.
    """

    a: str
    b: str
    by: tuple[str, ...]
    cluster: str | None
    seed: int
    only_a: Some
    only_b: Some
    status_changes: tuple[StatusChange, ...]
    groups: tuple[GroupDifference, ...]
    total: GroupDifference
