"""The configuration: what a good file gives, and the one line that each broken one gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import config
from common.config import Config, load_config, require_shared
from common.failures import UsageError
from common.profile import Tls

BROKEN = sorted((Path(__file__).parent.parent / "bad_configs").glob("*.toml"))

TARGET = '[target.local]\nurl = "lmtp://127.0.0.1:24"\n'
PROFILE = """
[[profile]]
name = "office"
server = "mail.example.com 995s"
user = "default@example.com"
password = "env:OFFICE_PASSWORD"
local_user = "user1"
"""


def loaded(folder: Path, text: str) -> Config:
    """Return the configuration that a file of this text holds."""
    (folder / "pps.toml").write_text(text)
    return load_config(folder / "pps.toml")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_gives_the_line_in_its_first_comment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line names the file, the section or place, the key and the mend, and shows no secret."""
    monkeypatch.chdir(path.parent)

    with pytest.raises(UsageError) as caught:
        load_config(Path(path.name))

    assert str(caught.value) == path.read_text().splitlines()[0].removeprefix("# ")
    assert "hunter2" not in str(caught.value)


def test_an_empty_file_has_the_defaults(tmp_path: Path) -> None:
    """Everything of [service] may be left out; its paths start at the file's folder."""
    service = loaded(tmp_path, "").service

    assert service.ledger == f"sqlite:///{tmp_path}/pps.db"
    assert service.broker == "memory:"
    assert service.blobs == f"file:{tmp_path}/blobs"
    assert service.log == f"{tmp_path}/pop3.log"
    assert service.key == f"file:{tmp_path}/pps.key"


def test_relative_paths_start_at_the_file_and_absolute_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the file counts, not the current one: a service is started from anywhere."""
    monkeypatch.chdir("/")
    checked = loaded(
        tmp_path,
        '[service]\nledger = "sqlite:////var/lib/pps.db"\nblobs = "file:/var/blobs"\nlog = "-"\n'
        '[target.local]\nurl = "maildir:mail/{user}"\nca = "ca.pem"\n'
        '[target.other]\nurl = "maildir:/var/mail/{user}"\n'
        f'{PROFILE.replace("env:OFFICE_PASSWORD", "file:secrets/office")}ca = "/etc/ca.pem"\n',
    )

    assert checked.base == tmp_path
    assert (checked.service.ledger, checked.service.blobs) == ("sqlite:////var/lib/pps.db", "file:/var/blobs")
    assert checked.service.log == "-"
    assert checked.targets["local"].url == f"maildir:{tmp_path}/mail/{{user}}"
    assert checked.targets["local"].ca == f"{tmp_path}/ca.pem"
    assert checked.targets["other"].url == "maildir:/var/mail/{user}"
    assert (checked.profiles[0].password, checked.profiles[0].ca) == (f"file:{tmp_path}/secrets/office", "/etc/ca.pem")


def test_a_relative_config_path_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config pps.toml` from the file's own folder is the usual call."""
    (tmp_path / "pps.toml").write_text(TARGET)
    monkeypatch.chdir(tmp_path)

    assert load_config(Path("pps.toml")).service.log == f"{tmp_path}/pop3.log"


def test_targets_and_profiles_are_read(tmp_path: Path) -> None:
    """What isn't written has its default."""
    checked = loaded(tmp_path, TARGET + PROFILE)

    assert checked.targets["local"].received
    assert checked.targets["local"].connections == 16
    assert checked.targets["local"].tls is Tls.AUTO
    assert checked.profile("office").interval == 600


def test_one_mailbox_may_stand_in_a_disabled_profile_too(tmp_path: Path) -> None:
    """Only enabled profiles would take each other's mail."""
    twin = PROFILE.replace('"office"', '"old"') + "enabled = false\n"

    assert [profile.name for profile in loaded(tmp_path, TARGET + twin + PROFILE).profiles] == ["old", "office"]


def test_an_unknown_profile_names_the_nearest(tmp_path: Path) -> None:
    """Commands that take a profile's name share this line."""
    checked = loaded(tmp_path, TARGET + PROFILE)

    with pytest.raises(UsageError) as caught:
        checked.profile("ofice")

    assert str(caught.value) == f'{tmp_path}/pps.toml: no profile "ofice": did you mean "office"?'


def test_a_repr_shows_no_password_of_an_address(tmp_path: Path) -> None:
    """Ledger and broker addresses may hold one."""
    checked = loaded(
        tmp_path,
        '[service]\nledger = "postgresql://pps:hunter2@db/pps"\nbroker = "amqp://pps:hunter2@mq/pps"\n',
    )

    assert "hunter2" not in repr(checked)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[service]\n# caf\xe9\n", "line 2: isn't UTF-8 text: save the file as UTF-8"),
        (b"a = " + b"[" * 100_000, "is nested too deeply: no key of it is"),
        (b"#" * (16 * 1024 * 1024 + 1), "is larger than 16777216 octets: that is no configuration"),
    ],
)
def test_what_is_no_text_file_is_refused(tmp_path: Path, content: bytes, line: str) -> None:
    """A binary, a bomb, the wrong file: one line each."""
    path = tmp_path / "pps.toml"
    path.write_bytes(content)

    with pytest.raises(UsageError) as caught:
        load_config(path)

    assert str(caught.value) == f"{path}: {line}"


def test_a_missing_file_names_init_and_the_option(tmp_path: Path) -> None:
    """The first thing that a new user sees."""
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "pps.toml")

    assert str(caught.value) == (
        f"{tmp_path}/pps.toml: there is no such file: `pps init` writes one, --config names another"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The operating system's words."""
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path)

    assert str(caught.value) == f"{tmp_path}: can't read it: Is a directory"


SHARED = '[service]\nledger = "postgresql://pps@db/pps"\nbroker = "amqp://pps@mq/pps"\n'


def test_a_role_alone_needs_postgresql_and_rabbitmq(tmp_path: Path) -> None:
    """What belongs to one process is refused, with both addresses; shared ones pass."""
    require_shared(loaded(tmp_path, SHARED), "router")
    with pytest.raises(UsageError) as no_ledger:
        require_shared(loaded(tmp_path, ""), "router")
    with pytest.raises(UsageError) as no_broker:
        require_shared(loaded(tmp_path, SHARED.replace("amqp://pps@mq/pps", "memory:")), "fetcher")

    assert str(no_ledger.value) == (
        f"{tmp_path}/pps.toml: [service] ledger: sqlite is for `pps run`, every role in one process: `pps router` "
        'needs ledger = "postgresql://USER@HOST/DATABASE" and broker = "amqp://USER:PASSWORD@HOST:5672/VHOST"'
    )
    assert str(no_broker.value) == (
        f"{tmp_path}/pps.toml: [service] broker: memory: is for `pps run`, every role in one process: `pps fetcher` "
        'needs broker = "amqp://USER:PASSWORD@HOST:5672/VHOST" (RabbitMQ)'
    )


SCALARS = st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.floats(), st.dates())
KEYS = st.sampled_from(["service", "target", "profile", "local", "url", "tls", "interval", "name", "server"])
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


def line_of(check: Callable[[], object]) -> str:
    """Return the complaint that a check ends with, or nothing."""
    try:
        check()
    except UsageError as error:
        return str(error)
    return ""


@given(text=st.text(max_size=200) | DOCUMENTS.map(lambda value: f"profile = {value!r}"))
def test_no_file_gives_more_than_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is in it, the file loads or gives one printable line."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode(errors="replace"))

    assert line_of(lambda: load_config(path)).isprintable()


@given(document=st.dictionaries(KEYS | st.text(max_size=5), DOCUMENTS, max_size=4))
def test_no_document_gives_more_than_one_line(document: dict[str, object]) -> None:
    """The same below the syntax: any keys and values where tables are expected."""
    assert line_of(lambda: config._checked(document, Path("pps.toml"))).isprintable()
