"""What queries, sweeps and fixes give, as the documents of `shapes`: the command line and the HTTP API share them.

``follow_up`` arguments make the next step of the reader's face: a command line, or the path of an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.confirmation import Offer
from campaign_ops.core.model import RepairKind
from campaign_ops.core.report import HealthReport, headline
from campaign_ops.core.tokens import Scope, Token
from campaign_ops.core.undoing import why_not
from campaign_ops.faces import shapes
from campaign_ops.faces.outcomes import HeldBack, Outcome, held_back
from campaign_ops.queries.report import StoredReport
from campaign_ops.queries.status import StatusLine
from campaign_ops.queries.workers import Workers


def campaign_document(campaign: StatusLine) -> shapes.StatusCampaign:
    """One campaign in sending."""
    return {
        "id": campaign.id,
        "tenant": campaign.tenant,
        "name": campaign.name,
        "total": campaign.total,
        "succeeded": campaign.succeeded,
        "failed": campaign.failed,
        "pending": campaign.pending,
        "unsent": campaign.unsent,
        "percent": percent(campaign.total, campaign.unsent),
        "sending_seconds": campaign.sending_seconds,
        "untouched_seconds": campaign.untouched_seconds,
        "stuck": campaign.stuck,
        "verdict": campaign.verdict,
        "reason": campaign.reason,
    }


def percent(total: int, unsent: int) -> int | None:
    """Share of recipients accounted for, rounded down, so that 100 means that nothing is left."""
    return (total - unsent) * 100 // total if total else None


def repair_document(row: Mapping[str, Any], *, undo: Callable[[int], str]) -> shapes.Repair:
    """One entry of the journal, as `journal.Journal.repairs` reads it."""
    reenqueue = row["kind"] == RepairKind.REENQUEUE
    return {
        "id": row["id"],
        "at": row["at"].isoformat(),
        "kind": row["kind"],
        "target": row["target"],
        "campaign_id": row["campaign_id"],
        "tenant": row["tenant"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "person_reason": row["person_reason"],
        "actor": row["actor"],
        "run_id": row["run_id"],
        "amount": None if row["amount"] is None else str(row["amount"]),
        "before": row["before"],
        "after": row["after"],
        "jobs_added": int(row["jobs_added"] or 0) if reenqueue else None,
        "recipients_added": int(row["recipients_added"] or 0) if reenqueue else None,
        "parent_id": row["parent_id"],
        "undone_by": row["undone_by"],
        "undo": undo(row["id"]) if not why_not(row) else None,
    }


def incident_document(platform: str, row: Mapping[str, Any]) -> shapes.Incident:
    """One row of table ``incident``, with its cause in words."""
    fixed = CAUSES[Cause(row["cause"])]
    return {
        "id": row["id"],
        "cause": row["cause"],
        "severity": row["severity"],
        "state": row["state"],
        "headline": fixed.headline(row["count"]),
        "detail": row["detail"],
        "count": row["count"],
        "campaigns": row["campaigns"],
        "tenants": row["tenants"],
        "first_seen_at": row["first_seen_at"].isoformat(),
        "last_seen_at": row["last_seen_at"].isoformat(),
        "opened_at": iso(row["opened_at"]),
        "resolved_at": iso(row["resolved_at"]),
        "silenced_until": iso(row["silenced_until"]),
        "handled_by": row["handled_by"],
        "handled_reason": row["handled_reason"],
        "next_step": fixed.next_step.format(platform=platform).replace("`", ""),
    }


def report_document(stored: StoredReport) -> shapes.ReportResult:
    """The health report that a sweep stored."""
    return {
        "at": stored.at.isoformat(),
        "figures": dict(stored.figures),
        "trouble": stored.trouble,
        "markdown": stored.markdown,
    }


def workers_document(read: Workers) -> shapes.WorkersResult:
    """The workers of a platform's queues."""
    return {
        "queues": [
            {
                "queue": queue.queue,
                "workers": queue.workers,
                "oldest_uptime_seconds": queue.oldest_uptime_seconds if queue.workers else None,
                "restarts_last_hour": queue.restarts_last_hour,
                "seen_at": queue.seen_at.isoformat(),
            }
            for queue in read.queues
        ],
        "workers": [
            {
                "queue": worker.queue,
                "client_id": worker.client_id,
                "name": worker.name,
                "address": worker.address,
                "connected_at": worker.connected_at.isoformat(),
                "last_seen_at": worker.last_seen_at.isoformat(),
                "connected": worker.connected,
                "restarted": worker.restarted,
            }
            for worker in read.workers
        ],
    }


def sweep_document(
    report: HealthReport, outcomes: Sequence[Outcome], *, confirm: Callable[[Offer], str]
) -> shapes.SweepResult:
    """A sweep, or a dry run, line by line."""
    offers = [(held, offer_of(report, held)) for held in held_back(report)]
    return {
        "at": report.at.isoformat(),
        "dry_run": report.dry_run,
        "headline": headline(report),
        "figures": report.figures(),
        "trouble": report.trouble,
        "held_back": [
            {
                "kind": held.kind.value,
                "reason": held.reason,
                "confirm": confirm(offer) if offer else None,
                "confirm_until": offer.expires_at.isoformat() if offer else None,
            }
            for held, offer in offers
        ],
        "alarm": next((_alarm(report, offer, confirm) for offer in report.offers if not offer.kinds), None),
        "doubts": list(report.plan.doubts),
        "lines": [_line(outcome) for outcome in outcomes],
    }


def offer_of(report: HealthReport, held: HeldBack) -> Offer | None:
    """The code that lets held-back repairs pass; None where no breaker waits for a person."""
    if not held.by_breaker:
        return None
    return next((offer for offer in report.offers if held.kind.value in offer.kinds), None)


def _alarm(report: HealthReport, offer: Offer, confirm: Callable[[Offer], str]) -> shapes.Alarm:
    until = offer.expires_at.isoformat()
    return {"reason": report.plan.alarm, "confirm": confirm(offer), "confirm_until": until}


def _line(outcome: Outcome) -> shapes.Line:
    item = outcome.item
    return {
        "target": item.target,
        "kind": item.kind.value if item.kind else None,
        "ending": outcome.ending.value,
        "note": outcome.note,
        "needs_person": outcome.needs_person,
        "campaign_id": item.campaign_id,
        "tenant": item.tenant,
        "name": item.name,
        "verdict": item.verdict.value if item.verdict else None,
        "reason": item.reason,
        "unsent": item.unsent,
        "missing": item.missing,
        "stuck_seconds": item.stuck_seconds,
        "amount": item.amount,
    }


def iso(moment: datetime | None) -> str | None:
    """A moment as text; None where there is none."""
    return None if moment is None else moment.isoformat()


def token_document(token: Token) -> shapes.Token:
    """One token, without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "state": token.state.value,
        "scopes": [scope.value for scope in Scope if token.may(scope)],
        "tenants": None if token.tenants is None else sorted(token.tenants),
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
        "expires_at": iso(token.expires_at),
        "revoked_at": iso(token.revoked_at),
        "revoked_by": token.revoked_by,
        "last_used_at": iso(token.last_used_at),
    }
