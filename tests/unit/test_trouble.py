"""What stands still, whose, and what to press: read off how all stands."""

from typing import Any

import pytest

from common.ledger.standing import Standing
from manager.trouble import Trouble, is_flowing, state_of, troubles_of
from tests.standing import AT, MINUTE, profile, standing, target, waiting


def only(found: Standing, *, running: bool | None = True) -> Trouble:
    """Return the one trouble there is."""
    (trouble,) = troubles_of(found, running=running)
    return trouble


def test_where_all_is_well_nothing_is_told() -> None:
    """Mail on its way is no trouble, nor is a profile that was switched off."""
    found = standing(
        profiles=(profile(mails={"listed": waiting(3), "routed": waiting()}), profile("old", enabled=False)),
        targets=(target(deliveries={"pending": waiting(2)}),),
    )

    assert troubles_of(found, running=True) == ()
    assert is_flowing(found, running=True)


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ({}, "active"),
        ({"enabled": False, "due_at": None}, "disabled"),
        ({"polling": True, "due_at": AT - 60 * MINUTE}, "polling"),
        ({"due_at": None, "failures": 4}, "stopped"),
        ({"due_at": AT - MINUTE}, "active"),
        ({"due_at": AT - 3 * MINUTE, "failures": 1}, "overdue"),
        ({"failures": 1}, "backoff"),
    ],
)
def test_a_profile_s_state_is_one_word(keys: dict[str, Any], state: str) -> None:
    """The one that matters most to who reads it."""
    assert state_of(profile(**keys), AT) == state


def test_a_stopped_profile_names_the_password_and_the_command() -> None:
    """It polls no more by itself: a person must act."""
    refused = "mail.example.com refused the password"
    found = only(
        standing(profiles=(profile(due_at=None, failures=4, last_result="auth", last_error=refused), profile("well")))
    )

    assert (found.what, found.name, found.since) == ("profile", "office", AT - 5 * MINUTE)
    assert found.reason == f"stopped: {refused}"
    assert found.mend == "mend user or password of profile office, then: pps pull office"


def test_a_refused_password_that_was_typed_is_typed_anew() -> None:
    """There is no file and no variable to mend: the command that asks for it is named."""
    refused = profile(due_at=None, failures=4, last_result="auth", last_error="no", with_stored=True)

    found = only(standing(profiles=(refused, profile("well"))))

    assert found.mend == "type the password anew: pps profile password office; then: pps pull office"


def test_a_stopped_profile_that_signs_in_with_tokens_names_the_login() -> None:
    """There is no password to mend, whether the provider refuses a token or the server does."""
    for result in ("grant", "auth"):
        stopped = profile(due_at=None, last_result=result, last_error="invalid_grant", with_tokens=True)
        found = only(standing(profiles=(stopped,)))
        assert (found.what, found.mend) == ("profile", "pps oauth login office")


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (-5, "the provider gives it no more tokens from today on"),
        (60, "the provider gives it no more tokens from today on"),
        (3 * 24 * 60 + 1, "the provider gives it no more tokens in 3 days"),
        (8 * 24 * 60, None),
        (None, None),
    ],
)
def test_a_grant_that_runs_out_within_a_week_is_told(minutes: int | None, told: str | None) -> None:
    """While mail still flows, so that somebody signs in before it stops."""
    expires = None if minutes is None else AT + minutes * MINUTE
    found = troubles_of(standing(profiles=(profile(with_tokens=True, grant_expires_at=expires),)), running=True)
    assert [(one.what, one.reason, one.mend) for one in found] == (
        [] if told is None else [("grant", told, "pps oauth login office")]
    )


def test_a_profile_in_backoff_is_tried_again_by_itself() -> None:
    """The line says so, and names the setting to look at."""
    found = only(standing(profiles=(profile(failures=2, last_result="network", last_error="no route"),)))

    assert found.mend.startswith('check server = "mail.example.com 995s" of profile office')
    assert found.mend.endswith("tried again by itself")


def test_without_a_service_one_line_says_so_instead_of_one_a_profile() -> None:
    """A thousand overdue profiles have one cause."""
    late = tuple(profile(f"p{number}", due_at=AT - 60 * MINUTE) for number in range(9))
    found = only(standing(profiles=late), running=False)

    assert (found.what, found.mend) == ("service", "pps run")
    assert not is_flowing(standing(profiles=late), running=False)


def test_overdue_profiles_of_a_service_that_runs_are_counted_once() -> None:
    """Since the first of them was due."""
    late = (profile(due_at=AT - 9 * MINUTE), profile("branch", due_at=AT - 3 * MINUTE), profile("well"))
    found = only(standing(profiles=late), running=None)

    assert (found.what, found.count, found.since) == ("service", 2, AT - 9 * MINUTE)
    assert found.reason.startswith("2 of 3 profiles are due")


def test_a_paused_target_tells_how_much_waits_for_it() -> None:
    """All that is undone; and no mail flows where every profile's target is paused."""
    paused = target(paused_since=AT - 7 * MINUTE, reason="refused", deliveries={"pending": waiting(2, minutes=60)})
    found = only(standing(targets=(paused,)))

    assert (found.what, found.name, found.count, found.since) == ("target", "local", 2, AT - 7 * MINUTE)
    assert "[target.local] url" in found.mend
    assert not is_flowing(standing(targets=(paused,)), running=True)
    assert is_flowing(standing(targets=(paused,), profiles=(profile(target="other"),)), running=True)


def test_put_off_deliveries_are_told_with_the_words_of_the_first() -> None:
    """They are tried again by themselves, and can be looked at."""
    found = only(standing(targets=(target(deliveries={"deferred": waiting(4)}, last_reply="452 4.2.2 full"),)))

    assert (found.what, found.count, found.reason) == ("deferred", 4, "put off: 452 4.2.2 full")
    assert "pps mails --deferred" in found.mend


@pytest.mark.parametrize("state", ["quarantined", "lost", "skipped"])
def test_mails_set_aside_are_counted_with_the_command_that_shows_them(state: str) -> None:
    """Over all profiles, since the first."""
    of_one = profile(mails={state: waiting(2, minutes=9)})
    found = only(standing(profiles=(of_one, profile("branch", mails={state: waiting(1, minutes=3)}))))

    assert (found.what, found.count, found.since) == (state, 3, AT - 9 * MINUTE)
    assert ("pps quarantine list" if state == "quarantined" else "pps mails --") in found.mend


def test_quarantined_deliveries_count_too() -> None:
    """One recipient's piece keeps the whole mail on the server."""
    assert only(standing(targets=(target(deliveries={"quarantined": waiting(5)}),))).count == 5


@pytest.mark.parametrize(
    ("keys", "role"),
    [
        ({"profiles": (profile(mails={"fetched": waiting(minutes=16)}),)}, "pps router"),
        ({"targets": (target(deliveries={"pending": waiting(minutes=16)}),)}, "pps deliverer"),
        ({"undeleted_since": AT - 61 * MINUTE}, "next good poll"),
    ],
)
def test_mail_that_moves_no_more_names_the_role_that_is_missing(keys: dict[str, Any], role: str) -> None:
    """Nothing else holds it up, so who should move it isn't there."""
    assert role in only(standing(**keys)).mend
