"""Make an account with balance 0.

Trigger   POST /CreateUser
Once per  user
"""

from functions_framework import aio

from shop import billing
from shop.edge import Answer, Call, post
from shop.schema.billing_pb2 import CreateUserRequest, CreateUserResponse


@aio.http
@post(CreateUserRequest, CreateUserResponse, needs="admin")
async def create_user(request: CreateUserRequest, _: Call) -> Answer[CreateUserResponse]:
    created = await billing.create_user(request.user)
    response = CreateUserResponse(status=True, message="user created", user=request.user)
    return Answer(response, replayed=not created)
