"""`make docs`: writes the generated blocks of docs/ anew, and what people wrote stays; and what deploy/ has of it."""

import sys

from tests.reference.blocks import pages, renewed
from tests.reference.dashboard import DASHBOARD, dashboard
from tests.reference.definitions import written


def main() -> int:
    """Write each page whose generated blocks changed, and name it."""
    for page in pages():
        before = page.read_text()
        after = renewed(before)
        if after != before:
            page.write_text(after)
            sys.stdout.write(f"{page}: generated anew\n")
    for path, text in {**written(), DASHBOARD: dashboard()}.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path}: generated anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
