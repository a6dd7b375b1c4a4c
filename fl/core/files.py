"""Files that are whole or not there: written beside their place, flushed to the disk, and renamed."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fl.errors import ModelError

if TYPE_CHECKING:
    from fl.core.vector import NumpyVector  # needs numpy, which an idle daemon does without


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, whose file takes the place of `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to a name in its own folder, in place of what it was."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.symlink_to(target)
    temporary.replace(path)
    flush(path.parent)


def write_vector(path: Path, vector: "NumpyVector", facts: Mapping[str, str]) -> None:
    """Write a vector as safetensors, with some facts about it in the header."""
    from safetensors.numpy import save_file  # noqa: PLC0415  # servers keep no files

    layout = json.dumps([[spec.name, spec.dtype, spec.shape, spec.role] for spec in vector.layout.specs])
    with replacing(path) as temporary:
        save_file(vector.arrays(), temporary, {**facts, "layout": layout})


def read_vector(path: Path) -> "tuple[NumpyVector, dict[str, str]]":
    """The vector of a safetensors file, and the facts in its header.

    A file that another program wrote gives its tensors in the order of their names. Raises `ModelError` naming the
    file and what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415  # servers keep no files

    from fl.core.vector import NumpyVector, Role  # noqa: PLC0415  # an idle daemon reads none

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as content:
            facts = dict(content.metadata() or {})
            roles = {name: Role(role) for name, _, _, role in json.loads(facts.pop("layout", "[]"))}
            names = list(roles) or sorted(content.keys())
            return NumpyVector.from_arrays({name: content.get_tensor(name) for name in names}, roles), facts
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: not a file of weights that can be read: {error}") from error


def flush(path: Path) -> None:
    """Wait until what was written to a file, or which files a folder has, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
