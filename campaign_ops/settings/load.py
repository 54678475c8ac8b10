"""Reads the configuration file and validates every platform by itself. Nothing is connected to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from campaign_ops.config.explain import validate
from campaign_ops.config.yaml_file import read_file
from campaign_ops.config.yaml_tree import Problem, Tree, as_error
from campaign_ops.core.wording import nearest
from campaign_ops.profile.load import resolve_profile
from campaign_ops.settings.entry import PlatformEntry, fit_name
from campaign_ops.settings.environment import fill_in, find_file
from campaign_ops.settings.model import BrokenPlatform, PlatformSettings, Settings
from campaign_ops.settings.notify import read_notify
from campaign_ops.settings.urls import prisma_schema
from campaign_ops.watch.channels import Notify

_SECTIONS = ("platforms", "notify")


def load_settings(path: Path | None = None, *, only: Collection[str] | None = None) -> Settings:
    """Read and validate the configuration.

    Args:
        path: The file; else ``CAMPAIGN_OPS_CONFIG``, else ``campaign_ops.yaml`` here or in ``DAGSTER_HOME``.
        only: Names of the platforms to validate, default: all. The rest of the file is read, and validated when a
            platform is asked for its ``others``; that two platforms watch one table shows only then.

    Raises:
        ConfigurationError: The file is missing, is not YAML or has no platforms. Mistakes within a platform do not
            raise: it is among ``broken``, and the others go on; those in ``notify`` are in its ``error``.
    """
    path = path or find_file()
    tree = read_file(path)
    entries = list(_named(_entries(tree)))
    platforms, broken = _validate(
        [(name, entry) for name, entry in entries if only is None or name in only], beside=path.absolute().parent
    )
    section = tree.sub(("notify",))
    notify = Notify() if section.value is None else read_notify(fill_in(section), [name for name, _ in entries])
    notify = replace(notify, where=str(section.mark(("channels",))))

    def all_platforms() -> Sequence[PlatformSettings]:
        return platforms if only is None else load_settings(path).platforms

    together = tuple(_together(platform, all_platforms, notify) for platform in platforms)
    return Settings(path, together, tuple(broken), notify)


def _validate(
    entries: list[tuple[str, Tree]], *, beside: Path
) -> tuple[tuple[PlatformSettings, ...], list[BrokenPlatform]]:
    platforms: dict[tuple[object, ...], PlatformSettings] = {}
    broken: list[BrokenPlatform] = []
    for name, written in entries:
        filled = fill_in(written)
        entry, problems = validate(PlatformEntry, _completed(filled, beside=beside))
        if entry is None:
            broken.append(BrokenPlatform(name, as_error(problems.values())))
            continue
        settings = entry.settings()
        first = platforms.setdefault(_table(settings), settings)
        if first is not settings:
            broken.append(BrokenPlatform(name, as_error([_watched_twice(filled, settings, first)])))
    return tuple(platforms.values()), broken


def _together(
    platform: PlatformSettings, all_platforms: Callable[[], Sequence[PlatformSettings]], notify: Notify
) -> PlatformSettings:
    """A platform with what the rest of the file says of it."""

    def others() -> Iterator[PlatformSettings]:
        return (other for other in all_platforms() if other.name != platform.name)

    return replace(platform, others=others, notify=notify.about(platform.name))


def _table(platform: PlatformSettings) -> tuple[object, ...]:
    """The campaign table and the database that the URL leads to, whatever user it names and with whatever parameters.

    Two entries with the same one are one platform. The doctor asks the databases, too.
    """
    url = sa.make_url(platform.database_url.get_secret_value())
    host = url.host.casefold() if url.host else url.query.get("host")
    return (platform.profile.tables_key, host, url.port or url.query.get("port", 5432), url.database)


def _watched_twice(written: Tree, platform: PlatformSettings, first: PlatformSettings) -> Problem:
    what = f"and campaign table {platform.profile.tables_key} are those of platform {first.name}, too"
    return written.problem(("database_url",), what, "take one of the two out; one platform can look at several queues")


def _entries(tree: Tree) -> list[Tree]:
    """The platforms as written, each by itself."""
    problems = {path: problem for path, problem in tree.problems.items() if len(path) < 2}
    keys = tree.value if isinstance(tree.value, dict) else {}
    for key in keys:
        if key not in _SECTIONS:
            problems.setdefault((key,), tree.problem((key,), "no such key", nearest(key, _SECTIONS)))
    platforms = keys.get("platforms")
    if not problems and (not isinstance(platforms, list) or not platforms):
        what, mend = "takes a list of at least one platform", "see campaign_ops.example.yaml"
        problems[("platforms",)] = tree.problem(("platforms",), what, mend)
    if problems or not isinstance(platforms, list):
        raise as_error(problems.values())
    return tree.items(("platforms",))


def _named(entries: list[Tree]) -> Iterator[tuple[str, Tree]]:
    """Each platform with a name that is fit and its own; the second of two with the same name is spoiled."""
    names = [fill_in(entry.sub(("name",))).value for entry in entries]
    lines: dict[str, int] = {}
    for name, entry in zip(names, entries, strict=True):
        lines.setdefault(str(name), entry.mark(("name",)).line)
    given: set[str] = set()
    for index, (name, entry) in enumerate(zip(names, entries, strict=True)):
        fit = isinstance(name, str) and fit_name(name)
        if fit and name not in given:
            given.add(str(name))
            yield str(name), entry
            continue
        spare = f"platforms_{index}"
        while spare in lines:
            spare += "_"
        twice = f"is the name of the platform in line {lines[str(name)]} too"
        yield spare, entry.spoiled(("name",), twice, "every platform needs its own") if fit else entry


def _completed(entry: Tree, *, beside: Path) -> Tree:
    """An entry with its profile in place of the profile's name, checked for what concerns two keys at once."""
    if not isinstance(entry.value, dict) or "profile" not in entry.value or ("profile",) in entry.problems:
        return entry
    profile = resolve_profile(entry.sub(("profile",)), beside=beside)
    if () in profile.problems:
        return entry.put("profile", profile)
    return _queue_agreed(entry.put("profile", _with_schema_of_url(profile, entry)))


def _with_schema_of_url(profile: Tree, entry: Tree) -> Tree:
    """Prisma keeps the schema in the URL. It counts unless the user's own profile names one."""
    url, mark = entry.get(("database_url",)), profile.marks.get(("schema",))
    schema = prisma_schema(url) if isinstance(url, str) else None
    if schema is None or (mark is not None and not mark.built_in):
        return profile
    return profile.put("schema", Tree(schema, {(): entry.mark(("database_url",))}))


def _queue_agreed(entry: Tree) -> Tree:
    has_queue, url = entry.get(("profile", "queue")) is not None, entry.get(("queue_url",))
    if has_queue and url is None:
        mend = "set it, or write `queue: null` in the profile"
        return entry.spoiled(("queue_url",), "is missing, and the profile has a queue", mend)
    if url is not None and not has_queue:
        mend = "take it out, or describe the queue in the profile"
        return entry.spoiled(("queue_url",), "is set, but the profile has no queue", mend)
    return entry
