import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from shop.schema import options_pb2 as _options_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetBasketRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class GetBasketResponse(_message.Message):
    __slots__ = ("status", "message", "basket", "attempt", "order_status")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ORDER_STATUS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    basket: str
    attempt: int
    order_status: str
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., basket: _Optional[str] = ..., attempt: _Optional[int] = ..., order_status: _Optional[str] = ...) -> None: ...

class OrderRequest(_message.Message):
    __slots__ = ("user", "sum", "basket", "attempt")
    USER_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    user: str
    sum: int
    basket: str
    attempt: int
    def __init__(self, user: _Optional[str] = ..., sum: _Optional[int] = ..., basket: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class OrderResponse(_message.Message):
    __slots__ = ("status", "message", "basket", "attempt", "order_status", "outcome", "decline_code")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ORDER_STATUS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DECLINE_CODE_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    basket: str
    attempt: int
    order_status: str
    outcome: str
    decline_code: str
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., basket: _Optional[str] = ..., attempt: _Optional[int] = ..., order_status: _Optional[str] = ..., outcome: _Optional[str] = ..., decline_code: _Optional[str] = ...) -> None: ...

class GetOrderRequest(_message.Message):
    __slots__ = ("user", "basket", "attempt")
    USER_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    user: str
    basket: str
    attempt: int
    def __init__(self, user: _Optional[str] = ..., basket: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class GetOrderResponse(_message.Message):
    __slots__ = ("status", "message", "basket", "number", "attempt", "sum", "reason", "ordered_at", "decided_at", "outcome", "decline_code")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORDERED_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DECLINE_CODE_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    basket: str
    number: int
    attempt: int
    sum: int
    reason: str
    ordered_at: _timestamp_pb2.Timestamp
    decided_at: _timestamp_pb2.Timestamp
    outcome: str
    decline_code: str
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., basket: _Optional[str] = ..., number: _Optional[int] = ..., attempt: _Optional[int] = ..., sum: _Optional[int] = ..., reason: _Optional[str] = ..., ordered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[str] = ..., decline_code: _Optional[str] = ...) -> None: ...
