"""Whether the user has the rights that deploy/rabbitmq/README.md tells an administrator to give, tried at the start.

Without this a role would begin anew for ever, and only its log would tell why no mail moves.
"""

import uuid
from typing import Final

from common.failures import PpsError
from common.rabbitmq.address import Address
from common.rabbitmq.channel import ChannelLostError, Connection

REFUSED: Final = 403  # ACCESS_REFUSED, AMQP 0-9-1

_MEND: Final = r"rabbitmqctl set_permissions -p {vhost} {user} '^pps\.' '^(pps\.|amq\.default$)' '^pps\.'"


async def require_rights(connection: Connection, address: Address) -> None:
    """Try each right on a queue of our own, which leaves nothing behind; raises PpsError that names what is missing.

    A connection that is lost meanwhile tells nothing: whoever keeps it opens another.
    """
    queue, right = f"pps.rights.{uuid.uuid4().hex}", "configure"
    try:
        channel = await connection.channel()
        try:
            await channel.call(channel.raw.queue_declare, queue=queue, exclusive=True, auto_delete=True)
            right = "read"
            channel.raw.basic_publish(exchange="", routing_key=queue, body=b"")
            await channel.call(channel.raw.queue_purge, queue=queue)
            await channel.call(channel.raw.queue_delete, queue=queue)
        finally:
            await channel.close()
    except ChannelLostError as error:
        if error.code != REFUSED:
            return
        right = "write" if "amq.default" in str(error) else right
        mend = _MEND.format(vhost=address.vhost, user=address.user)
        raise PpsError(
            f"[service] broker: user {address.user!r} lacks the right to {right} in vhost {address.vhost!r}: {mend}"
        ) from error
