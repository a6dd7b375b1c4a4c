"""How scripts say which broker they mean."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from broker.topology import check_name
from fl.run.config import Config

DEFAULT_URI = {"memory": "memory://default", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672/"}
SCHEMES = {"memory": ("memory://",), "rabbitmq": ("amqp://", "amqps://")}


class NetworkConfig(Config):
    """A broker: RabbitMQ at a URL, or the one inside this process."""

    protocol: Literal["rabbitmq", "memory"]
    uri: str = ""
    """amqps://user:password@host/vhost; with "memory", memory://<name> keeps experiments apart."""

    @model_validator(mode="after")
    def _check_uri(self) -> Self:
        if self.uri and not self.uri.startswith(SCHEMES[self.protocol]):
            raise ValueError(
                f"uri {self.uri.partition('://')[0]}://… does not fit protocol {self.protocol!r}: "
                f"it begins with {' or '.join(SCHEMES[self.protocol])}"
            )
        return self

    @property
    def url(self) -> str:
        return self.uri or DEFAULT_URI[self.protocol]


class NetworkServerConfig(NetworkConfig):
    """Where a researcher's script submits and leads its run."""


class NetworkClientConfig(NetworkConfig):
    """Where a site's script takes part, and under which name."""

    name: str

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name, "client name")
