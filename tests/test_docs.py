"""docs/ says what the code does: its generated parts are those of today, and its links lead somewhere."""

import re
from pathlib import Path
from typing import Final

import pytest

from common.config import Service
from common.profile import Profile
from common.target_settings import TargetSettings
from tests.reference.blocks import BLOCKS, DOCS, blocks_of, pages, renewed
from tests.reference.definitions import written

PAGES: Final = [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_generated_parts_are_those_of_today(page: Path) -> None:
    """Every key and every command is told as the code has it: after a change, `make docs` writes them."""
    text = page.read_text()

    assert renewed(text) == text, "run `make docs` and commit what it writes"


def test_the_files_for_rabbitmq_are_those_of_today() -> None:
    """What an administrator imports is what workers need and `pps doctor` looks for."""
    for path, text in written().items():
        assert path.read_text() == text, "run `make docs` and commit what it writes"


def test_each_block_stands_in_some_page() -> None:
    """A table whose markers were lost would be renewed no more."""
    assert sorted(name for page in pages() for name in blocks_of(page.read_text())) == sorted(BLOCKS)


def test_every_key_has_a_row() -> None:
    """The table is whole, and each key says what it is for."""
    page = (DOCS / "configuration.md").read_text()

    for model in (Service, TargetSettings, Profile):
        for key, field in model.model_fields.items():
            assert f"| `{key}` |" in page
            assert field.description


def test_what_every_command_prints_as_json_is_told() -> None:
    """Under its own heading, or its group's, where its name stands."""
    commands = re.split(r"^### `pps (.+)`$", (DOCS / "commands.md").read_text(), flags=re.MULTILINE)
    told = re.split(r"^## (.+)$", (DOCS / "json.md").read_text(), flags=re.MULTILINE)
    sections = dict(zip(told[1::2], told[2::2], strict=True))
    printing = [name for name, text in zip(commands[1::2], commands[2::2], strict=True) if "`--json`" in text]

    for command in printing:
        group, _, last = command.partition(" ")
        own = any(f"`pps {command}`" in heading for heading in sections)
        assert own or any(f"`pps {group}`" in heading and last in text for heading, text in sections.items()), command
    assert len(printing) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file, or to a heading in one, is no dead end."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target.read_text()), link


def test_some_page_links_to_every_page() -> None:
    """A page that nobody finds is a page that isn't there; most stand in the index, docs/README.md."""
    texts = {page: page.read_text() for page in PAGES}

    for page in DOCS.glob("*.md"):
        assert any(f"{page.name})" in text or f"{page.name}#" in text for at, text in texts.items() if at != page), page


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and Gitea name them."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


INDEXES: Final = ("dialogs", "crash")
"""Folders whose README leads from what may happen to the tests of it."""


@pytest.mark.parametrize("folder", INDEXES)
def test_what_an_index_names_is_there(folder: str) -> None:
    """Each test, dialogue and word that a table names; a row that names no test would promise nothing."""
    tests = DOCS.parent / "tests"
    table = (tests / folder / "README.md").read_text()
    source = "".join(path.read_text() for path in tests.rglob("test_*.py"))
    faults = (tests / "crash" / "matrix.py").read_text() + (tests / "crash" / "points.py").read_text()

    for name in re.findall(r"`(\w+\.txt)`", table):
        assert (tests / "dialogs" / name).exists(), name
    for name in re.findall(r"`(test_\w+)`", table):
        assert f"def {name}(" in source, name
    for word in re.findall(r"`--only ([^`]+)`", table):
        assert word in faults, word
    rows = [
        line for line in table.splitlines() if line.startswith("| ") and not re.match(r"\| (---|[^|]*\| test )", line)
    ]
    assert [row for row in rows if "`test_" not in row and ".txt`" not in row] == []
