"""`pps import`: what becomes of real rc files, and that whatever becomes of any file is a configuration that loads."""

import re
import stat
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import load_config
from common.failures import UsageError
from common.secrets import Secret, resolve
from manager.importing.document import Document
from manager.importing.fetchmail_remarks import ALWAYS_SO
from manager.importing.files import import_files, write
from manager.importing.keywords import GLOBALS, KEYWORDS, SYNONYMS, Of, Takes
from manager.importing.sections import read_sections
from manager.importing.words import Kind, words

SAMPLES: Final = Path(__file__).parent.parent / "rc_files"
MULTIDROP: Final = {"aka", "envelope", "localdomains", "qvirtual"}
FILES: Final = sorted(SAMPLES.glob("*/*.rc"))


def imported(*paths: Path, with_files: bool = True) -> Document:
    """Return what an import by somebody called `me` makes."""
    return import_files(paths, with_files=with_files, home="/home/me", me="me")


def of_text(folder: Path, text: str) -> Document:
    """Return what an import makes of a file of this text."""
    (folder / "rc").write_bytes(text.encode(errors="replace"))
    return imported(folder / "rc")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_real_file_becomes_what_stands_beside_it(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME.toml is the configuration, NAME.txt what couldn't be carried over; no password is in either."""
    monkeypatch.chdir(path.parent)

    made = imported(Path(path.name))

    assert made.text == path.with_suffix(".toml").read_text()
    assert [str(remark) for remark in made.remarks] == path.with_suffix(".txt").read_text().splitlines()
    assert "hunter2" not in made.text + str(made.remarks) + repr(made.passwords)
    write(made, tmp_path / "pps.toml")
    assert len(load_config(tmp_path / "pps.toml").profiles) == made.profiles


async def test_typed_passwords_go_into_private_files_that_pps_reads(tmp_path: Path) -> None:
    """The configuration names them, and what they hold is what was typed, octets, quotes and all."""
    made = imported(SAMPLES / "fetchmail/several_users.rc")
    written = write(made, tmp_path / "new" / "pps.toml")

    profiles = load_config(tmp_path / "new" / "pps.toml").profiles
    found = [await resolve(profile.password or "", base=tmp_path) for profile in profiles]

    assert found == [Secret("hunter2#1"), Secret('hunter2 "2"'), Secret("hunter233")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written[1:]} == {0o600}
    assert stat.S_IMODE((tmp_path / "new" / "passwords").stat().st_mode) == 0o700


def test_on_stdout_passwords_stay_out(tmp_path: Path) -> None:
    """Nothing is written then, and so a password is somewhere in the environment, or nowhere."""
    made = imported(SAMPLES / "fetchmail/one_mailbox.rc", with_files=False)

    assert made.passwords == {}
    assert 'password = "env:ANN_POP_EXAMPLE_NET_PASSWORD"' in made.text
    (tmp_path / "pps.toml").write_text(made.text)
    load_config(tmp_path / "pps.toml")


@pytest.mark.parametrize("option", sorted(KEYWORDS.keys() - MULTIDROP - {name for name, on in ALWAYS_SO if on}))
def test_no_option_of_fetchmail_is_passed_over_in_silence(tmp_path: Path, option: str) -> None:
    """Each shows in the configuration or in a remark; but what PPS does in any case, and what only multidrop reads."""
    known = KEYWORDS[option]
    said = option if known.takes is Takes.NOTHING else f"{option} {'apop' if option == 'protocol' else 7}"

    def made(*, of_server: str = "protocol pop3", of_user: str = "") -> tuple[str, list[str]]:
        document = of_text(tmp_path, f"set daemon 600 poll pop.example.net {of_server} user ann is ann here {of_user}")
        return document.text, [str(remark) for remark in document.remarks]

    with_it = made(of_user=said) if known.of is Of.USER else made(of_server=f"protocol pop3 {said}")
    assert with_it != made()


@pytest.mark.parametrize("there", ["pps.toml", "passwords/ann-pop-example-net"])
def test_nothing_is_overwritten_nor_half_written(tmp_path: Path, there: str) -> None:
    """A configuration or password that is there stops the import before anything is written."""
    (tmp_path / "passwords").mkdir()
    (tmp_path / there).write_text("mine")

    with pytest.raises(UsageError, match="is there already"):
        write(imported(SAMPLES / "fetchmail/one_mailbox.rc"), tmp_path / "pps.toml")

    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_a_folder_of_getmailrc_files_becomes_one_configuration(tmp_path: Path) -> None:
    """Getmail has a file a mailbox, and its own notes of seen mail beside them."""
    for name in ("simple", "lmtp"):
        (tmp_path / f"getmailrc-{name}").write_bytes((SAMPLES / f"getmail/{name}.rc").read_bytes())
    (tmp_path / "oldmail-pop.example.net-110-ann").write_bytes(b"uidl1\x001700000000\n\xff\xfe")

    made = imported(tmp_path)

    assert made.profiles == 2
    assert made.text.count("[target.") == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is neither a .fetchmailrc nor a getmailrc"),
        (b"\x7fELF\x02\x01\x01\x00", "is neither a .fetchmailrc nor a getmailrc"),
        (b'[service]\nledger = "sqlite:///pps.db"\n', "is neither a .fetchmailrc nor a getmailrc"),
        (b"poll " * 300_000, "is larger than 1048576 octets"),
    ],
)
def test_another_kind_of_file_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    """Whose file it is shows in its content, not in its name."""
    (tmp_path / ".fetchmailrc").write_bytes(content)

    with pytest.raises(UsageError, match=re.escape(said)):
        imported(tmp_path / ".fetchmailrc")


def test_a_file_that_cannot_be_read_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    """Both name the path."""
    with pytest.raises(UsageError, match="none: can't read it: No such file"):
        imported(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no getmailrc"):
        imported(tmp_path)


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('user "a b" pass \'c"d\'', ["user", "a b", "pass", 'c"d']),
        ('pass "se"cret"', ["pass", '"se"cret"']),  # the longest reading wins: no quotation
        ("pass a#b #c\nis", ["pass", "a#b", "is"]),
        (r'pass "\x41\066\67\n\\\q"', ["pass", "A6C\n\\q"]),  # hexadecimal octal, decimal
        ('user "jo\\\ne"', ["user", "joe"]),
        ("pass keep keep", ["pass", "keep", "keep"]),
        ("is a=b,c * here", ["is", "a", "=", "b", "c", "*", "here"]),
        ("and with:has;wants,options", []),
        ('pass "open', ["pass", '"open']),
    ],
)
def test_words_are_those_of_fetchmails_lexer(source: str, texts: list[str]) -> None:
    """As `fetchmail --configdump` 6.4.37 reads them."""
    assert [word.text for word in words(source)] == texts


def test_a_text_in_a_texts_place_is_no_keyword() -> None:
    """A password may be any word, and even a number keeps its zeros."""
    assert [word.kind for word in words("pass keep keep 007 pass 007")] == [
        Kind.WORD, Kind.TEXT, Kind.WORD, Kind.NUMBER, Kind.WORD, Kind.TEXT,
    ]  # fmt: skip


@given(text=st.text())
def test_any_text_has_words_and_sections(text: str) -> None:
    """Neither lexer raises, and lines are counted from one."""
    assert all(1 <= word.line <= text.count("\n") + 1 for word in words(text))
    read_sections(text)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ['"', "'a", "\\", '"\\', "#", "=", "*", " \\\n", "[", "[a]\n", "a=\n b\n", "é"])
def test_long_files_take_linear_time(piece: str) -> None:
    """What took the square of its length would not end within the time limit."""
    text = piece * (200_000 // len(piece))

    list(words(text))
    read_sections("[a]\nb = " + text)


WORDS: Final = [
    *KEYWORDS,
    *GLOBALS,
    *SYNONYMS,
    "poll",
    "skip",
    "defaults",
    "set",
    "user",
    "is",
    "to",
    "no",
    "here",
    "there",
]
ANY_WORD: Final = st.sampled_from([*WORDS, "pop3", "imap", "*", "=", "a.b", "ann", "\n", '"x y"', "995"]) | st.text(
    max_size=5
)
KEYS: Final = ["type", "server", "username", "password", "delete_after", "path", "port", "host", "envelope_recipient"]
VALUES: Final = st.sampled_from(
    ["SimplePOP3SSLRetriever", "MultidropPOP3Retriever", "a.b", "ann@b.c", "Maildir", "MDA_lmtp", "MultiSorter", "5"]
) | st.text(max_size=8)


@settings(deadline=None)
@given(found=st.lists(ANY_WORD, max_size=30))
def test_whatever_a_fetchmailrc_says_the_result_loads(
    tmp_path_factory: pytest.TempPathFactory, found: list[str]
) -> None:
    """Keywords in any order, with any values: a configuration comes of it, with as many profiles as it says."""
    loads(tmp_path_factory.getbasetemp(), "poll pop.example.com proto pop3 user ann " + " ".join(found))


@settings(deadline=None)
@given(
    found=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=8), section=st.sampled_from(["destination", "x"])
)
def test_whatever_a_getmailrc_says_the_result_loads(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, str]], section: str
) -> None:
    """The same for keys and values of any kind."""
    lines = [f"{key} = {value}" for key, value in found]
    retriever = ["[retriever]", "type = MultidropPOP3SSLRetriever", "server = a.b", "username = ann@b.c", *lines]
    loads(tmp_path_factory.getbasetemp(), "\n".join([*retriever, f"[{section}]", *lines, "[options]", *lines]))


def loads(folder: Path, text: str) -> None:
    """Assert that the file's import makes a configuration that loads."""
    made = of_text(folder, text)
    path = folder / "made.toml"
    path.write_text(made.text, encoding="utf-8")
    assert len(load_config(path).profiles) == made.profiles
    assert all(str(remark).isprintable() for remark in made.remarks)
