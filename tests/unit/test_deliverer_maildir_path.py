"""Nothing in an address can lead a mail out of its folder."""

import pytest

from deliverer.maildir_path import base_of, maildir_of


@pytest.mark.parametrize(
    ("template", "recipient", "path"),
    [
        ("/var/mail/{domain}/{user}", "ann@local.example", "/var/mail/local.example/ann"),
        ("/var/mail/{user}", "ann", "/var/mail/ann"),
        ("/var/mail/{user}", "Ann@local.example", "/var/mail/ann"),
        ("/var/mail/{user}", "ann+box@local.example", "/var/mail/ann+box"),
        ("/var/mail/{user}/.{detail}", "ann+box@local.example", "/var/mail/ann/.box"),
        ("/var/mail/{user}/.{detail}", "ann@local.example", "/var/mail/ann"),
        ("/var/mail/{user}", "o'brien@local.example", "/var/mail/o'brien"),
        ("/var/mail/{user}", "jürgen@local.example", "/var/mail/jürgen"),
        ("/home/ann/Maildir", "whoever@local.example", "/home/ann/Maildir"),
    ],
)
def test_recipient_fills_the_path(template: str, recipient: str, path: str) -> None:
    """Placeholders take the parts of the address; a component of a detail that isn't there is left out."""
    assert maildir_of(template, recipient).path == path


@pytest.mark.parametrize(
    "local",
    [
        "../ann",
        "..",
        ".",
        ".ann",
        "-ann",
        "a..b",
        "a/b",
        "/etc",
        "a\\b",
        "a\0b",
        "a\r\nb",
        "a b",
        '"a b"',
        '"../ann"',
        "a%2fb",
        "~root",
        "$(id)",
        "a;b",
        "{user}",
        "x" * 65,
        "u\u0308",  # not NFC
        "a\u2044b",  # a fraction slash
        "a\u202eb",  # right-to-left override
        "a@b",
        "",
    ],
)
def test_unsafe_local_part_is_refused_with_a_reason(local: str) -> None:
    """The complaint names the placeholder, and never repeats the attack."""
    with pytest.raises(ValueError, match="user") as error:
        maildir_of("/var/mail/{user}", f"{local}@local.example")

    assert len(local) < 3 or local not in str(error.value)


@pytest.mark.parametrize(
    "domain", ["..", "../x", "a..b", "-a.example", "a/b", ".example", "x" * 300, "a\0b", "ä.example"]
)
def test_unsafe_domain_is_refused(domain: str) -> None:
    """A domain is an A-label, or it names no folder."""
    with pytest.raises(ValueError, match="domain"):
        maildir_of("/var/mail/{domain}/{user}", f"ann@{domain}")


@pytest.mark.parametrize("detail", ["..", "../x", "a/b", ".box", "-box"])
def test_unsafe_detail_is_refused(detail: str) -> None:
    """A sender chooses the detail: it is checked as strictly as the user."""
    with pytest.raises(ValueError, match="detail"):
        maildir_of("/var/mail/{user}/.{detail}", f"ann+{detail}@local.example")


def test_bare_recipient_has_no_domain_to_fill_in() -> None:
    """The reason names the placeholder that can't be filled."""
    with pytest.raises(ValueError, match=r"names \{domain\}"):
        maildir_of("/var/mail/{domain}/{user}", "ann")


@pytest.mark.parametrize(
    ("template", "base"),
    [
        ("/var/mail/{user}", "/var/mail"),
        ("/var/u-{user}", "/var"),
        ("/{user}", "/"),
        ("m/{user}", "m"),
        ("/a/b", "/a/b"),
    ],
)
def test_base_ends_before_the_first_placeholder(template: str, base: str) -> None:
    """All Maildirs of a target must be in it."""
    assert base_of(template) == base
