from fl.wire import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainerSetup(_message.Message):
    __slots__ = ("client", "train_json", "valid_json", "share_metrics", "seed", "gpu", "idx", "allow_factories", "allow_pickle", "threads", "ledger_path", "private_only", "cap", "share_loss", "told_samples", "metric_noise", "loss_bound", "state_path")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_JSON_FIELD_NUMBER: _ClassVar[int]
    VALID_JSON_FIELD_NUMBER: _ClassVar[int]
    SHARE_METRICS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    IDX_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FACTORIES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PICKLE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_PATH_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    SHARE_LOSS_FIELD_NUMBER: _ClassVar[int]
    TOLD_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRIC_NOISE_FIELD_NUMBER: _ClassVar[int]
    LOSS_BOUND_FIELD_NUMBER: _ClassVar[int]
    STATE_PATH_FIELD_NUMBER: _ClassVar[int]
    client: str
    train_json: str
    valid_json: str
    share_metrics: bool
    seed: bytes
    gpu: bool
    idx: int
    allow_factories: _containers.RepeatedScalarFieldContainer[str]
    allow_pickle: bool
    threads: int
    ledger_path: str
    private_only: bool
    cap: PrivacyCap
    share_loss: bool
    told_samples: int
    metric_noise: float
    loss_bound: float
    state_path: str
    def __init__(self, client: _Optional[str] = ..., train_json: _Optional[str] = ..., valid_json: _Optional[str] = ..., share_metrics: bool = ..., seed: _Optional[bytes] = ..., gpu: bool = ..., idx: _Optional[int] = ..., allow_factories: _Optional[_Iterable[str]] = ..., allow_pickle: bool = ..., threads: _Optional[int] = ..., ledger_path: _Optional[str] = ..., private_only: bool = ..., cap: _Optional[_Union[PrivacyCap, _Mapping]] = ..., share_loss: bool = ..., told_samples: _Optional[int] = ..., metric_noise: _Optional[float] = ..., loss_bound: _Optional[float] = ..., state_path: _Optional[str] = ...) -> None: ...

class PrivacyCap(_message.Message):
    __slots__ = ("epsilon", "delta", "accountant")
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTANT_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    delta: float
    accountant: str
    def __init__(self, epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., accountant: _Optional[str] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "size")
    START_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    start: int
    size: int
    def __init__(self, start: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class TrainerCall(_message.Message):
    __slots__ = ("run", "setup", "init", "train", "evaluate", "privacy", "spans")
    class SpansEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Span
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    SETUP_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    run: str
    setup: TrainerSetup
    init: _messages_pb2.InitRequest
    train: _messages_pb2.TrainRequest
    evaluate: _messages_pb2.EvaluateRequest
    privacy: _messages_pb2.PrivacyRequest
    spans: _containers.MessageMap[str, Span]
    def __init__(self, run: _Optional[str] = ..., setup: _Optional[_Union[TrainerSetup, _Mapping]] = ..., init: _Optional[_Union[_messages_pb2.InitRequest, _Mapping]] = ..., train: _Optional[_Union[_messages_pb2.TrainRequest, _Mapping]] = ..., evaluate: _Optional[_Union[_messages_pb2.EvaluateRequest, _Mapping]] = ..., privacy: _Optional[_Union[_messages_pb2.PrivacyRequest, _Mapping]] = ..., spans: _Optional[_Mapping[str, Span]] = ...) -> None: ...

class TrainerAnswer(_message.Message):
    __slots__ = ("data_info", "init", "train", "evaluate", "error", "privacy", "spans")
    class SpansEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Span
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...
    DATA_INFO_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    data_info: _messages_pb2.DataInfo
    init: _messages_pb2.InitReply
    train: _messages_pb2.TrainReply
    evaluate: _messages_pb2.EvaluateReply
    error: _messages_pb2.Error
    privacy: _messages_pb2.PrivacyReply
    spans: _containers.MessageMap[str, Span]
    def __init__(self, data_info: _Optional[_Union[_messages_pb2.DataInfo, _Mapping]] = ..., init: _Optional[_Union[_messages_pb2.InitReply, _Mapping]] = ..., train: _Optional[_Union[_messages_pb2.TrainReply, _Mapping]] = ..., evaluate: _Optional[_Union[_messages_pb2.EvaluateReply, _Mapping]] = ..., error: _Optional[_Union[_messages_pb2.Error, _Mapping]] = ..., privacy: _Optional[_Union[_messages_pb2.PrivacyReply, _Mapping]] = ..., spans: _Optional[_Mapping[str, Span]] = ...) -> None: ...
