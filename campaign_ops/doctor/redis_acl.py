"""The rights of a Redis user for a sweep, and for `plan` and the doctor: the exact commands and key patterns.

Redis checks each command of a script against the rights of the user who runs it, so those of BullMQ's scripts count.
"""

from __future__ import annotations

import re

from campaign_ops.bullmq.patterns import literal, pattern_of
from campaign_ops.profile.queue import QueueProfile

READING = (
    *("multi", "exec", "select", "info", "time", "client|list"),
    *("exists", "get", "hget", "hmget", "llen", "lindex", "lpos", "lrange"),
    *("zcard", "zrange", "zrevrange", "zscore", "xrange", "xrevrange"),
    *("eval", "dbsize", "scan"),
)
"""The commands that read the queue and its server; without those of the last line, reading takes longer."""

WRITING = (
    *("evalsha", "script|exists", "script|load"),
    *("del", "set", "incr", "persist", "pttl", "hexists", "hgetall", "hmset", "hset", "lpush", "rpush", "lrem"),
    *("sadd", "scard", "smembers", "srem", "xadd", "zadd", "zrem", "zrevrangebyscore"),
)
"""The further commands of BullMQ's scripts that add and remove a job, and of ours around them."""


def redis_acl(queue: QueueProfile, prefix: str, user: str, *, read_only: bool = False) -> str:
    """Return the command for ``redis-cli`` that creates a user with exactly these rights. Replace PASSWORD in it.

    Args:
        queue: The queue, or queues, whose keys and markers the user may touch.
        prefix: BullMQ's key prefix.
        user: Its name; Redis allows no blanks in it.
        read_only: Only the rights for `plan`, `status` and the doctor, not those for a sweep.
    """
    names = [pattern_of(name, "{tenant}") for name in (queue.name, *queue.also)]
    patterns = [f"{literal(prefix)}:{name}:*" for name in names]
    patterns += [pattern_of(marker, "{recipient_id}") for marker in queue.markers]
    commands = READING if read_only else (*READING, *WRITING)
    name = re.sub(r"\s", "_", user)
    words = [
        "reset",
        "on",
        ">PASSWORD",
        *(f"~{pattern}" for pattern in patterns),
        *(f"+{command}" for command in commands),
    ]
    return " ".join(map(_quoted, ["ACL", "SETUSER", name, *words]))


def _quoted(word: str) -> str:
    """Quote a word for ``redis-cli``."""
    if re.fullmatch(r"[^\s\"'\\]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
