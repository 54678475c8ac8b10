"""Platforms in the shapes that they really have, made once and emptied for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.profile.load import load_profile
from tests.postgres.ground import Ground
from tests.shapes import SHAPES, SNAKE

# profile, shape, the server's time zone
WHOLE = {
    "prisma": ("sms", "prisma", "UTC"),
    "uuid": ("sms", "uuid", "Asia/Kolkata"),
    "snake integer": ("snake", "integer", "America/New_York"),
    "snake bigint": ("snake", "bigint", "Pacific/Kiritimati"),
}
COUNTING = {
    "prisma": ("messenger", "prisma", "Asia/Kolkata"),
    "uuid": ("messenger", "uuid", "America/New_York"),
    "snake bigint": WHOLE["snake bigint"],
}
Grounds = Callable[[tuple[str, str, str]], Ground]


@pytest.fixture(scope="session")
def grounds(servers: EmbeddedServers) -> Iterator[Grounds]:
    made: dict[tuple[str, str, str], Ground] = {}

    def get(key: tuple[str, str, str]) -> Ground:
        if key not in made:
            name, shape, timezone = key
            url = servers.postgres.create_database(f"ground_{len(made)}")
            profile = SNAKE if name == "snake" else load_profile(name)
            made[key] = Ground.make(url, profile, SHAPES[shape], timezone)
        made[key].clear()
        return made[key]

    yield get
    for one in made.values():
        one.close()


@pytest.fixture(params=WHOLE.values(), ids=list(WHOLE))
def ground(grounds: Grounds, request: pytest.FixtureRequest) -> Ground:
    """A platform whose recipients have rows from the start."""
    return grounds(request.param)


@pytest.fixture(params=[WHOLE[key] for key in WHOLE if key != "prisma"], ids=[key for key in WHOLE if key != "prisma"])
def typed(grounds: Grounds, request: pytest.FixtureRequest) -> Ground:
    """One whose ids are not text."""
    return grounds(request.param)


@pytest.fixture(params=COUNTING.values(), ids=list(COUNTING))
def counting(grounds: Grounds, request: pytest.FixtureRequest) -> Ground:
    """A platform that keeps counters."""
    return grounds(request.param)


@pytest.fixture
def messenger(grounds: Grounds) -> Ground:
    """A platform whose recipients have no row before they are sent."""
    return grounds(COUNTING["prisma"])


@pytest.fixture
def sms_ground(grounds: Grounds) -> Ground:
    """A platform whose ids are text."""
    return grounds(WHOLE["prisma"])


@pytest.fixture
def recounting(grounds: Grounds) -> Ground:
    """A platform whose counters stand beside rows that tell all, so that they may be put right."""
    return grounds(COUNTING["snake bigint"])
