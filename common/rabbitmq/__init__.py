"""RabbitMQ behind the broker interface. Only this package imports pika; nothing outside it sees AMQP.

Imports go one way: broker → consumption → publishing → line → channel → pika; address and tags are pure.
"""

from common.rabbitmq.broker import connect_rabbitmq

__all__ = ["connect_rabbitmq"]
