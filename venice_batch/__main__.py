"""The command `venice-batch` from its first moment: `python -m venice_batch` is the same."""

import signal


def main() -> None:
    """Run the command; a signal to end it waits until what heeds it has been imported."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    from venice_batch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
