"""The entry of `pps`. `--version` answers before anything else is imported: scripts ask for it often."""

import os
import sys

from common import __version__


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if sys.stdout is None or sys.stderr is None:  # closed by who started us: what is printed there goes nowhere
        sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115 (for good, and quickly)
    if sys.argv[1:] == ["--version"]:
        return _version()
    try:
        from manager.cli.app import run
    except ImportError as error:
        sys.stderr.write(f"pps: can't start: {error}: install PPS again, with all that it needs\n")
        return 1
    return run(sys.argv[1:])


def _version() -> int:
    try:
        sys.stdout.write(f"pps {__version__}\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it would be tried once more at exit
        sys.stderr.write(f"pps: can't print: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
