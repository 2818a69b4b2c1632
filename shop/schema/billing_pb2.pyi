import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from shop.schema import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateUserRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class CreateUserResponse(_message.Message):
    __slots__ = ("status", "message", "user")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    user: str
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., user: _Optional[str] = ...) -> None: ...

class DepositCashRequest(_message.Message):
    __slots__ = ("user", "sum")
    USER_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    user: str
    sum: int
    def __init__(self, user: _Optional[str] = ..., sum: _Optional[int] = ...) -> None: ...

class DepositCashResponse(_message.Message):
    __slots__ = ("status", "message", "balance")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    balance: int
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., balance: _Optional[int] = ...) -> None: ...

class GetUserRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class GetUserResponse(_message.Message):
    __slots__ = ("status", "message", "balance", "paid_baskets", "deposits")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    PAID_BASKETS_FIELD_NUMBER: _ClassVar[int]
    DEPOSITS_FIELD_NUMBER: _ClassVar[int]
    status: bool
    message: str
    balance: int
    paid_baskets: _containers.RepeatedCompositeFieldContainer[PaidBasket]
    deposits: _containers.RepeatedCompositeFieldContainer[Deposit]
    def __init__(self, status: _Optional[bool] = ..., message: _Optional[str] = ..., balance: _Optional[int] = ..., paid_baskets: _Optional[_Iterable[_Union[PaidBasket, _Mapping]]] = ..., deposits: _Optional[_Iterable[_Union[Deposit, _Mapping]]] = ...) -> None: ...

class PaidBasket(_message.Message):
    __slots__ = ("basket", "number", "attempt", "sum", "paid_at")
    BASKET_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    PAID_AT_FIELD_NUMBER: _ClassVar[int]
    basket: str
    number: int
    attempt: int
    sum: int
    paid_at: _timestamp_pb2.Timestamp
    def __init__(self, basket: _Optional[str] = ..., number: _Optional[int] = ..., attempt: _Optional[int] = ..., sum: _Optional[int] = ..., paid_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Deposit(_message.Message):
    __slots__ = ("key", "sum", "at")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    key: str
    sum: int
    at: _timestamp_pb2.Timestamp
    def __init__(self, key: _Optional[str] = ..., sum: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
