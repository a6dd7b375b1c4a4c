from fl.wire import messages_pb2 as _messages_pb2
from fl.wire import tensors_pb2 as _tensors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoundKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_KIND_UNSPECIFIED: _ClassVar[RoundKind]
    TRAIN: _ClassVar[RoundKind]
    EVALUATE: _ClassVar[RoundKind]
ROUND_KIND_UNSPECIFIED: RoundKind
TRAIN: RoundKind
EVALUATE: RoundKind

class LogRecord(_message.Message):
    __slots__ = ("protocol", "leader", "at", "number", "leader_started", "clients_admitted", "run_initialised", "clients_ready", "round_opened", "round_committed", "run_ended", "still_waiting", "run_paused", "clients_returned", "clients_out", "round_closed")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEADER_STARTED_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_ADMITTED_FIELD_NUMBER: _ClassVar[int]
    RUN_INITIALISED_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_READY_FIELD_NUMBER: _ClassVar[int]
    ROUND_OPENED_FIELD_NUMBER: _ClassVar[int]
    ROUND_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    RUN_ENDED_FIELD_NUMBER: _ClassVar[int]
    STILL_WAITING_FIELD_NUMBER: _ClassVar[int]
    RUN_PAUSED_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_RETURNED_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_OUT_FIELD_NUMBER: _ClassVar[int]
    ROUND_CLOSED_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    leader: str
    at: float
    number: int
    leader_started: LeaderStarted
    clients_admitted: ClientsAdmitted
    run_initialised: RunInitialised
    clients_ready: ClientsReady
    round_opened: RoundOpened
    round_committed: RoundCommitted
    run_ended: RunEnded
    still_waiting: StillWaiting
    run_paused: RunPaused
    clients_returned: ClientsReturned
    clients_out: ClientsOut
    round_closed: RoundClosed
    def __init__(self, protocol: _Optional[int] = ..., leader: _Optional[str] = ..., at: _Optional[float] = ..., number: _Optional[int] = ..., leader_started: _Optional[_Union[LeaderStarted, _Mapping]] = ..., clients_admitted: _Optional[_Union[ClientsAdmitted, _Mapping]] = ..., run_initialised: _Optional[_Union[RunInitialised, _Mapping]] = ..., clients_ready: _Optional[_Union[ClientsReady, _Mapping]] = ..., round_opened: _Optional[_Union[RoundOpened, _Mapping]] = ..., round_committed: _Optional[_Union[RoundCommitted, _Mapping]] = ..., run_ended: _Optional[_Union[RunEnded, _Mapping]] = ..., still_waiting: _Optional[_Union[StillWaiting, _Mapping]] = ..., run_paused: _Optional[_Union[RunPaused, _Mapping]] = ..., clients_returned: _Optional[_Union[ClientsReturned, _Mapping]] = ..., clients_out: _Optional[_Union[ClientsOut, _Mapping]] = ..., round_closed: _Optional[_Union[RoundClosed, _Mapping]] = ...) -> None: ...

class LeaderStarted(_message.Message):
    __slots__ = ("worker", "logic_version")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LOGIC_VERSION_FIELD_NUMBER: _ClassVar[int]
    worker: str
    logic_version: int
    def __init__(self, worker: _Optional[str] = ..., logic_version: _Optional[int] = ...) -> None: ...

class ClientNote(_message.Message):
    __slots__ = ("client", "reason", "cause")
    class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAUSE_UNSPECIFIED: _ClassVar[ClientNote.Cause]
        FAILED: _ClassVar[ClientNote.Cause]
        LATE: _ClassVar[ClientNote.Cause]
        GONE: _ClassVar[ClientNote.Cause]
        REFUSED: _ClassVar[ClientNote.Cause]
    CAUSE_UNSPECIFIED: ClientNote.Cause
    FAILED: ClientNote.Cause
    LATE: ClientNote.Cause
    GONE: ClientNote.Cause
    REFUSED: ClientNote.Cause
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    client: str
    reason: str
    cause: ClientNote.Cause
    def __init__(self, client: _Optional[str] = ..., reason: _Optional[str] = ..., cause: _Optional[_Union[ClientNote.Cause, str]] = ...) -> None: ...

class AdmittedClient(_message.Message):
    __slots__ = ("client", "data_info")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DATA_INFO_FIELD_NUMBER: _ClassVar[int]
    client: str
    data_info: _messages_pb2.DataInfo
    def __init__(self, client: _Optional[str] = ..., data_info: _Optional[_Union[_messages_pb2.DataInfo, _Mapping]] = ...) -> None: ...

class ClientsAdmitted(_message.Message):
    __slots__ = ("clients", "refused")
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedCompositeFieldContainer[AdmittedClient]
    refused: _containers.RepeatedCompositeFieldContainer[ClientNote]
    def __init__(self, clients: _Optional[_Iterable[_Union[AdmittedClient, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[ClientNote, _Mapping]]] = ...) -> None: ...

class RunInitialised(_message.Message):
    __slots__ = ("data_info", "weights", "aux", "fixed", "sent_weights")
    DATA_INFO_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    AUX_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    SENT_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    data_info: _messages_pb2.DataInfo
    weights: _tensors_pb2.Tensors
    aux: _tensors_pb2.Tensors
    fixed: _tensors_pb2.Tensors
    sent_weights: _tensors_pb2.Tensors
    def __init__(self, data_info: _Optional[_Union[_messages_pb2.DataInfo, _Mapping]] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., aux: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., fixed: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., sent_weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...

class ClientTerms(_message.Message):
    __slots__ = ("client", "terms")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    client: str
    terms: _messages_pb2.PrivacyReply
    def __init__(self, client: _Optional[str] = ..., terms: _Optional[_Union[_messages_pb2.PrivacyReply, _Mapping]] = ...) -> None: ...

class ClientsReady(_message.Message):
    __slots__ = ("clients", "failed", "terms")
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    failed: _containers.RepeatedCompositeFieldContainer[ClientNote]
    terms: _containers.RepeatedCompositeFieldContainer[ClientTerms]
    def __init__(self, clients: _Optional[_Iterable[str]] = ..., failed: _Optional[_Iterable[_Union[ClientNote, _Mapping]]] = ..., terms: _Optional[_Iterable[_Union[ClientTerms, _Mapping]]] = ...) -> None: ...

class RoundOpened(_message.Message):
    __slots__ = ("round", "kind", "participants", "deadline_s")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    round: int
    kind: RoundKind
    participants: _containers.RepeatedScalarFieldContainer[str]
    deadline_s: float
    def __init__(self, round: _Optional[int] = ..., kind: _Optional[_Union[RoundKind, str]] = ..., participants: _Optional[_Iterable[str]] = ..., deadline_s: _Optional[float] = ...) -> None: ...

class RoundClosed(_message.Message):
    __slots__ = ("round", "clients")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, round: _Optional[int] = ..., clients: _Optional[_Iterable[str]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "values", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedScalarFieldContainer[float]
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class ClientResult(_message.Message):
    __slots__ = ("client", "n_steps", "n_samples", "seconds", "loss", "update_norm")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    N_STEPS_FIELD_NUMBER: _ClassVar[int]
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_NORM_FIELD_NUMBER: _ClassVar[int]
    client: str
    n_steps: int
    n_samples: int
    seconds: float
    loss: float
    update_norm: float
    def __init__(self, client: _Optional[str] = ..., n_steps: _Optional[int] = ..., n_samples: _Optional[int] = ..., seconds: _Optional[float] = ..., loss: _Optional[float] = ..., update_norm: _Optional[float] = ...) -> None: ...

class RoundCommitted(_message.Message):
    __slots__ = ("round", "kind", "participants", "dropped", "weights", "server_state", "loss", "metrics", "note", "aux", "sent_weights", "clip_norm")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    SERVER_STATE_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AUX_FIELD_NUMBER: _ClassVar[int]
    SENT_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    round: int
    kind: RoundKind
    participants: _containers.RepeatedCompositeFieldContainer[ClientResult]
    dropped: _containers.RepeatedCompositeFieldContainer[ClientNote]
    weights: _tensors_pb2.Tensors
    server_state: _tensors_pb2.Tensors
    loss: float
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    note: str
    aux: _tensors_pb2.Tensors
    sent_weights: _tensors_pb2.Tensors
    clip_norm: float
    def __init__(self, round: _Optional[int] = ..., kind: _Optional[_Union[RoundKind, str]] = ..., participants: _Optional[_Iterable[_Union[ClientResult, _Mapping]]] = ..., dropped: _Optional[_Iterable[_Union[ClientNote, _Mapping]]] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., server_state: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., loss: _Optional[float] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., note: _Optional[str] = ..., aux: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., sent_weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., clip_norm: _Optional[float] = ...) -> None: ...

class StillWaiting(_message.Message):
    __slots__ = ("waited_s", "answered", "awaited")
    WAITED_S_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    AWAITED_FIELD_NUMBER: _ClassVar[int]
    waited_s: float
    answered: _containers.RepeatedScalarFieldContainer[str]
    awaited: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, waited_s: _Optional[float] = ..., answered: _Optional[_Iterable[str]] = ..., awaited: _Optional[_Iterable[str]] = ...) -> None: ...

class ClientsOut(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedCompositeFieldContainer[ClientNote]
    def __init__(self, clients: _Optional[_Iterable[_Union[ClientNote, _Mapping]]] = ...) -> None: ...

class RunPaused(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ClientsReturned(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clients: _Optional[_Iterable[str]] = ...) -> None: ...

class RunEnded(_message.Message):
    __slots__ = ("status", "reason", "best_round", "weights")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BEST_ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    status: str
    reason: str
    best_round: int
    weights: _tensors_pb2.Tensors
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ..., best_round: _Optional[int] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...
