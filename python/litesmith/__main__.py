"""``python -m litesmith``: the command line."""

import signal
import sys

from ._litesmith import main as run


def main() -> int:
    """Runs the command line on the program's arguments; returns its exit code."""
    # The command line catches Ctrl-C itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run(["litesmith", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
