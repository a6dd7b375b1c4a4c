"""The run that our own contestants make: rounds of the constant model, and when each was committed."""

import time

from fl.core.vector import NumpyVector
from fl.run.events import Kind, RoundCommitted
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from fl.submit.submission import Submission, prepare
from tests.bench.constant_model import RATE, ConstantModel
from tests.bench.constants import weights_of
from tests.bench.rows import Row


def submission_of(row: Row, *, compression: str = "none") -> Submission:
    """One round more than is measured, so that all parties still live when the last of those is over."""
    run = {
        "rounds": row.n_rounds + 2,
        "register": row.n_clients,
        "seed": 0,
        "training": {"batch_size": 1},
        "evaluate": False,
        "patience": 0,  # whoever fails a round here will not mend
        "compression": compression,
    }
    model = {"kind": ConstantModel.name, "config": {"n_bytes": row.n_bytes}}
    spec = RunSpec.parse({"name": "bench", "model": model, "optim": {"client_opt": RATE}, "run": run}, "bench")
    return prepare(spec, NumpyVector.from_arrays(dict(weights_of(row.n_bytes))), sender="bench", now=time.time())


def is_round(happened: Happened) -> bool:
    return isinstance(happened.record, RoundCommitted) and happened.record.kind is Kind.TRAIN
