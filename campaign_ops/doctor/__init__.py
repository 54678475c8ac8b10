"""The doctor: checks a platform before anything touches it. Only reads, takes a few seconds, and survives failures.

- `examination`: the order of the checks of the database; start here.
- `server`, `clock`, `rights`, `own_schema`, `sharing`, `fit`, `indexes`, `suggestions`: its checks, one subject each.
- `queue`, `jobs`, `prefixes`: the checks of the queue.
- `grants`, `redis_acl`: the exact rights that a sweep needs, as SQL and as a Redis command.
- `finding`, `unreachable`: what a check returns, also when a server cannot be reached.
"""

from campaign_ops.doctor.examination import examine
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import grants
from campaign_ops.doctor.redis_acl import redis_acl

__all__ = ["Finding", "Level", "examine", "grants", "redis_acl"]
