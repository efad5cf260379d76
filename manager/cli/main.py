"""The entry of `pps`. `--version` answers before anything else is imported: scripts ask for it often."""

import sys

from common import __version__


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"pps {__version__}\n")
        return 0
    from manager.cli.app import run  # noqa: PLC0415 (see above)

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
