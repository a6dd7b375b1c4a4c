"""The promises of `broker.base`, kept by RabbitMQ 3.10 or later over aio-pika."""

from broker.rabbitmq.session import RabbitSession, open_session

__all__ = ["RabbitSession", "open_session"]
