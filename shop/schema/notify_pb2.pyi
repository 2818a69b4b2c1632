import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from shop.schema import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListRequest(_message.Message):
    __slots__ = ("user", "limit", "before")
    USER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    user: str
    limit: int
    before: str
    def __init__(self, user: _Optional[str] = ..., limit: _Optional[int] = ..., before: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("status", "message", "log", "notifications", "next")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    log: _containers.RepeatedScalarFieldContainer[str]
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    next: str
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., log: _Optional[_Iterable[str]] = ..., notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("id", "user", "basket", "attempt", "sum", "outcome", "reason", "decided_at", "recorded_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    user: str
    basket: str
    attempt: int
    sum: int
    outcome: str
    reason: str
    decided_at: _timestamp_pb2.Timestamp
    recorded_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., user: _Optional[str] = ..., basket: _Optional[str] = ..., attempt: _Optional[int] = ..., sum: _Optional[int] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
