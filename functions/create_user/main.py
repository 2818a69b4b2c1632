"""Make an account with balance 0.

Trigger   POST /CreateUser
Once per  user
"""

from functions_framework import aio

from shop import billing
from shop.edge import http
from shop.schema.billing_pb2 import CreateUserRequest, CreateUserResponse


@aio.http
@http.post(CreateUserRequest)
async def create_user(request: CreateUserRequest) -> http.Answer:
    created = await billing.create_user(request.user)
    return http.Answer(
        CreateUserResponse(status=True, message="user created", user=request.user),
        replayed=not created,
    )
