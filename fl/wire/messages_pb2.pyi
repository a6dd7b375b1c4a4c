from fl.wire import tensors_pb2 as _tensors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("protocol", "version", "run", "sender", "sent_at", "join_request", "join_reply", "init_request", "init_reply", "privacy_request", "privacy_reply", "train_request", "train_reply", "evaluate_request", "evaluate_reply", "stop_request", "cancel_request", "error", "baton", "run_submitted", "run_closed", "resume_request", "replies_held", "update_refused", "replies_lacking", "block_summed", "sum_failed", "weights_ahead")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    JOIN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    JOIN_REPLY_FIELD_NUMBER: _ClassVar[int]
    INIT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    INIT_REPLY_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_REPLY_FIELD_NUMBER: _ClassVar[int]
    TRAIN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TRAIN_REPLY_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_REPLY_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUEST_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BATON_FIELD_NUMBER: _ClassVar[int]
    RUN_SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    RUN_CLOSED_FIELD_NUMBER: _ClassVar[int]
    RESUME_REQUEST_FIELD_NUMBER: _ClassVar[int]
    REPLIES_HELD_FIELD_NUMBER: _ClassVar[int]
    UPDATE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    REPLIES_LACKING_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SUMMED_FIELD_NUMBER: _ClassVar[int]
    SUM_FAILED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    run: str
    sender: str
    sent_at: float
    join_request: JoinRequest
    join_reply: JoinReply
    init_request: InitRequest
    init_reply: InitReply
    privacy_request: PrivacyRequest
    privacy_reply: PrivacyReply
    train_request: TrainRequest
    train_reply: TrainReply
    evaluate_request: EvaluateRequest
    evaluate_reply: EvaluateReply
    stop_request: StopRequest
    cancel_request: CancelRequest
    error: Error
    baton: Baton
    run_submitted: RunSubmitted
    run_closed: RunClosed
    resume_request: ResumeRequest
    replies_held: RepliesHeld
    update_refused: UpdateRefused
    replies_lacking: RepliesLacking
    block_summed: BlockSummed
    sum_failed: SumFailed
    weights_ahead: WeightsAhead
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., run: _Optional[str] = ..., sender: _Optional[str] = ..., sent_at: _Optional[float] = ..., join_request: _Optional[_Union[JoinRequest, _Mapping]] = ..., join_reply: _Optional[_Union[JoinReply, _Mapping]] = ..., init_request: _Optional[_Union[InitRequest, _Mapping]] = ..., init_reply: _Optional[_Union[InitReply, _Mapping]] = ..., privacy_request: _Optional[_Union[PrivacyRequest, _Mapping]] = ..., privacy_reply: _Optional[_Union[PrivacyReply, _Mapping]] = ..., train_request: _Optional[_Union[TrainRequest, _Mapping]] = ..., train_reply: _Optional[_Union[TrainReply, _Mapping]] = ..., evaluate_request: _Optional[_Union[EvaluateRequest, _Mapping]] = ..., evaluate_reply: _Optional[_Union[EvaluateReply, _Mapping]] = ..., stop_request: _Optional[_Union[StopRequest, _Mapping]] = ..., cancel_request: _Optional[_Union[CancelRequest, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., baton: _Optional[_Union[Baton, _Mapping]] = ..., run_submitted: _Optional[_Union[RunSubmitted, _Mapping]] = ..., run_closed: _Optional[_Union[RunClosed, _Mapping]] = ..., resume_request: _Optional[_Union[ResumeRequest, _Mapping]] = ..., replies_held: _Optional[_Union[RepliesHeld, _Mapping]] = ..., update_refused: _Optional[_Union[UpdateRefused, _Mapping]] = ..., replies_lacking: _Optional[_Union[RepliesLacking, _Mapping]] = ..., block_summed: _Optional[_Union[BlockSummed, _Mapping]] = ..., sum_failed: _Optional[_Union[SumFailed, _Mapping]] = ..., weights_ahead: _Optional[_Union[WeightsAhead, _Mapping]] = ...) -> None: ...

class RunSubmitted(_message.Message):
    __slots__ = ("spec_json", "weights", "fixed")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    spec_json: str
    weights: _tensors_pb2.Tensors
    fixed: _tensors_pb2.Tensors
    def __init__(self, spec_json: _Optional[str] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., fixed: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...

class RunClosed(_message.Message):
    __slots__ = ("status", "reason")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: str
    reason: str
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Classes(_message.Message):
    __slots__ = ("ints", "strings")
    INTS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    ints: _containers.RepeatedScalarFieldContainer[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ints: _Optional[_Iterable[int]] = ..., strings: _Optional[_Iterable[str]] = ...) -> None: ...

class DataInfo(_message.Message):
    __slots__ = ("n_samples", "n_features", "input_shape", "classes", "data_type")
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    N_FEATURES_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    n_samples: int
    n_features: int
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    classes: Classes
    data_type: str
    def __init__(self, n_samples: _Optional[int] = ..., n_features: _Optional[int] = ..., input_shape: _Optional[_Iterable[int]] = ..., classes: _Optional[_Union[Classes, _Mapping]] = ..., data_type: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("data_info", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DATA_INFO_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    data_info: DataInfo
    versions: _containers.ScalarMap[str, str]
    def __init__(self, data_info: _Optional[_Union[DataInfo, _Mapping]] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("accepted", "reason")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    reason: str
    def __init__(self, accepted: bool = ..., reason: _Optional[str] = ...) -> None: ...

class InitRequest(_message.Message):
    __slots__ = ("spec_json", "data_info", "layout", "fixed")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    DATA_INFO_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    spec_json: str
    data_info: DataInfo
    layout: _containers.RepeatedCompositeFieldContainer[_tensors_pb2.TensorSpec]
    fixed: _tensors_pb2.Tensors
    def __init__(self, spec_json: _Optional[str] = ..., data_info: _Optional[_Union[DataInfo, _Mapping]] = ..., layout: _Optional[_Iterable[_Union[_tensors_pb2.TensorSpec, _Mapping]]] = ..., fixed: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...

class InitReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrivacyRequest(_message.Message):
    __slots__ = ("epsilon", "delta", "sclip_norm", "accountant", "use_csprng")
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SCLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTANT_FIELD_NUMBER: _ClassVar[int]
    USE_CSPRNG_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    delta: float
    sclip_norm: float
    accountant: str
    use_csprng: bool
    def __init__(self, epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., sclip_norm: _Optional[float] = ..., accountant: _Optional[str] = ..., use_csprng: bool = ...) -> None: ...

class PrivacyReply(_message.Message):
    __slots__ = ("noise_multiplier", "planned_steps", "spent_epsilon", "unprotected", "warnings", "metric_noise")
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    PLANNED_STEPS_FIELD_NUMBER: _ClassVar[int]
    SPENT_EPSILON_FIELD_NUMBER: _ClassVar[int]
    UNPROTECTED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    METRIC_NOISE_FIELD_NUMBER: _ClassVar[int]
    noise_multiplier: float
    planned_steps: int
    spent_epsilon: float
    unprotected: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    metric_noise: float
    def __init__(self, noise_multiplier: _Optional[float] = ..., planned_steps: _Optional[int] = ..., spent_epsilon: _Optional[float] = ..., unprotected: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ..., metric_noise: _Optional[float] = ...) -> None: ...

class TrainRequest(_message.Message):
    __slots__ = ("round", "weights", "aux", "counted", "edition", "route")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    AUX_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    EDITION_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights: _tensors_pb2.Tensors
    aux: _tensors_pb2.Tensors
    counted: int
    edition: int
    route: str
    def __init__(self, round: _Optional[int] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., aux: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., counted: _Optional[int] = ..., edition: _Optional[int] = ..., route: _Optional[str] = ...) -> None: ...

class TrainReply(_message.Message):
    __slots__ = ("round", "weights_digest", "update", "n_steps", "n_samples", "seconds", "aux", "reads_ahead")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    N_STEPS_FIELD_NUMBER: _ClassVar[int]
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    AUX_FIELD_NUMBER: _ClassVar[int]
    READS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    update: _tensors_pb2.Tensors
    n_steps: int
    n_samples: int
    seconds: float
    aux: _tensors_pb2.Tensors
    reads_ahead: bool
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., update: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., n_steps: _Optional[int] = ..., n_samples: _Optional[int] = ..., seconds: _Optional[float] = ..., aux: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., reads_ahead: bool = ...) -> None: ...

class WeightsAhead(_message.Message):
    __slots__ = ("round", "weights")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights: _tensors_pb2.BlobRef
    def __init__(self, round: _Optional[int] = ..., weights: _Optional[_Union[_tensors_pb2.BlobRef, _Mapping]] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("round", "weights", "counted")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights: _tensors_pb2.Tensors
    counted: int
    def __init__(self, round: _Optional[int] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., counted: _Optional[int] = ...) -> None: ...

class EvaluateReply(_message.Message):
    __slots__ = ("round", "weights_digest", "loss_sum", "weight_sum", "n_samples", "metrics", "seconds")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOSS_SUM_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_SUM_FIELD_NUMBER: _ClassVar[int]
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    loss_sum: float
    weight_sum: float
    n_samples: int
    metrics: _tensors_pb2.Tensors
    seconds: float
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., loss_sum: _Optional[float] = ..., weight_sum: _Optional[float] = ..., n_samples: _Optional[int] = ..., metrics: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., seconds: _Optional[float] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("status", "reason", "best_round", "weights", "fixed")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BEST_ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    status: str
    reason: str
    best_round: int
    weights: _tensors_pb2.Tensors
    fixed: _tensors_pb2.Tensors
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ..., best_round: _Optional[int] = ..., weights: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., fixed: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "text", "round", "weights_digest")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CODE_UNSPECIFIED: _ClassVar[Error.Code]
        UNINITIALISED: _ClassVar[Error.Code]
        REFUSED: _ClassVar[Error.Code]
        FAILED: _ClassVar[Error.Code]
        VERSION: _ClassVar[Error.Code]
    CODE_UNSPECIFIED: Error.Code
    UNINITIALISED: Error.Code
    REFUSED: Error.Code
    FAILED: Error.Code
    VERSION: Error.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    code: Error.Code
    text: str
    round: int
    weights_digest: bytes
    def __init__(self, code: _Optional[_Union[Error.Code, str]] = ..., text: _Optional[str] = ..., round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ...) -> None: ...

class Baton(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RepliesHeld(_message.Message):
    __slots__ = ("round", "weights_digest", "clients")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., clients: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateRefused(_message.Message):
    __slots__ = ("round", "weights_digest", "client", "problem", "held", "again")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    client: str
    problem: str
    held: bool
    again: bool
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., client: _Optional[str] = ..., problem: _Optional[str] = ..., held: bool = ..., again: bool = ...) -> None: ...

class RepliesLacking(_message.Message):
    __slots__ = ("round", "weights_digest", "clients", "queue_lost")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LOST_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    clients: _containers.RepeatedScalarFieldContainer[str]
    queue_lost: bool
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., clients: _Optional[_Iterable[str]] = ..., queue_lost: bool = ...) -> None: ...

class BlockSummed(_message.Message):
    __slots__ = ("round", "weights_digest", "block", "parts", "total", "weight", "aux")
    class Part(_message.Message):
        __slots__ = ("client", "n_steps", "n_samples", "seconds", "update_norm")
        CLIENT_FIELD_NUMBER: _ClassVar[int]
        N_STEPS_FIELD_NUMBER: _ClassVar[int]
        N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
        SECONDS_FIELD_NUMBER: _ClassVar[int]
        UPDATE_NORM_FIELD_NUMBER: _ClassVar[int]
        client: str
        n_steps: int
        n_samples: int
        seconds: float
        update_norm: float
        def __init__(self, client: _Optional[str] = ..., n_steps: _Optional[int] = ..., n_samples: _Optional[int] = ..., seconds: _Optional[float] = ..., update_norm: _Optional[float] = ...) -> None: ...
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    AUX_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    block: int
    parts: _containers.RepeatedCompositeFieldContainer[BlockSummed.Part]
    total: _tensors_pb2.Tensors
    weight: float
    aux: _tensors_pb2.Tensors
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., block: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[BlockSummed.Part, _Mapping]]] = ..., total: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ..., weight: _Optional[float] = ..., aux: _Optional[_Union[_tensors_pb2.Tensors, _Mapping]] = ...) -> None: ...

class SumFailed(_message.Message):
    __slots__ = ("round", "weights_digest", "reason")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    round: int
    weights_digest: bytes
    reason: str
    def __init__(self, round: _Optional[int] = ..., weights_digest: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...
