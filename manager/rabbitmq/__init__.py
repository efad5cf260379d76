"""RabbitMQ as its administrator sees it, over the management API; workers need none of this."""
