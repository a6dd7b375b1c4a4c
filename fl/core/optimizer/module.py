"""What an optimizer's module promises: one algorithm that rewrites gradients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from fl.core.mergeable import Addend, Sum
from fl.core.registry import Registered, Registry
from fl.core.vector import Vector


class OptiModule(Registered, ABC, register=False):
    """One algorithm in an optimizer's pipeline: gradients in, gradients out.

    The gradients are not the module's: it neither writes into them nor keeps them, since whoever computed them may
    use their memory for the next step's. What it gives out is the other way about: the module must not need it again.
    """

    registry: ClassVar[Registry["OptiModule"]] = Registry(
        "optimizer module",
        {
            "adagrad": "fl.core.optimizer.adaptive:AdagradModule",
            "adam": "fl.core.optimizer.adam:AdamModule",
            "ewma": "fl.core.optimizer.momentum:EWMAModule",
            "gaussian-noise": "fl.core.optimizer.noise:GaussianNoiseModule",
            "l2-clipping": "fl.core.optimizer.clipping:L2Clipping",
            "l2-global-clipping": "fl.core.optimizer.clipping:L2GlobalClipping",
            "momentum": "fl.core.optimizer.momentum:MomentumModule",
            "rmsprop": "fl.core.optimizer.adaptive:RMSPropModule",
            "scaffold-client": "fl.core.optimizer.scaffold:ScaffoldClientModule",
            "scaffold-server": "fl.core.optimizer.scaffold:ScaffoldServerModule",
            "tensorflow-optim": "fl.core.optimizer.tensorflow_optim:TensorflowOptiModule",
            "torch-optim": "fl.core.optimizer.torch_optim:TorchOptiModule",
            "yogi": "fl.core.optimizer.adam:YogiModule",
            "yogi-momentum": "fl.core.optimizer.momentum:YogiMomentumModule",
        },
    )
    aux_name: ClassVar[str | None] = None
    """Shared by the client's and the server's half of an algorithm that exchanges auxiliary variables."""
    reuses_memory: ClassVar[bool] = False
    """Whether what `run` gives is a buffer of the module's that the next `run` overwrites, and others may too."""

    @abstractmethod
    def run(self, gradients: Vector) -> Vector:
        """Gradients as the next module, or the learning rate, shall see them."""

    def start_round(self, weights: Vector) -> None:
        """A round starts from these weights, which are not the module's to keep or write into."""

    def collect_aux_var(self) -> Sum | None:
        """What to send to the other half, to be summed over clients; None when there is nothing to send."""
        return None

    def process_aux_var(self, aux: Mapping[str, Addend]) -> None:
        """Take in what the other half sent. Raises `ValueError` when it is not understood."""
        raise ValueError(f"module {self.name!r} exchanges no auxiliary variables, but got {', '.join(aux)}")

    def get_state(self) -> dict[str, Any]:
        """All that changes from step to step: vectors that no later step changes, and values JSON can carry."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave, and leave that as it is. Raises `ValueError` for another's."""
        check_fields(self.name, state, set())


def check_fields(name: str, state: Mapping[str, Any], expected: set[str]) -> None:
    """Raise `ValueError` unless a state has the expected fields and no other."""
    if state.keys() != expected:
        raise ValueError(f"state of {name!r} has the fields {sorted(state)} where {sorted(expected)} are expected")
