"""Make docs/reference and the manual page from the code: `python -m tools.reference`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tools.library_page import library_page
from tools.man_page import man_page
from tools.option_pages import environment_page, exit_codes_page, options_page
from tools.schema_pages import log_page, record_schema, records_page, summary_schema
from venice_batch.report import log_lines

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parent.parent / "docs"

PAGES: dict[str, Callable[[], str]] = {
    "man/venice-batch.1": man_page,
    "reference/options.md": options_page,
    "reference/environment.md": environment_page,
    "reference/exit-codes.md": exit_codes_page,
    "reference/records.md": records_page,
    "reference/library.md": library_page,
    "reference/log-lines.md": log_page,
    "reference/log.schema.json": lambda: json.dumps(log_lines.schema(), indent=2) + "\n",
    "reference/manifest.schema.json": lambda: json.dumps(record_schema(), indent=2) + "\n",
    "reference/summary.schema.json": lambda: json.dumps(summary_schema(), indent=2) + "\n",
}
"""The function that makes each file below docs."""


def main() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
