"""Settings from options: the same checks as the file's, named as options, kept apart by target."""

from pathlib import Path

import pytest

from common.config import Config
from common.failures import UsageError
from common.secrets import KINDS
from manager.adhoc import adhoc_config, state_folder

GIVEN = {"server": "mail.example.com 995s", "user": "u", "password": "env:PW", "local_user": "ann"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the state of these tests in their own folder, which is not made yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "pps"


def config(current: Path, **changes: object) -> Config:
    """Return the configuration that options give, begun in the folder `current`."""
    profile = {**GIVEN, **changes}
    to, state = str(profile.pop("to", "maildir:mail/{user}")), profile.pop("state", None)
    return adhoc_config(profile, to=to, state=None if state is None else str(state), current=current)


def test_state_is_kept_under_the_users_state_folder(tmp_path: Path, state: Path) -> None:
    """A second pull knows what the first one did; the folder is private."""
    service = config(tmp_path).service

    assert service.ledger == f"sqlite:///{state}/pull.db"
    assert service.blobs == f"file:{state}/blobs"
    assert service.log == f"{state}/pull.log"
    assert service.broker == "memory:"
    assert state.stat().st_mode & 0o077 == 0


def test_state_may_be_kept_elsewhere(tmp_path: Path) -> None:
    """By URL or by path, relative to the current folder; blobs and log lie beside it."""
    for given in ("sqlite:///own/pull.db", "own/pull.db", f"sqlite:///{tmp_path}/own/pull.db"):
        service = config(tmp_path, state=given).service

        assert service.ledger == f"sqlite:///{tmp_path}/own/pull.db"
        assert service.blobs == f"file:{tmp_path}/own/blobs"
        assert service.log == f"{tmp_path}/own/pull.log"


def test_without_xdg_the_state_is_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the specification says, and a relative value counts as none."""
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")

    assert state_folder() == Path("/home/ann/.local/state/pps")


def test_the_target_is_named_after_its_url(tmp_path: Path) -> None:
    """Mail that waits for one target must never go to another; the same URL is the same target."""
    here, again, there = (config(tmp_path, to=url) for url in ("maildir:a/{user}", "maildir:./a/{user}", "maildir:b"))

    assert list(here.targets) == list(again.targets) != list(there.targets)
    assert here.profiles[0].target in here.targets
    assert here.targets[here.profiles[0].target].url == f"maildir:{tmp_path}/a/{{user}}"


def test_the_profile_is_named_after_its_mailbox(tmp_path: Path) -> None:
    """What one mailbox left undone must not count as another's; how it is distributed may change."""
    here, again, there = (config(tmp_path, **one) for one in ({}, {"local_user": "bob"}, {"user": "other"}))

    assert here.profiles[0].name == again.profiles[0].name != there.profiles[0].name


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"password": "hunter2"}, f"--password: is a reference, never the secret itself: {KINDS}"),
        (
            {"server": "mail.example.com"},
            """--server: 'mail.example.com' is not "HOST PORT" or, with TLS from the first byte, "HOST PORTs\"""",
        ),
        ({"to": "mailbox:/x"}, "--to: 'mailbox' is no kind of target: did you mean 'maildir'?"),
        ({"local_domain": ["a b"]}, "--local-domain: 'a b' is not a domain"),
        ({"distribute": True}, "--distribute needs --local-domain, the domains to distribute to"),
        ({"tls": "ssl"}, '--tls: "ssl" is not auto, implicit, starttls or none'),
        ({"tls": "none"}, '--tls "none" contradicts --server "mail.example.com 995s": drop the s after the port'),
        ({"state": "mysql://db/x"}, '--state: "mysql:…" is not sqlite:///FILE or postgresql://USER@HOST/DATABASE'),
    ],
)
def test_what_is_wrong_is_named_as_an_option_and_nothing_is_made(
    tmp_path: Path, options: dict[str, object], line: str
) -> None:
    """The checks are the file's own; a typed password is refused without being shown."""
    with pytest.raises(UsageError) as caught:
        config(tmp_path, **options)

    assert str(caught.value) == line
    assert list(tmp_path.iterdir()) == []
