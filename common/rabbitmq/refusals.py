"""What a failed connection means, as one line that a user can act on. It never holds the password."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import AMQPError, AuthenticationError, ProbableAccessDeniedError, ProbableAuthenticationError

from common.rabbitmq.address import Address, Node

_ANOTHER_HOST: Final = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

_OLD_TLS: Final = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION")


def refusal(error: BaseException, node: Node, address: Address) -> str:
    """Return which node failed, how, and what to check."""
    return f"[service] broker: {node}: {_meaning(error, address)}"


def _meaning(error: BaseException, address: Address) -> str:  # noqa: C901, PLR0911 (one line a cause)
    for cause in _causes(error):
        match cause:
            case AuthenticationError() | ProbableAuthenticationError():
                return f"user {address.user!r} or its password was refused: check both in the URL"
            case ProbableAccessDeniedError() if "not found" in str(cause):
                return f"there is no vhost {address.vhost!r}: check the URL, or run rabbitmqctl add_vhost"
            case ProbableAccessDeniedError():
                return f"user {address.user!r} may not use vhost {address.vhost!r}: run rabbitmqctl set_permissions"
            case socket.gaierror():
                return "unknown host: check its name"
            case ConnectionRefusedError():
                return "nothing listens there: check the port, and that RabbitMQ runs"
            case ssl.SSLCertVerificationError() if cause.verify_code in _ANOTHER_HOST:
                return "its certificate is another host's: write the host as the certificate names it"
            case ssl.SSLCertVerificationError():
                return (
                    f"its certificate was refused ({cause.verify_message}): SSL_CERT_FILE in the environment names "
                    "the file of authorities to trust"
                )
            case ssl.SSLError() if cause.reason in _OLD_TLS:
                return "it has no TLS 1.2 or newer: bring RabbitMQ up to date, or allow it there"
            case ssl.SSLError():
                return "it doesn't speak TLS there: check the port (amqps:// is usually 5671)"
            case TimeoutError() | AMQPConnectorStackTimeout():
                return "no answer: check host, port and firewall"
            case OSError():
                return f"{cause.strerror or cause}: check host and port"
    return "it didn't answer as RabbitMQ does: check the port (amqp:// is usually 5672, amqps:// 5671)"


def _causes(error: object) -> Iterator[BaseException]:
    """Yield the error and all that pika wrapped in it, each in its own way."""
    if not isinstance(error, BaseException):
        return
    yield error
    wrapped = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
    for inner in (*wrapped, *(error.args if isinstance(error, AMQPError) else ())):
        yield from _causes(inner)
