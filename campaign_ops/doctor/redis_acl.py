"""The rights of a Redis user: what a sweep needs, and what `plan` and the doctor need, to the command and key pattern.

Redis checks what a script calls against the rights of the user who runs it, so BullMQ's own scripts count.
"""

from __future__ import annotations

import re

from campaign_ops.profile.queue import QueueProfile

READING = (
    *("multi", "exec", "select", "info", "time", "client|list"),
    *("exists", "get", "hget", "hmget", "llen", "lindex", "lpos", "lrange"),
    *("zcard", "zrange", "zrevrange", "zscore", "xrange", "xrevrange"),
)
"""What is asked of the queue and its server."""

WRITING = (
    *("eval", "evalsha", "script|exists", "script|load"),
    *("del", "set", "incr", "persist", "pttl", "hexists", "hgetall", "hmset", "hset", "lpush", "rpush", "lrem"),
    *("sadd", "scard", "smembers", "srem", "xadd", "zadd", "zrem", "zrevrangebyscore"),
)
"""Besides reading: what BullMQ's scripts that add and remove a job call, and ours around them."""


def redis_acl(queue: QueueProfile, prefix: str, user: str, *, read_only: bool = False) -> str:
    """The command, for ``redis-cli``, that makes a user with just these rights. PASSWORD is to be replaced.

    Args:
        queue: The queue, or queues, whose keys and markers the user may touch.
        prefix: BullMQ's key prefix.
        user: Its name; Redis takes no blanks in it.
        read_only: Enough for `plan`, `status` and the doctor, not for a sweep.
    """
    names = ["*".join(map(_literal, name.split("{tenant}"))) for name in (queue.name, *queue.also)]
    patterns = [f"{_literal(prefix)}:{name}:*" for name in names]
    patterns += ["*".join(map(_literal, marker.split("{recipient_id}"))) for marker in queue.markers]
    commands = READING if read_only else (*READING, *WRITING)
    name = re.sub(r"\s", "_", user)
    words = ["reset", "on", ">PASSWORD", *(f"~{one}" for one in patterns), *(f"+{one}" for one in commands)]
    return " ".join(map(_quoted, ["ACL", "SETUSER", name, *words]))


def _literal(text: str) -> str:
    """Text in which no character means anything in a Redis pattern."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def _quoted(word: str) -> str:
    """A word as ``redis-cli`` takes it."""
    if re.fullmatch(r"[^\s\"'\\]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
