"""List the notifications of one user or of all, in pages.

Trigger   GET /List
"""

from functions_framework import aio

from shop import notifications
from shop.edge import Answer, Call, get
from shop.schema.notify_pb2 import ListRequest, ListResponse


@aio.http
@get(ListRequest, ListResponse)
async def list_notify(request: ListRequest, call: Call) -> Answer[ListResponse]:
    page = await notifications.show(request)
    text = "".join(f"{line}\n" for line in page.log) if call.prefers_text else None
    return Answer(page, text=text)
