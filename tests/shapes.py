"""Platforms as they differ in the field: column types, and names each of which is a trap."""

from __future__ import annotations

from campaign_ops.lab.shop.schema import PRISMA, PlatformShape
from campaign_ops.profile.model import Profile

SHAPES = {
    "prisma": PRISMA,
    "uuid": PlatformShape(ids="uuid", statuses="enum", timestamps="aware", amounts="numeric"),
    "integer": PlatformShape(ids="integer", statuses="text", timestamps="aware"),
    "bigint": PlatformShape(ids="bigint", statuses="enum", timestamps="naive", amounts="numeric"),
}

# snake_case in another schema; reserved words, quotes, percent signs, colons, blanks, brackets.
SNAKE = Profile.model_validate(
    {
        "name": "snake",
        "schema": "bulk mail",
        "campaign": {
            "table": "order",
            "id": "select",
            "tenant": "account_id",
            "name": 'od"d %col',
            "status": "user",
            "updated_at": "updated at",
            "started_at": "from",
            "completed_at": "finished_at",
            "counters": {"total": "recipients:total", "succeeded": "sent%", "failed": "%(failed)s"},
            "words": {
                "sending": "in 'flight'",
                "done": "completed",
                "failed": "failed%s",
                "over": ["cancelled: by user"],
                "idle": ["draft", "100%"],
            },
        },
        "recipient": {
            "table": "camp.recipient",
            "id": "group",
            "campaign_id": "table",
            "status": "Status",
            "provider_id": "where",
            "activity": ["sent%at", 'a "b"', "end"],
            "words": {"pending": ["queued", "new\\"], "succeeded": ["sent", "de'livered"], "failed": ["failed"]},
        },
        "reservation": {
            "table": "credit\\reservation",
            "id": "id",
            "tenant": "account_id",
            "campaign_id": "order",
            "amount": "limit",
            "status": "check",
            "created_at": "created_at",
            "expires_at": "expires:at",
            "released_at": "null",
            "words": {"held": "on hold", "released": "free"},
        },
    }
)
