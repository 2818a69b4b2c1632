import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from shop.schema import options_pb2 as _options_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    PAID: _ClassVar[Outcome]
    DECLINED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
PAID: Outcome
DECLINED: Outcome

class PaymentRequested(_message.Message):
    __slots__ = ("user", "basket", "number", "attempt", "sum", "ordered_at", "epoch")
    USER_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    ORDERED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    user: str
    basket: str
    number: int
    attempt: int
    sum: int
    ordered_at: _timestamp_pb2.Timestamp
    epoch: int
    def __init__(self, user: _Optional[str] = ..., basket: _Optional[str] = ..., number: _Optional[int] = ..., attempt: _Optional[int] = ..., sum: _Optional[int] = ..., ordered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class PaymentDecided(_message.Message):
    __slots__ = ("user", "basket", "number", "attempt", "sum", "outcome", "reason", "decided_at", "epoch")
    USER_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    user: str
    basket: str
    number: int
    attempt: int
    sum: int
    outcome: Outcome
    reason: str
    decided_at: _timestamp_pb2.Timestamp
    epoch: int
    def __init__(self, user: _Optional[str] = ..., basket: _Optional[str] = ..., number: _Optional[int] = ..., attempt: _Optional[int] = ..., sum: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., reason: _Optional[str] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...
