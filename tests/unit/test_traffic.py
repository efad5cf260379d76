"""The load's accounting: it can fail, in each of the ways in which mail can go wrong."""

from pathlib import Path

import pytest

from tests.crash.traffic import LARGEST, Ledgered, mails
from tests.maildir import canonical

TRACE = b"Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\n"


@pytest.fixture
def delivered(tmp_path: Path) -> tuple[Ledgered, list[Path]]:
    """Plant a dozen mails and put each where it belongs; return the files."""
    planted, files = Ledgered(), []
    for number, (raw, recipients) in enumerate(mails(12, seed=1)):
        planted.add(raw, recipients)
        for recipient in recipients:
            user, _, domain = recipient.partition("@")
            new = tmp_path / domain / user / "new"
            new.mkdir(parents=True, exist_ok=True)
            files.append(new / str(number))
            files[-1].write_bytes(TRACE + canonical(raw))
    return planted, files


def test_all_in_its_place_is_exact(delivered: tuple[Ledgered, list[Path]], tmp_path: Path) -> None:
    """Each recipient counts, and trace fields don't."""
    planted, files = delivered
    found = planted.against(tmp_path)
    assert found.exact, found
    assert found.held == len(files) == planted.deliveries


def test_each_wrong_is_told_from_the_others(delivered: tuple[Ledgered, list[Path]], tmp_path: Path) -> None:
    """A lost mail, a second one, one that is cut, and one in another's Maildir."""
    planted, (lost, doubled, cut, moved, *_) = delivered
    lost.unlink()
    doubled.with_name("again").write_bytes(doubled.read_bytes())
    cut.write_bytes(cut.read_bytes()[:-100])
    elsewhere = tmp_path / "example.com" / "nobody" / "cur"
    elsewhere.mkdir(parents=True)
    moved.rename(elsewhere / "moved:2,S")

    found = planted.against(tmp_path)

    assert not found.exact
    assert (found.lost, found.doubled, found.foreign) == (3, 1, 2)


def test_the_same_seed_gives_the_same_mails_of_all_sizes() -> None:
    """A load that failed can be played again."""
    first, again = ([(len(raw), recipients) for raw, recipients in mails(1_100, seed=7)] for _ in range(2))
    assert first == again
    sizes = [size for size, _ in first]
    assert min(sizes) < 8_000
    assert max(sizes) == LARGEST
    assert 0.5 < sum(size < 8_000 for size in sizes) / len(sizes) < 0.9
