"""The tables `train` and `valid` of a site: which dataset, of which kind, with which options."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from fl.run.config import Config

IN_MEMORY: Final = "in-memory"


class DataConfig(Config):
    """A dataset that fits in memory. Paths are relative to the file that names them."""

    kind: Literal["in-memory"] = IN_MEMORY
    path: str
    """A CSV, NPY, sparse NPZ or svmlight file."""
    target: str | list[str] | None = None
    """The column, the columns, or the file, that holds what is to be predicted; a svmlight file holds it itself."""
    s_wght: str | None = None
    """The column, or the file, that holds the samples' weights."""
    f_cols: list[str] | None = None
    """The columns to learn from; without it all but target and weights."""
    expose_classes: bool = False
    """Tell the server which labels there are; classifiers need it."""
    expose_data_type: bool = False
    n_features: int | None = None
    """How many features there are, which a svmlight file does not say, and on which sites must agree."""
    zero_based: bool = False
    """Indices in a svmlight file count from 0."""

    def description(self) -> dict[str, Any]:
        """What `Dataset.load` takes."""
        options = self.model_dump(exclude={"kind", "path"})
        return {"name": self.kind, "data": self.path, **options}


class OtherDataConfig(BaseModel):
    """A dataset of another registered kind, such as `torch`, or of an installed package.

    All other keys are that kind's own options, and go to it as they are: it refuses those that it does not know, and
    paths in them are relative to the folder that the daemon was started in.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    def description(self) -> dict[str, Any]:
        """What `Dataset.load` takes."""
        return {"name": self.kind, "config": self.model_extra}


def _of_its_kind(table: Any) -> Any:
    if isinstance(table, DataConfig | OtherDataConfig):
        return table
    if not isinstance(table, dict):
        raise ValueError(  # noqa: TRY004  # what pydantic takes for an answer
            f'{table!r} is no table: write {{ path = "train.csv", target = "label" }}'
        )
    return (DataConfig if table.get("kind", IN_MEMORY) == IN_MEMORY else OtherDataConfig).model_validate(table)


AnyData = Annotated[DataConfig | OtherDataConfig, BeforeValidator(_of_its_kind)]


def resolve_data(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of a dataset in memory, its paths taken relative to `folder`; any other as it is.

    A target or weights may name a column or a file: it is a file where there is one, or where its name says so.
    """
    if table.get("kind", IN_MEMORY) != IN_MEMORY:
        return table
    resolved = dict(table)
    for key in ("path", "target", "s_wght"):
        value = table.get(key)
        if isinstance(value, str) and (key == "path" or _is_file(value, folder)):
            resolved[key] = str(folder / value)
    return resolved


def _is_file(value: str, folder: Path) -> bool:
    if (folder / value).is_file():
        return True
    suffix = Path(value).suffix.lower()
    if not suffix:
        return False
    from fl.core.dataset.files import READERS  # noqa: PLC0415  # numpy, which an idle daemon does without

    return suffix in READERS
