"""`pps init`: what it writes is a configuration that loads, and tells of every key."""

import stat
from pathlib import Path

import pytest
from pydantic import BaseModel

from common.config import Service, load_config
from common.profile import Profile
from common.secrets import Secret, resolve, seal, unseal
from common.target_settings import TargetSettings
from manager.sample import SAMPLE
from tests.command import pps, tree


def test_init_writes_a_config_that_loads_and_polls_nothing_yet(tmp_path: Path) -> None:
    """The sample's mailbox is an example: nobody's server is bothered before the file was edited."""
    ended = pps("init", "new/folder", folder=tmp_path)

    assert (ended.code, ended.err) == (0, "")
    config = load_config(tmp_path / "new/folder/pps.toml")
    assert [profile.enabled for profile in config.profiles] == [False]
    assert config.profiles[0].distribute


async def test_init_writes_a_private_key_that_seals(tmp_path: Path) -> None:
    """The key is made anew and only its owner may use it."""
    pps("init", folder=tmp_path)

    assert stat.S_IMODE((tmp_path / "pps.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pps.toml").stat().st_mode) & 0o007 == 0
    keys = await resolve(load_config(tmp_path / "pps.toml").service.key, base=tmp_path)
    assert unseal(seal(Secret("a"), keys), keys) == Secret("a")


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A configuration is a person's work, and a lost key closes what was sealed with it."""
    (tmp_path / "pps.key").write_text("old key")
    pps("init", folder=tmp_path)
    before = tree(tmp_path)

    ended = pps("init", folder=tmp_path)

    assert (ended.code, ended.err) == (2, "pps: pps.toml: is there already: edit it, or name another folder\n")
    assert tree(tmp_path) == before
    assert before["pps.key"] == b"old key"


@pytest.mark.parametrize("model", [Service, TargetSettings, Profile])
def test_the_sample_tells_of_every_key(model: type[BaseModel]) -> None:
    """A key that nobody finds is a key that isn't there."""
    written = {line.lstrip("# ").partition("=")[0].strip() for line in SAMPLE.splitlines() if "=" in line}

    assert set(model.model_fields) <= written


@pytest.mark.parametrize("left_out", ["# oauth", "password = "], ids=["password", "oauth"])
def test_what_the_sample_comments_out_is_valid_too(tmp_path: Path, left_out: str) -> None:
    """Removing the "# " before keys gives a configuration that loads: with a password, or with OAuth instead of it."""
    lines = [uncommented(line) for line in SAMPLE.splitlines() if not line.startswith(left_out)]
    text = "\n".join(lines).replace('fingerprint = "…"', f'fingerprint = "{"ab" * 32}"')
    text = text.replace('"file:./blobs"', '"s3://mails/pps"')
    text = text.replace('tls = "auto"', 'tls = "starttls"', 1)  # the target's: on loopback it shows no certificate else
    (tmp_path / "pps.toml").write_text(text)

    config = load_config(tmp_path / "pps.toml")

    assert (config.profiles[0].oauth is None) == (left_out == "# oauth")
    assert config.notices.to == "postmaster"


def uncommented(line: str) -> str:
    """Return a line of the sample with its key or section in force."""
    return line.removeprefix("# ") if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line
