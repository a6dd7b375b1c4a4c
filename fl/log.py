"""Logs as events with fields: `log.info("round_committed", run=…, round=…)`."""

import logging
from collections.abc import Mapping


class EventLog:
    """A logger of events; what is bound comes first on each line, then the event's own fields."""

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object]) -> None:
        self._logger = logger
        self._fields = dict(fields)

    def bind(self, **fields: object) -> "EventLog":
        """The same log with these fields on every event."""
        return EventLog(self._logger, {**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error of ours, with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, fields, exc_info=True)

    def _write(self, level: int, event: str, fields: Mapping[str, object], *, exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            text = "".join(f" {key}={_show(value)}" for key, value in {**self._fields, **fields}.items())
            self._logger.log(level, "%s%s", event, text, exc_info=exc_info, stacklevel=3)


def get_log(name: str, **fields: object) -> EventLog:
    return EventLog(logging.getLogger(name), fields)


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return repr(text) if not text or any(mark in text for mark in " \n='\"") else text
