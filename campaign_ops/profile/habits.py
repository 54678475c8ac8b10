"""The names and words that applications usually choose, by their role in a profile. Data only.

Names are compared without case and punctuation: ``sentAt``, ``sent_at`` and ``SENT AT`` are one. The surest pattern of
a role comes first.
"""

from __future__ import annotations

import re

_AT = r"(at|on|time|date|ts|timestamp)?"
_ID = r"(id|uuid|ref|key)?"


def folded(name: str) -> str:
    """The name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, patterns))


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


TABLES = {
    "campaign": _patterns(
        r"campaigns?",
        r".*campaigns?",
        r".*(broadcast|blast|mailing|sendout|newsletter|announcement|dispatch|bulk(message|send|sms|job))(e?s)?",
    ),
    "recipient": _patterns(
        r".*recipients?",
        r".*(contact|target|subscriber|audience|member|addressee)s?",
        r".*(message|delivery|deliveries|send|notification|sms|mail)s?",
    ),
    "reservation": _patterns(r".*(reservation|hold|escrow|authorization)s?"),
}

COLUMNS = {
    "tenant": _patterns(
        rf"(tenant|shop|organi[sz]ation|org|account|company|workspace|store|merchant){_ID}",
        rf"(customer|client|team|business|brand|project|page|owner){_ID}",
        rf"(user|createdby|creator|author){_ID}",
    ),
    "name": _patterns(r"(campaign)?(name|title)", r"(label|subject|description|slug)"),
    "status": _patterns(r"(status|state)", r".*(status|state)", r"(phase|stage)"),
    "updated_at": _patterns(
        rf"(last)?(updated|modified){_AT}", rf"(last)?(changed|touched|activity|heartbeat|progress){_AT}"
    ),
    "created_at": _patterns(rf"(created|inserted|added){_AT}", rf"(creation){_AT}"),
    "started_at": _patterns(rf"(sending)?(started|begun|launched){_AT}|start(time|date)"),
    "completed_at": _patterns(rf"(completed|finished|ended|done){_AT}|(end|completion)(time|date)"),
    "total": _patterns(
        r"(total|recipients?|audience|contacts?|targets?)(recipients?|contacts?|messages?|targets?|count|total|size)?",
        r"(num|number|count)(of)?(recipients|contacts|messages|targets)",
    ),
    "succeeded": _patterns(
        r"(total|num|messages|recipients)?(sent|succeeded|success(ful)?)(count|total|messages|recipients)?",
        r"(total|num|messages|recipients)?(ok|delivered|done)(count|total|messages|recipients)?",
    ),
    "failed": _patterns(
        r"(total|num|messages|recipients)?(failed|failures?|errors?)(count|total|messages|recipients)?"
    ),
    "provider_id": _patterns(
        r"(provider|external|remote|gateway|vendor|twilio|mitto|facebook|fb|whatsapp|wa|meta|messagebird|vonage|nexmo"
        r"|infobip|sinch|telnyx|plivo|sendgrid|mailgun|ses|smpp|telegram|viber|line)(message|msg)?(id|sid|ref|reference|uuid)",
        r"(message|msg)?sid|wamid|.*(messageid|msgid|messageref|trackingid)",
    ),
    "activity": _patterns(
        rf"(sent|delivered|failed|read|seen|opened|clicked|accepted|bounced|dispatched|processed|submitted){_AT}",
        rf"(last)?(attempted|attempt|tried|try|updated|modified|completed|finished){_AT}",
    ),
    "about": _patterns(rf"(contact|recipient|subscriber|customer|member|user|person|lead|profile){_ID}"),
    "amount": _patterns(
        r"(amount|credits?)(reserved|held)?", r"(reserved|held)(amount|credits?)|quantity|units|value|cost"
    ),
    "expires_at": _patterns(rf"(expires|expiry|expiration|expired|validuntil){_AT}"),
    "released_at": _patterns(rf"(released|freed|returned|refunded|settled|closed){_AT}"),
}

TEXTS = re.compile(r"phone|mobile|number|mail|message|body|text|content|template|password|token")
"""Columns that may hold what is never read: a role is not filled with one of them."""

CAMPAIGN_WORDS = {
    "sending": _words(
        "sending insending inprogress processing running dispatching delivering executing ongoing started launched",
        "active live",
    ),
    "done": _words("completed complete done finished sent succeeded success delivered ended closed"),
    "failed": _words("failed failure error errored"),
    "over": _words(
        "cancelled canceled aborted stopped archived deleted rejected expired terminated partial partiallysent",
        "partiallyfailed partiallycompleted completedwitherrors sentwitherrors",
    ),
    "idle": _words(
        "draft scheduled paused pending queued new created ready waiting approved review inreview pendingapproval",
        "onhold suspended preparing prepared planned",
    ),
}
VAGUE = _words("running ongoing started launched active live")
"""Words of campaigns that may stay so for months, and are not over once all recipients of a moment are settled."""
RECIPIENT_WORDS = {
    "pending": _words("pending queued waiting new created scheduled enqueued unsent notsent ready todo planned"),
    "succeeded": _words(
        "sent delivered read seen opened clicked accepted submitted dispatched success succeeded done completed ok",
        "replied confirmed",
    ),
    "failed": _words(
        "failed failure error errored undelivered undeliverable bounced rejected invalid skipped suppressed blocked",
        "unsubscribed optedout expired cancelled canceled dropped",
    ),
}
IN_FLIGHT = _words("sending processing inprogress claimed locked retrying")
"""Words of recipients that a worker is sending to: the provider may have the message. In no list of a draft."""
RESERVATION_WORDS = {
    "held": _words("active held reserved hold onhold pending open locked authorized"),
    "released": _words("released free freed returned refunded voided"),
    "over": _words(
        "consumed used spent captured charged settled expired completed committed closed cancelled canceled"
    ),
}
