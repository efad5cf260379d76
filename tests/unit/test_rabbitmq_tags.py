"""Which acks leave together: checked against a broker that keeps the strict rules of AMQP."""

from hypothesis import given
from hypothesis import strategies as st

from common.rabbitmq.tags import AckFrame, Tags


def test_a_settled_prefix_leaves_as_one() -> None:
    """A hundred acks cost one frame."""
    tags = Tags()
    for tag in range(1, 101):
        tags.ack(tag)
    assert tags.frames() == [AckFrame(100, multiple=True)]
    assert not tags.pending


def test_acks_beyond_a_message_in_hand_leave_alone() -> None:
    """`multiple` would ack what is still being handled."""
    tags = Tags()
    tags.ack(1)
    tags.ack(3)
    assert tags.frames() == [AckFrame(1, multiple=True), AckFrame(3, multiple=False)]
    tags.ack(2)
    assert tags.frames() == [AckFrame(2, multiple=True)]


def test_a_nacked_tag_is_never_named_again() -> None:
    """The broker doesn't know it any more, and would close the channel."""
    tags = Tags()
    tags.ack(1)
    tags.nacked(2)
    assert tags.frames() == [AckFrame(1, multiple=True)]


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)), st.sets(st.integers(0, 11)))
def test_every_ack_arrives_once_and_no_other(order: list[int], nacked: set[int], flushes: set[int]) -> None:
    """Whatever the order of handlers' ends and of ticks: the broker forgets exactly what was acked."""
    tags, outstanding, acked = Tags(), set(range(1, 13)), set[int]()
    for step, tag in enumerate(order):
        if tag in nacked:
            tags.nacked(tag)
            outstanding.remove(tag)
        else:
            tags.ack(tag)
        if step in flushes or step == len(order) - 1:
            for frame in tags.frames():
                assert frame.tag in outstanding, "the broker would close the channel"
                meant = {other for other in outstanding if other <= frame.tag} if frame.multiple else {frame.tag}
                acked |= meant
                outstanding -= meant
                assert acked <= set(order[: step + 1]) - nacked
    assert acked == set(order) - nacked
    assert not outstanding
