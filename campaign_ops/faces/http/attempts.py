"""Requests for a change: each is carried out once, answered the same again for its key, and recorded in the audit."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from campaign_ops import access
from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.tokens import Token
from campaign_ops.faces.http.gate import Asker
from campaign_ops.faces.http.problems import BUSY, Problem, problem_of
from campaign_ops.faces.http.service import Place, Service
from campaign_ops.platform import Platform

log = logging.getLogger(__name__)

HELD_KEYS = 10_000
"""The most keys that are remembered to be let go of; others are taken over after ten minutes."""


@dataclass(frozen=True)
class Attempt:
    """One request for a change, for the audit: who, from where, what and why, with which idempotency key."""

    asker: Asker
    method: str
    path: str
    key: str = ""
    reason: str = ""
    dry_run: bool = False


Answered = tuple[int, Any]


def once(
    service: Service,
    attempt: Attempt,
    place: Place,
    content: Mapping[str, Any],
    work: Callable[[Platform, str], Answered],
) -> Answered:
    """Do what a request asks for; with an idempotency key, once, and give the same answer again.

    Args:
        service: The service.
        attempt: The request.
        place: Where, and as whom.
        content: All that the answer depends on.
        work: Does it; gets the platform and the name of the run in the journal, which is the key's own.

    Raises:
        Problem, CampaignOpsError: As ``work`` does; 409 while the first request with this key is under way, or
            if that was another request.
    """
    sender = place.token.id or f"{attempt.asker.way}:{place.token.name}"
    run_id, key = f"http-{uuid4().hex}", f"{sender}/{attempt.key}" if attempt.key else ""
    with service.pool.writing(place.platform) as platform:
        if key:
            _let_go_now(service, platform, key)
            run_id = f"http-{_hash([place.platform, sender, attempt.key])[:32]}"
            asked = _hash([attempt.method, attempt.path, content])
            begun = access.begin(platform, key, sender, asked)
            if isinstance(begun, access.Finished):
                return _replayed(begun)
            if isinstance(begun, access.Mismatch):
                detail = "this Idempotency-Key was used for another request"
                raise Problem(409, "key_reused", detail, "use a new key for every new request")
            if isinstance(begun, access.InProgress):
                raise Problem(409, "in_progress", "the first request with this Idempotency-Key is under way", IN_DOUBT)
        try:
            status, body = work(platform, run_id)
        except Exception as error:
            problem = problem_of(error)
            _note(platform, attempt, place.token, problem.status, problem.detail)
            problem.is_noted = True
            if key:
                _end_refused(service, platform, key, problem)
            raise problem from error
        if key:
            _keep(platform, key, status, body)
        _note(platform, attempt, place.token, status, "")
    return status, body


IN_DOUBT = "wait, and send it again; if it has died, the same request with the same key goes on after ten minutes"


def _end_refused(service: Service, platform: Platform, key: str, problem: Problem) -> None:
    """Keep a refusal for its key; let go of the key of what could not be done now, so that it may be sent again."""
    if problem.status < 500 and problem.code != BUSY:
        _keep(platform, key, problem.status, problem.document)
        return
    try:
        access.abandon(platform, key)
    except CampaignOpsError as error:
        # The answer stays the first error. Without this, the key was refused as in progress for a day.
        log.warning("the Idempotency-Key of a request that failed is let go of when it is sent again: %s", error)
        if len(service.held_keys) < HELD_KEYS:
            service.held_keys.add((platform.name, key))


def _let_go_now(service: Service, platform: Platform, key: str) -> None:
    """Let go of a key that could not be let go of when its request failed."""
    held = (platform.name, key)
    try:
        service.held_keys.remove(held)  # one request gets it, however many are sent at once
    except KeyError:
        return
    try:
        access.abandon(platform, key)
    except BaseException:
        service.held_keys.add(held)
        raise


def _keep(platform: Platform, key: str, status: int, body: Any) -> None:
    """Keep the answer for its key. What was done stays done, and is reported as such, where that fails."""
    try:
        access.finish(platform, key, status, body)
    except CampaignOpsError as error:
        log.warning("the answer %s to a request with an Idempotency-Key is not kept: %s", status, error)


def _replayed(known: access.Finished) -> Answered:
    if known.status >= 400:
        raise Problem(
            known.status,
            known.body.get("code", "refused"),
            known.body.get("detail", ""),
            known.body.get("next", ""),
            more={key: value for key, value in known.body.items() if key == "counts"},
        )
    return known.status, known.body


def _note(platform: Platform, attempt: Attempt, token: Token, status: int, why: str) -> None:
    """Record an attempt. What was done stays done, and is reported as such, where that fails."""
    why = why or attempt.reason
    try:
        access.audit(
            platform,
            token_id=token.id or None,
            actor=token.name,
            address=attempt.asker.address,
            method=attempt.method,
            path=attempt.path,
            status=status,
            why=": ".join(filter(None, ("dry run" if attempt.dry_run else "", why))),
        )
    except CampaignOpsError as error:
        log.warning("%s %s by %s (%s) is not in the audit: %s", attempt.method, attempt.path, token.name, status, error)


@contextmanager
def refusals_noted(service: Service, attempt: Attempt, platform: str | None) -> Iterator[None]:
    """Record in the audit what is refused before `once` is reached: a missing scope, a foreign id.

    It is recorded on the platform that was named, else on the first that knows the token.
    """
    try:
        yield
    except (Problem, CampaignOpsError) as error:
        problem = problem_of(error)
        if not problem.is_noted and problem.status != 401:
            _note_refusal(service, attempt, platform, problem)
        raise


def _note_refusal(service: Service, attempt: Attempt, platform: str | None, problem: Problem) -> None:
    try:
        known = dict(service.gate.everywhere(attempt.asker))
        name = platform if platform in known else next(iter(known))
        with service.pool.writing(name) as connected:
            _note(connected, attempt, known[name], problem.status, problem.detail)
    except (Problem, CampaignOpsError) as error:
        log.warning("%s %s (%s) is not in the audit: %s", attempt.method, attempt.path, problem.status, error)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
