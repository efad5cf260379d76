"""promtool, which checks and tries alert rules: `deploy/install-packages.sh` unpacks it from Debian's prometheus."""

import subprocess
from pathlib import Path
from typing import Final

from tests.servers.process import program

BUILD: Final = Path(__file__).parent.parent.parent / "build" / "prometheus" / "usr" / "bin"


def promtool(*arguments: str | Path, given: str = "") -> tuple[int, str]:
    """Run it to its end; return its exit code and all that it said."""
    path = program("promtool", package="prometheus", folders=str(BUILD))
    ran = subprocess.run(
        [path, *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.returncode, ran.stdout
