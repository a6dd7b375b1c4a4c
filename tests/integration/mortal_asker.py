"""A daemon's part in a run, asked to train; it is killed by whoever started it.

python -m tests.integration.mortal_asker FOLDER
"""

import asyncio
import sys
from pathlib import Path

from tests.integration.trainer_parts import BULK, asked, site_with_process, weights_of


async def main(folder: Path) -> None:
    async with asked("memory://mortal", await site_with_process(folder)) as asker:
        await asker.train(await asker.keep(weights_of(BULK)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
