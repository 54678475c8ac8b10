"""People at the console and a scraper, in a process of their own: each opens pages as a person does, and polls."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import httpx

POLL_SECONDS = 10
SCRAPE_SECONDS = 15
_LISTS = (
    "/campaigns",
    "/campaigns?needs_person=1",
    "/campaigns?verdict=backlog",
    "/incidents",
    "/journal?platform=sms",
)


async def _person(url: str, token: str, campaigns: list[str], until: float, taken: dict[str, list[float]]) -> None:
    """Poll the start page, and open a list and a campaign in between."""
    chance = random.Random(token)
    cookies = {"campaign_ops_session": token}
    async with httpx.AsyncClient(base_url=url, cookies=cookies, timeout=60, headers={"Accept": "text/html"}) as client:
        await asyncio.sleep(chance.random() * POLL_SECONDS)
        tag = ""
        while time.monotonic() < until:
            begun = time.monotonic()
            answer = await _timed(client, "/", "now", taken, {"If-None-Match": tag})
            tag = answer.headers.get("etag", tag)
            await _timed(client, chance.choice(_LISTS), "list", taken)
            await _timed(client, f"/campaigns/sms/{chance.choice(campaigns)}", "campaign", taken)
            await asyncio.sleep(max(0.0, begun + POLL_SECONDS - time.monotonic()))


async def _scraper(url: str, token: str, until: float, taken: dict[str, list[float]]) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        while time.monotonic() < until:
            await _timed(client, "/metrics", "scrape", taken)
            await asyncio.sleep(SCRAPE_SECONDS)


async def _timed(
    client: httpx.AsyncClient,
    path: str,
    kind: str,
    taken: dict[str, list[float]],
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    begun = time.monotonic()
    answer = await client.get(path, headers=headers)
    assert answer.status_code in (200, 304, 503), f"{path}: {answer.status_code} {answer.text[:200]}"
    kind = "refused: too many at once" if answer.status_code == 503 else kind
    taken.setdefault(kind, []).append(time.monotonic() - begun)
    return answer


async def _all(url: str, tokens: list[str], campaigns: list[str], seconds: float) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    until = time.monotonic() + seconds
    people = [_person(url, token, campaigns, until, taken) for token in tokens]
    await asyncio.gather(*people, _scraper(url, tokens[0], until, taken))
    return taken


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    json.dump(asyncio.run(_all(**wanted)), sys.stdout)
