"""Programs that generate committed files: reference pages, the man page, two pictures."""
