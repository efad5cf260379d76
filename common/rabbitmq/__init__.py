"""RabbitMQ behind the broker interface. Only this package imports pika; nothing outside it sees AMQP.

Imports go one way: broker → consumption → publishing → mending → line → rights → channel → pika; the
others are pure.
"""
