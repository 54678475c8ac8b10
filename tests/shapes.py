"""A platform whose every name is a trap: reserved words, quotes, percent signs, blanks, another schema, snake_case."""

from __future__ import annotations

from campaign_ops.platform.profile import Profile

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
