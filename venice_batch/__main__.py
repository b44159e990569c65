"""`python -m venice_batch`."""

from venice_batch.cli.main import main

main()
