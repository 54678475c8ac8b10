"""Every setting and every profile key with type, default and meaning, from the models themselves, for the docs."""

from __future__ import annotations

from collections.abc import Iterable

from campaign_ops.config.explain import KeyDoc, describe
from campaign_ops.profile.model import Profile
from campaign_ops.settings.entry import PlatformEntry
from campaign_ops.settings.environment import DagsterEnvironment, Environment, WatchEnvironment
from campaign_ops.settings.notify import NotifyEntry


def describe_settings() -> list[KeyDoc]:
    """Environment variables first, then the keys of one entry of ``platforms``, then those of ``notify``."""
    own = [doc for doc in describe(PlatformEntry, "platforms[].") if not doc.key.startswith("platforms[].profile.")]
    storage = [doc for doc in describe(DagsterEnvironment) if doc.key != "DAGSTER_HOME"]
    return [*describe(Environment), *storage, *describe(WatchEnvironment), *own, *describe(NotifyEntry, "notify.")]


def describe_profile() -> list[KeyDoc]:
    """Keys of a profile, as they stand in a profile file or under ``profile``."""
    extends = KeyDoc("extends", "the name of a built-in profile or a path to a YAML file", "null", _EXTENDS)
    return [extends, *describe(Profile)]


def markdown_table(docs: Iterable[KeyDoc]) -> str:
    """The rows as a Markdown table."""
    rows = [("Key", "Takes", "Default", "Meaning"), ("---",) * 4]
    rows += [
        (f"`{doc.key}`", doc.type, doc.default if doc.default in _PLAIN else f"`{doc.default}`", doc.meaning)
        for doc in docs
    ]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


_PLAIN = {"required", "see below"}
_EXTENDS = "The profile that this one is laid over: mappings merge, lists and values replace, null takes a key away."
