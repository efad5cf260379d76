"""Where a process shows its pages, as the configuration says it; broken forms are in tests/bad_configs."""

import pytest

from common.http_place import Place, checked_http, parse_place, place_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("off", None),
        ("127.0.0.1:9400", Place("127.0.0.1", range(9400, 9401))),
        ("localhost:9400", Place("localhost", range(9400, 9401))),
        ("*:9400", Place(None, range(9400, 9401))),
        ("[::1]:9400-9409", Place("::1", range(9400, 9410))),
        (" 10.0.0.5:1-100 ", Place("10.0.0.5", range(1, 101))),
    ],
)
def test_a_place_is_read_and_written_alike(text: str, place: Place | None) -> None:
    """What is told of a place is what may be written into the file."""
    assert parse_place(text) == place
    if place is not None:
        assert str(place) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "on", "9400", ":9400", "host:", "host:0", "host:65536", "::1:9400", "host:\u0661", "host:1-", "host:1-101",
     "host:2-1", "host:-1", "http://host:9400", True, 9400, None, ["*:9400"]],
)  # fmt: skip
def test_what_is_no_place_is_refused(text: object) -> None:
    """Nothing that isn't clear opens a port."""
    with pytest.raises(ValueError, match="is not"):
        parse_place(text)


def test_each_role_may_have_its_own() -> None:
    """A role that isn't named shows nothing."""
    http = {"fetcher": "*:9401", "router": "off"}
    checked_http(http)

    assert place_of("fetcher", http) == Place(None, range(9401, 9402))
    assert place_of("router", http) is None
    assert place_of("deliverer", http) is None
    assert place_of("deliverer", "*:9400") == Place(None, range(9400, 9401))
