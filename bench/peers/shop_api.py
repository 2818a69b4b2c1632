"""The shop's HTTP side as most would write it: FastAPI, one statement after the other, an event for each order."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from bson import ObjectId
from fastapi import FastAPI, HTTPException
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError

Document = dict[str, Any]

broker = KafkaBroker(os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", logger=None)
client = AsyncMongoClient[Document](os.environ["MONGODB_URI"], w="majority")
users, baskets, notifications = client.peer["users"], client.peer["baskets"], client.peer["notifications"]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await baskets.create_index({"user": 1, "number": 1}, unique=True)
    await notifications.create_index({"user": 1, "_id": 1})
    async with broker:
        await broker.connect()
        yield


app = FastAPI(lifespan=lifespan)


class User(BaseModel):
    user: str


class Deposit(User):
    sum: int


class Order(Deposit):
    basket: str
    attempt: int


@app.post("/CreateUser")
async def create_user(request: User) -> Document:
    await users.update_one({"_id": request.user}, {"$setOnInsert": {"balance": 0, "paid_baskets": []}}, upsert=True)
    return {"message": "user created"}


@app.post("/DepositCash")
async def deposit_cash(request: Deposit) -> Document:
    await users.update_one({"_id": request.user}, {"$inc": {"balance": request.sum}})
    return {"message": "deposited"}


@app.get("/GetUser")
async def get_user(user: str) -> Document:
    account = await users.find_one({"_id": user})
    if account is None:
        raise HTTPException(404)
    return {"balance": account["balance"]}


@app.get("/GetBasket")
async def get_basket(user: str) -> Document:
    basket = await baskets.find_one({"user": user}, sort=[("number", -1)])
    if basket is None or basket["status"] == "paid":
        number = basket["number"] + 1 if basket else 1
        basket = {"_id": ObjectId(), "user": user, "number": number, "status": "open", "attempt": 0}
        try:
            await baskets.insert_one(basket)
        except DuplicateKeyError:  # somebody else was faster
            return await get_basket(user)
    attempt = basket["attempt"] + (basket["status"] == "open")
    return {"basket": str(basket["_id"]), "attempt": attempt, "order_status": basket["status"]}


@app.post("/Order")
async def order(request: Order) -> Document:
    basket = await baskets.find_one_and_update(
        {"_id": ObjectId(request.basket), "user": request.user, "status": "open", "attempt": request.attempt - 1},
        {"$set": {"status": "ordered", "sum": request.sum, "attempt": request.attempt}},
        return_document=ReturnDocument.AFTER,
    )
    if basket is None:
        raise HTTPException(409)
    await broker.publish(
        {**request.model_dump(), "number": basket["number"]}, "peer-payments", key=request.user.encode()
    )
    return {"message": "order accepted"}


@app.get("/List")
async def list_notifications(user: str, limit: int = 100, before: str = "") -> Document:
    after = {"user": user, "_id": {"$gt": before}}
    page = await notifications.find(after).sort("_id", 1).limit(limit).to_list()
    return {"notifications": page, "next": page[-1]["_id"] if len(page) == limit else None}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False, timeout_keep_alive=120)
