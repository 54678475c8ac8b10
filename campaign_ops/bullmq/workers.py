"""The workers of a queue among the clients of its Redis: an entry of ``CLIENT LIST`` for each.

A listener to events (``…:qe``) is not a worker. The list is of the whole server: another database may hold a queue of
the same name, with workers of its own.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from campaign_ops.core.queue_state import WorkerClient

Clients: TypeAlias = Sequence[Mapping[str, str]]
"""The answer to ``CLIENT LIST``."""


def connected_workers(clients: Clients, prefix: str, queue: str, database: int) -> tuple[WorkerClient, ...] | None:
    """Return the connected workers of a queue by client id; None when the server does not show its clients."""
    if not clients:
        return None  # we are connected, so an empty list is not an answer
    here = [client for client in clients if client.get("db", str(database)) == str(database)]
    by_node = f"{prefix}:{b64encode(queue.encode()).decode()}"
    node = [client for client in here if _is_worker(client, by_node)]
    # Python's client gives both connections of a worker one name; the one that waits for jobs runs BZPOPMIN.
    python = [client for client in here if _is_worker(client, f"{prefix}:{queue}")]
    waiting = [client for client in python if client.get("cmd") == "bzpopmin"] or python[:1]
    return tuple(sorted(map(_worker, [*node, *waiting]), key=lambda worker: worker.client_id))


def _is_worker(client: Mapping[str, str], name: str) -> bool:
    own = client.get("name", "")
    return own == name or own.startswith(f"{name}:w:")


def _worker(client: Mapping[str, str]) -> WorkerClient:
    _, _, name = client.get("name", "").partition(":w:")
    return WorkerClient(int(client.get("id", 0)), name, client.get("addr", ""), int(client.get("age", 0)))
