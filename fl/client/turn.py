"""What a daemon waits for before it takes requests: its queue, room for its state, and that nobody else serves."""

import asyncio
from typing import Final

from broker import topology
from broker.base import Session
from broker.errors import AccessRefused, NotFound
from fl.client.disk import NoRoom
from fl.client.site import Site
from fl.errors import ConfigError

LOOK_EVERY_S: Final = 0.5
"""How often a daemon on standby looks whether the one before it is gone."""

GHOST_S: Final = 12.0
"""How long a connection that was cut may seem to be there: two heartbeats, and a little."""

MOST_WAIT_S: Final = 30.0
"""How long a daemon without room for its state waits at most until it looks again."""


class NameInUse(ConfigError):
    """A daemon of this name is connected already, and this one is not to stand by."""


async def await_turn(site: Site, session: Session) -> None:
    """Wait until this daemon may serve. Raises `NameInUse`, and `AccessRefused` where the site is not enrolled."""
    await _find_queue(site, session)
    await _await_room(site)
    await _await_others(site, session)


async def _find_queue(site: Site, session: Session) -> None:
    """Make the queue where users may, as in development; all of it each time, or what was cut midway stays half-made.

    Elsewhere enrolment has made it.
    """
    try:
        await session.declare(*topology.base(), *topology.client(site.name))
    except AccessRefused as refused:
        try:
            await session.count(topology.client_queue(site.name))
        except NotFound:
            raise AccessRefused(f"no queue for client {site.name!r}: has it been enrolled? ({refused})") from None


async def _await_room(site: Site) -> None:
    """Take no requests while there is no room for what they leave; another daemon of this name may have it."""
    delay_s = 1.0
    while True:
        try:
            await asyncio.to_thread(site.state.check_room)
        except NoRoom as error:
            site.log.warning("awaiting_room", reason=error, again_in_s=delay_s)
        else:
            return
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, MOST_WAIT_S)


async def _await_others(site: Site, session: Session) -> None:
    """Wait until nobody else consumes this site's queue: a broker does not count those who wait behind one.

    What a daemon that lost its connection had consumed may still count for some seconds, this one's own included.
    """
    waited_s = 0.0
    while (await session.count(topology.client_queue(site.name))).consumers:
        if not site.standby and waited_s >= GHOST_S:
            raise NameInUse(
                f"a daemon named {site.name!r} is connected already: stop it, choose another name, or "
                "set standby = true to take its place when it leaves"
            )
        if not waited_s:
            reason = "a daemon of this name is connected already"
            site.log.warning("standing_by", name=site.name, reason=reason)
        await asyncio.sleep(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S
    if waited_s:
        site.log.info("taking_over", name=site.name)
