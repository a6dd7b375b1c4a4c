"""`python -m fl.cli`: the same as `fluffle`."""

from fl.cli.main import run

run()
