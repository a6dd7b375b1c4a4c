"""Flower's deployment engine: a SuperLink and SuperNodes, which start a ServerApp and ClientApps."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from broker.processes import free_ports
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import listen
from tests.bench.rows import Row
from tests.bench.stage import ROOT, Actor, Stage, stage
from tests.bench.usage import Meter

_APPS: Final = "flower_apps"

_PROJECT: Final = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "bench"
version = "1.0.0"
description = "Adds a constant to weights"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "bench"

[tool.flwr.app.components]
serverapp = "{apps}:server"
clientapp = "{apps}:client"

[tool.flwr.app.config]
n-bytes = {row.n_bytes}
n-clients = {row.n_clients}
n-rounds = {row.n_rounds}
"""

_CONFIG: Final = """
[superlink]
default = "bench"

[superlink.bench]
address = "127.0.0.1:{port}"
insecure = true
"""


@dataclass(frozen=True, slots=True)
class Flower:
    """Memory and CPU of the server are those of the SuperLink with all that it starts, and so for the clients."""

    python: Path
    """Of the environment that has it."""
    label: str = "Flower, deployment engine"
    passes: int = 1

    async def measure(self, row: Row, ground: Ground) -> Figures:
        row = row.shortened()
        with TemporaryDirectory(dir=ground.folder) as home:
            async with stage(Path(home), limit_s=row.limit_s) as play:
                port, *ports = free_ports(row.n_clients + 1)
                options = f"--insecure --port {port} --disable-runtime-dependency-installation"
                link = await self._start(play, "the SuperLink", "flower-superlink", *options.split())
                await play.until_printed(link, "Uvicorn running")
                nodes = []
                for own in ports:
                    options = f"--insecure --superlink 127.0.0.1:{port} --port {own}"
                    nodes.append(await self._start(play, f"SuperNode {own}", "flower-supernode", *options.split()))
                for node in nodes:
                    await play.until_printed(node, "Uvicorn running")
                meter = Meter(server=lambda: [link.pid], clients=lambda: [node.pid for node in nodes])
                meter.note_idle()
                await self._submit(play, row, port)
                return await listen(play, row, meter)

    async def _start(self, play: Stage, name: str, program: str, *arguments: str | Path) -> Actor:
        bin_ = self.python.parent
        path = f"{bin_}:/usr/bin:/bin"  # they start further programs of Flower
        return await play.start(
            name,
            bin_ / program,
            *arguments,
            PATH=path,
            FLWR_HOME=str(play.folder / "flwr"),
            BENCH_TELL=str(play.folder / "told"),
        )

    async def _submit(self, play: Stage, row: Row, port: int) -> None:
        (play.folder / "flwr").mkdir(exist_ok=True)
        (play.folder / "flwr" / "config.toml").write_text(_CONFIG.format(port=port), "utf-8")
        (play.folder / "told").touch()
        app = play.folder / "app"
        app.mkdir()
        (app / "pyproject.toml").write_text(_PROJECT.format(apps=_APPS, row=row), "utf-8")
        shutil.copy(ROOT / "tests" / "bench" / f"{_APPS}.py", app)
        await play.hear(play.folder / "told")
        await play.until_ended(await self._start(play, "the submission", "flwr", "run", app))
