"""What all requests share: settings, connected platforms, the gate, running sweeps, the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

from starlette.requests import Request

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError, NotFound
from campaign_ops.core.tokens import Scope, Token
from campaign_ops.faces.http.gate import Access, Asker, Gate, forbidden
from campaign_ops.faces.http.health import Health
from campaign_ops.faces.http.looks import SharedLooks
from campaign_ops.faces.http.pool import PlatformPool
from campaign_ops.faces.http.problems import Problem
from campaign_ops.faces.http.sweeps import Sweeps
from campaign_ops.faces.metrics import AWAY, BROKEN, CachedExposition, Sample, samples
from campaign_ops.platform import Platform
from campaign_ops.queries.metrics import platform_metrics
from campaign_ops.queries.owners import Owner, Subject, owner_of
from campaign_ops.settings import Settings
from campaign_ops.watch.dagster import Dagster

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Place:
    """A platform that a request may use, and what it may do there."""

    platform: str
    token: Token


@dataclass
class Service:
    """The service of one configuration.

    Attributes:
        settings: The configuration, as it was when the service started.
        access: The ways in.
        dagster: Dagster's webserver, where sweeps are started if it answers; None without one.
        held_keys: Platforms and idempotency keys that could not be let go of because the database was away.
    """

    settings: Settings
    access: Access = field(default_factory=Access)
    dagster: Dagster | None = None
    held_keys: set[tuple[str, str]] = field(default_factory=set, repr=False)
    _expositions: dict[tuple[frozenset[str], frozenset[str]], CachedExposition] = field(
        default_factory=dict, repr=False
    )

    @cached_property
    def pool(self) -> PlatformPool:
        """The connected platforms."""
        return PlatformPool(self.settings)

    @cached_property
    def gate(self) -> Gate:
        """Who may do what."""
        return Gate(self.pool, self.settings.names, self.access)

    @cached_property
    def sweeps(self) -> Sweeps:
        """The sweeps that were asked for here."""
        return Sweeps(self.pool, self.dagster)

    @cached_property
    def looks(self) -> SharedLooks:
        """The looks at single campaigns."""
        return SharedLooks(self.pool)

    @cached_property
    def health(self) -> Health:
        """The pulse of every platform."""
        return Health(self.settings, self.pool)

    def exposition(self, names: frozenset[str], away: frozenset[str]) -> str:
        """The metrics of these platforms, a few seconds old at most; of those that are ``away``, only that they are."""
        if (names, away) not in self._expositions:
            self._expositions[names, away] = CachedExposition(partial(self._samples, names, away))
        return self._expositions[names, away]()

    def places(self, asker: Asker, scope: Scope, platform: str | None) -> list[Place]:
        """The platforms of a request: the one that it names, else all on which the asker may do this.

        Raises:
            Problem: 401, 403 or 503; 404 for a platform that does not exist or does not know the asker.
        """
        if platform is None:
            return [Place(name, token) for name, token in self.gate.allowed(asker, scope).items()]
        return [self.place(asker, scope, platform)]

    def place(self, asker: Asker, scope: Scope, platform: str, *, fresh: bool = False) -> Place:
        """One platform, by its name.

        Raises:
            Problem: As for `places`.
        """
        token = self.gate.on(asker, platform, fresh=fresh) if platform in self.settings.names else None
        if token is None:
            next(iter(self.gate.everywhere(asker)))  # an unknown asker gets 401, not 404
            raise Problem(404, "not_found", f"there is no platform {platform!r}", "GET /api/platforms lists them")
        if not token.may(scope):
            raise forbidden(scope)
        return Place(platform, token)

    def read_each(
        self, places: Sequence[Place], read: Callable[[Place, Platform], _Answer]
    ) -> tuple[dict[str, _Answer], list[str]]:
        """Read each platform, whether others can be read or not.

        Returns:
            The answers by platform, and the platforms that could not be read.

        Raises:
            CampaignOpsError: The only platform cannot be read.
        """
        answers: dict[str, _Answer] = {}
        away: list[str] = []
        for place in places:
            try:
                with self.pool.reading(place.platform) as platform:
                    answers[place.platform] = read(place, platform)
            except CampaignOpsError:
                if len(places) == 1:
                    raise
                away.append(place.platform)
        return answers, away

    def find(
        self, asker: Asker, scope: Scope, platform: str | None, subject: Subject, subject_id: str
    ) -> tuple[Place, Owner]:
        """The platform that a campaign, a reservation or a repair is on, and its owner.

        What belongs to another tenant is answered as if it did not exist.

        Raises:
            Problem: As for `places`; 400 where several platforms have one with that id.
            NotFound: None has.
        """
        found: list[tuple[Place, Owner]] = []
        away: CampaignOpsError | None = None
        for place in self.places(asker, scope, platform):
            try:
                with self.pool.reading(place.platform) as connected:
                    owner = owner_of(connected, subject, subject_id)
            except CampaignOpsError as error:
                away = error
                continue
            if owner is not None and place.token.sees(owner.tenant):
                found.append((place, owner))
        if away is not None and (platform is not None or not found):
            raise away
        if not found:
            raise NotFound(f"there is no such {subject}", where=f"{subject} {subject_id}")
        if len(found) > 1 or away is not None:
            names = ", ".join(place.platform for place, _ in found)
            detail = f"{subject} {subject_id}: found on {names}" + ("; another platform is away" if away else "")
            raise Problem(400, "which_platform", detail, "name the platform")
        return found[0]

    def close(self) -> None:
        """Let running sweeps end, and close the connections."""
        self.sweeps.close()
        self.pool.close()

    def _samples(self, names: frozenset[str], away: frozenset[str]) -> Iterator[tuple[str, Iterable[Sample]]]:
        for name in sorted(names | away):
            try:
                if name in away:
                    self.settings.platform(name)
                    yield name, [AWAY]
                    continue
                with self.pool.reading(name) as platform:
                    yield name, list(samples(platform_metrics(platform)))
            except ConfigurationError:
                yield name, [BROKEN]


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def asker_of(request: Request) -> Asker:
    """Who sent a request; 401 if it cannot be known."""
    return service_of(request).gate.asker(request)
