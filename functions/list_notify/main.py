"""List the notifications of one user or of all, in pages.

Trigger   GET /List
"""

from functions_framework import aio

from shop import notifications
from shop.edge import http
from shop.messages import from_document
from shop.schema.notify_pb2 import ListRequest, ListResponse, Notification


@aio.http
@http.get(ListRequest, headers=("Accept",))
async def list_notify(request: ListRequest, accept: str | None) -> http.Answer:
    page = await notifications.latest(
        user=request.user if request.HasField("user") else None,
        limit=request.limit if request.HasField("limit") else notifications.PAGE,
        before=request.before if request.HasField("before") else None,
    )
    log = [notifications.line(notification) for notification in page.notifications]
    return http.Answer(
        ListResponse(
            status=True,
            message="\n".join(log),
            log=log,
            notifications=[from_document(Notification, each, id=each["_id"]) for each in page.notifications],
            next=page.older,
        ),
        text="".join(f"{line}\n" for line in log) if http.prefers_text(accept) else None,
    )
