"""Bounded room: who waits, who goes first, and what a cancelled wait leaves."""

import asyncio

import pytest

from common.room import Room


async def waiting(room: Room, octets: int) -> asyncio.Task[None]:
    """Return a task that waits for its place."""
    task = asyncio.create_task(room.take(octets))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_who_doesn_t_fit_waits_in_order() -> None:
    """A small item doesn't overtake a large one: else large ones might wait for ever."""
    room = Room(octets=10)
    await room.take(8)
    large, small = await waiting(room, 5), await waiting(room, 1)
    room.give(8)
    await asyncio.gather(large, small)
    assert (room.octets, room.items) == (6, 2)


async def test_items_are_bounded_too() -> None:
    """However small they are."""
    room = Room(octets=10, items=1)
    await room.take(0)
    second = await waiting(room, 0)
    room.give(0)
    await second


async def test_an_item_larger_than_the_room_fits_alone() -> None:
    """It must not wait for what can never be."""
    room = Room(octets=10)
    await room.take(100)
    other = await waiting(room, 1)
    room.give(100)
    await other


async def test_a_cancelled_wait_takes_no_place_and_holds_up_nobody() -> None:
    """Cancelled while waiting, or in the very tick in which its turn came."""
    room = Room(octets=10)
    await room.take(8)
    first, second, third = await waiting(room, 5), await waiting(room, 9), await waiting(room, 1)
    first.cancel()
    room.give(8)
    second.cancel()
    await third
    for cancelled in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    assert (room.octets, room.items) == (1, 1)
