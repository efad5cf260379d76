"""`make docs`: writes the generated blocks of docs/ anew, and leaves what people wrote around them."""

import sys

from tests.reference.blocks import pages, renewed


def main() -> int:
    """Write each page whose generated blocks changed, and name it."""
    for page in pages():
        before = page.read_text()
        after = renewed(before)
        if after != before:
            page.write_text(after)
            sys.stdout.write(f"{page}: generated anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
