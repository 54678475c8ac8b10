"""Configuration files as the tests write them, into the current directory."""

from __future__ import annotations

from pathlib import Path

from campaign_ops.settings import PlatformSettings, Settings, load_settings

DATABASE = "postgresql://app:hunter2@db.example:5432/app"
QUEUE = "redis://:hunter2@queue.example:6379/0"


def load(text: str) -> Settings:
    Path("campaign_ops.yaml").write_text(text)
    return load_settings()


def sms(*lines: str, profile: str = "sms", database: str = "${DB}", queue: str | None = "${REDIS}") -> str:
    """A file with one platform; extra lines begin in line 6 (line 5 without a queue)."""
    head = ["platforms:", "  - name: sms", f"    profile: {profile}", f"    database_url: {database}"]
    head += [f"    queue_url: {queue}"] if queue is not None else []
    return "\n".join([*head, *(f"    {line}" for line in lines)]) + "\n"


def only(text: str) -> PlatformSettings:
    return load(text).platform()


def problems(text: str) -> list[str]:
    """What is said of the only platform, a line for each mistake."""
    settings = load(text)
    assert settings.platforms == ()
    (broken,) = settings.broken
    return str(broken.error).splitlines()


def and_second(text: str) -> str:
    """The same kind of platform once more, called ``second``, in a database of its own: to be added to another file."""
    second = text.replace("name: sms", "name: second").replace("${DB}", "${DB}_two")
    return second.removeprefix("platforms:\n")
