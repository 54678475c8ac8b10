"""Who may use the HTTP interface of a platform, what was answered already, and what was attempted.

- `tokens`: create, list and revoke tokens; recognise one.
- `requests`: idempotency keys and the audit.

Each function is about one platform and uses its database alone: one database that is away does not stop the others. A
token that reaches several platforms is created in each, with the same id and hash.
"""

from campaign_ops.access.requests import abandon, audit, audits, begin, finish
from campaign_ops.access.tokens import authenticate, create_token, list_tokens, revoke_token, unknown_tenants
from campaign_ops.core.idempotency import Beginning, Begun, Finished, InProgress, Mismatch
from campaign_ops.journal.audit import AuditEntry

__all__ = [
    "AuditEntry",
    "Beginning",
    "Begun",
    "Finished",
    "InProgress",
    "Mismatch",
    "abandon",
    "audit",
    "audits",
    "authenticate",
    "begin",
    "create_token",
    "finish",
    "list_tokens",
    "revoke_token",
    "unknown_tenants",
]
