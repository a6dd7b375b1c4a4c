"""`make bench`: seconds, memory and CPU of a round, ours and others', side by side in one run.

A round moves weights of float32 in 10 tensors to every client, adds a constant to them there, and averages what comes
back. Server and clients are processes, as they are in production. The first round of each measurement is left out. All
contestants of a row are measured one after the other, and then again the other way round, so that ratios are of the
same minutes. `--peers` also installs and measures other frameworks; `--takeovers` measures what a leader's death costs.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from broker.errors import BrokerError
from broker.local import LocalRabbit
from fl.core.compression import Compression
from fl.errors import ConfigError, FluffleError
from tests.bench import idle, takeover
from tests.bench.contestant import Contestant, Ground
from tests.bench.declearn_peer import Declearn
from tests.bench.embedded import Embedded
from tests.bench.floor import Floor
from tests.bench.flower_peer import Flower
from tests.bench.over_rabbitmq import OverRabbitMQ
from tests.bench.raw_tcp import RawTcp
from tests.bench.results import Results
from tests.bench.rows import DEFAULT, Row, parse_rows
from tests.bench.stage import ROOT, ContestantFailed
from tests.bench.table import line_of, placed, tables


def contestants(compressions: Sequence[str], *, peers: bool) -> list[Contestant]:
    """Who takes part. Raises `CalledProcessError` when peers cannot be installed."""
    compressed = [OverRabbitMQ(name) for name in compressions]
    ours: list[Contestant] = [RawTcp(), Floor(), Embedded(), OverRabbitMQ(), *compressed]
    if not peers:
        print("without declearn and Flower: --peers installs and measures them too")
        return ours
    subprocess.run([ROOT / ".ci" / "need-peers"], check=True)
    declearn, flower = (ROOT / ".venv-peers" / name / "bin" / "python" for name in ("declearn", "flower"))
    return [
        *ours,
        *(Declearn(declearn, protocol, beat) for beat in (0.01, 1.0) for protocol in ("grpc", "websockets")),
        Flower(flower),
    ]


def schedule(those: Sequence[Contestant], rows: Sequence[Row]) -> Iterator[tuple[Row, Contestant]]:
    """Row by row; in each all of them in turn, forwards and backwards, as often as each is to be measured."""
    for row in rows:
        for pass_ in range(max(one.passes for one in those)):
            in_turn = [one for one in those if pass_ < one.passes]
            yield from ((row, one) for one in (reversed(in_turn) if pass_ % 2 else in_turn))


async def measure(those: Sequence[Contestant], rows: list[Row], ground: Ground) -> Results:
    """Everything, with a line for each measurement. Who fails at a row is told of, and the others go on."""
    results = Results(rows, [one.label for one in those])
    widest = max(len(row.label) for row in rows), max(len(one.label) for one in those)
    for row, one in schedule(those, rows):
        if (row, one.label) in results.failures:
            continue
        print(f"{row.label:>{widest[0]}}  {one.label:<{widest[1]}}  ", end="", flush=True)
        try:
            figures = await one.measure(row, ground)
        except (ContestantFailed, BrokerError, FluffleError, OSError) as error:
            results.fail(row, one.label, str(error))
            print(f"FAILED: {error}", flush=True)
        else:
            results.add(row, one.label, figures)
            print(line_of(figures), flush=True)
    return results


def ground_in(folder: Path, node: LocalRabbit, data: Path) -> Ground:
    return Ground(folder, node.url, int((data / "pid").read_text("ascii")))


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=DEFAULT, help=f"megabytes and clients of each row (default: {DEFAULT})")
    parser.add_argument("--most-mb", type=float, default=float("inf"), help="leave out weights larger than this")
    parser.add_argument("--peers", action="store_true", help="also declearn and Flower, installed under .venv-peers")
    parser.add_argument(
        "--compression", nargs="*", default=["bf16"], help="ours also with these compressions (default: bf16)"
    )
    parser.add_argument("--only", default="", help="leave out whose label does not have this, such as 'over RabbitMQ'")
    parser.add_argument("--takeovers", action="store_true", help="also what the death of a leader costs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw them into this file, such as bench.svg")
    parser.add_argument("--into", type=Path, help="put the tables into this file, between its bench markers")
    options = parser.parse_args(arguments)
    try:
        options.rows = parse_rows(options.rows, most_mb=options.most_mb)
        if options.into is not None:
            placed("", options.into.read_text("utf-8"), str(options.into))  # before minutes of measuring
        for name in options.compression:
            Compression.registry.get(name)
    except (ValueError, ConfigError, OSError) as error:
        parser.error(str(error))
    if not options.rows:
        parser.error(f"no row is left with --most-mb {options.most_mb:g}")
    return options


def main() -> None:
    options = options_of(sys.argv[1:])
    every = contestants(options.compression, peers=options.peers)
    taking_part = [one for one in every if options.only in one.label]
    if not taking_part:
        sys.exit(f"--only {options.only!r} leaves nobody of {', '.join(one.label for one in every)}")
    with TemporaryDirectory(prefix="fluffle-bench-") as folder:
        place = Path(folder)
        with LocalRabbit(place / "rabbit") as node:
            ground = ground_in(place, node, place / "rabbit")
            idle_mb = asyncio.run(idle.measure(node.url, place))
            results = asyncio.run(measure(taking_part, options.rows, ground))
            figures: dict[str, Any] = {"rounds": results.to_json(), "idle": idle_mb}
            if options.takeovers:
                figures["takeovers"] = asyncio.run(takeover.measure(node.url))
    text = f"{tables(results)}\n\n{idle.line_of(idle_mb)}"
    print(f"\n{text}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if options.picture:
        from tests.bench.picture import draw  # noqa: PLC0415  # a second's import, for those who want one

        draw(results, options.picture)
    if options.into:
        options.into.write_text(placed(text, options.into.read_text("utf-8"), str(options.into)), "utf-8")
    if results.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
