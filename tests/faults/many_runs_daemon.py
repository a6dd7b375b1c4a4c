"""`fluffle client`, most of whose trainers are threads: two hundred of their processes take minutes to start.

python -m tests.faults.many_runs_daemon URL FOLDER
"""

import asyncio
import sys
from itertools import count
from pathlib import Path
from typing import Final

from broker.base import Session
from fl.cli.service import run_service, set_up_logs
from fl.client.daemon import serve
from fl.client.desk import Desk
from fl.client.drain import Drain
from fl.client.setup import describe, new_setup, new_site
from fl.client.state import StateDirectory
from fl.client.trainer import ProcessTrainer, ThreadTrainer, Trainer
from tests.integration.site_files import config_of

PROCESS_EVERY: Final = 20
"""Every so many runs have a trainer as a process."""


async def main(url: str, folder: Path) -> None:
    config = config_of(folder, "ant")
    setup = new_setup(config.name, describe(config.train), None, device=config.device, share_metrics=True)
    number = count()

    async def start() -> Trainer:
        return ThreadTrainer(Desk()) if next(number) % PROCESS_EVERY else await ProcessTrainer.start(config.limits)

    assert config.state is not None
    site = await new_site(setup, start=start, state=StateDirectory(config.state))
    drain = Drain()

    async def work(session: Session) -> None:
        await serve(site, session, drain)

    await run_service(url, "fluffle client ant", work, site.log, finish=drain.begin)


if __name__ == "__main__":
    set_up_logs("info")
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
