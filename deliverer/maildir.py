"""A Maildir as a target: mails become files, durable before they count as delivered. What blocks is in threads."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from common.crashpoints import reach
from common.messages import DeliveryJob, Stage
from common.target_url import TargetUrl
from deliverer.attempt import Attempt
from deliverer.content import ContentSource
from deliverer.folder_syncs import FolderSyncs
from deliverer.maildir_file import Found, MailFile, usable
from deliverer.maildir_folders import MaildirFolders, sync_folder
from deliverer.maildir_path import Place, base_of, maildir_of
from deliverer.replies import stored, unaddressable, unwritten
from deliverer.target import BeforeDot, ClaimLostError, Target, TargetOptions
from deliverer.trace import delivery_seconds, trace_field, traces

BATCH: Final = 512 * 1024
"""Octets that are gathered for one step in a thread: a small mail is one step, from its file to its link."""

QUICK_SECONDS: Final = 5.0
"""How long after the claim was confirmed the link may come without another look at it: it has 30 s left then."""

T = TypeVar("T")


class MaildirTarget(Target):
    """Delivers into `url.path`, its placeholders filled from the recipient."""

    repeatable = True

    def __init__(self, url: TargetUrl, options: TargetOptions, *, installation: str) -> None:
        self.refused_to = options.refused_to
        self.transport = url.transport
        self._url = url
        self._installation = installation
        self._received = options.received
        self._threads = ThreadPoolExecutor(options.connections, thread_name_prefix="maildir")
        self._folders = FolderSyncs(lambda folder: self._in_thread(partial(sync_folder, folder)))
        self._maildirs = MaildirFolders()
        self._file_syncs = 0

    @property
    def fsyncs(self) -> int:
        """Calls of fsync, on files and folders: for cost ceilings."""
        return self._file_syncs + self._maildirs.fsyncs + self._folders.count

    async def deliver(self, job: DeliveryJob, content: ContentSource, *, again: bool, before_dot: BeforeDot) -> Attempt:
        """See Target."""
        started = time.monotonic()
        try:
            place = maildir_of(self._url.path, job.recipient)
        except ValueError as error:
            return unaddressable(str(error), Stage.STORE)
        try:
            attempt = await self._store(place, job, content, again=again, before_dot=before_dot)
        except OSError as error:
            attempt = await self._failed(error)
        return replace(attempt, duration=time.monotonic() - started)

    async def probe(self) -> Attempt | None:
        """See Target."""
        error = await self._in_thread(partial(usable, base_of(self._url.path), create=self._url.create))
        return None if error is None else unwritten(error, _said(error), base_usable=False)

    async def close(self) -> None:
        """See Target."""
        await self._folders.close()
        self._threads.shutdown(wait=False)
        self._maildirs.close()

    async def _store(
        self, place: Place, job: DeliveryJob, content: ContentSource, *, again: bool, before_dot: BeforeDot
    ) -> Attempt:
        name = file_name(job.delivery_id)
        file = MailFile(
            self._maildirs,
            place.path,
            base=place.base,
            name=name,
            create=self._url.create,
            is_ours=lambda head: traces(head, job.delivery_id, self._installation),
        )
        trace = trace_field(job, self._installation, received=self._received)
        try:
            last = await self._write(file, trace, content)
            found = await self._finish(file, last, again=again, before_dot=before_dot)
            if found is Found.DIFFERENT:
                return unaddressable(f"another mail has the name {name} in this Maildir", Stage.STORE)
            reach("deliverer.after_link")  # a crash from here on costs the same delivery again, which finds its file
            # The link counts once its folder is durable, whoever made it: an earlier attempt may have died before that.
            await self._folders.cover(f"{file.folder}/{'cur' if found is Found.CUR else 'new'}")
            return stored(f"stored as {name}")
        finally:
            self._file_syncs += file.fsyncs
            if not file.closed:
                await self._in_thread(file.close)

    async def _finish(self, file: MailFile, last: bytes, *, again: bool, before_dot: BeforeDot) -> Found:
        """Write the last octets and link, if the claim is still good; where syncing took long, look at it again."""
        if not await before_dot():
            raise ClaimLostError
        until = time.monotonic() + QUICK_SECONDS
        found = await self._in_thread(partial(file.finish, last, again=again, until=until))
        if found is None:
            if not await before_dot():
                raise ClaimLostError
            found = await self._in_thread(partial(file.link, again=again))
        return found

    async def _write(self, file: MailFile, trace: bytes, content: ContentSource) -> bytes:
        """Write all but the last octets, and return those."""
        gathered = trace
        async with aclosing(content.chunks()) as chunks:
            async for chunk in chunks:
                if len(gathered) + len(chunk) > BATCH:
                    await self._in_thread(partial(file.write, gathered))
                    gathered = b""
                gathered += chunk
        return gathered

    async def _failed(self, error: OSError) -> Attempt:
        base = await self._in_thread(partial(usable, base_of(self._url.path), create=False))
        return unwritten(error, _said(error), base_usable=base is None)

    async def _in_thread(self, step: Callable[[], T]) -> T:
        """Run one step to its end: a thread can't be cancelled, and its file must not be closed under it."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, step)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            future.exception()
            raise


def file_name(delivery_id: str) -> str:
    """Return the name that a delivery has in every attempt: sorted by time in mail readers, unique by its id."""
    return f"{int(delivery_seconds(delivery_id))}.{delivery_id}.pps"


def _said(error: OSError) -> str:
    """Return the error without the path, which isn't the remote reader's business."""
    return (error.strerror or type(error).__name__).lower()
