"""Commands as they are listed: each with all that its first line says, and without a second to find that out.

What typer draws with rich looks better, but takes as long again to import as everything else that `fluffle --help`
needs.
"""

from typing import Any, Final

import typer
from typer.core import TyperGroup

LONGEST: Final = 1_000
"""Letters of a command's first line: it is wrapped, not cut off."""


class Commands(TyperGroup):
    """A command of several.

    What it works with is click's, which typer brings along under another name from release to release.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List them in the order in which they are defined."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, one.get_short_help_str(LONGEST)) for name, one in commands.items() if one is not None]
            )

    def get_help_option(self, ctx: Any) -> Any:
        """Without a default, typer asks pydantic which truth value it is not to ask for help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def new_app(help_: str, *, epilog: str | None = None) -> typer.Typer:
    """An empty list of commands."""
    return typer.Typer(
        cls=Commands,
        help=help_,
        epilog=epilog,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
