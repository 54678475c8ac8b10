"""The SQL of the ledger: its tables, and the triggers that fill them, for the names of a platform's profile."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from campaign_ops.doctor.grants import literal, quoted
from campaign_ops.profile.model import Profile

_TABLES = """
CREATE SCHEMA IF NOT EXISTS drill;
CREATE TABLE drill.change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    role text NOT NULL DEFAULT session_user,
    application text NOT NULL DEFAULT current_setting('application_name'),
    relation text NOT NULL,
    key text NOT NULL,
    old jsonb,
    new jsonb,
    recipients jsonb,
    campaign_status text
);
CREATE INDEX ON drill.change (relation, key);
CREATE TABLE drill.journaled (
    repair_id bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    role text NOT NULL DEFAULT session_user,
    application text NOT NULL DEFAULT current_setting('application_name'),
    campaign jsonb,
    recipients jsonb,
    lock_holder text
);
CREATE TABLE drill.mark (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    text text NOT NULL
);
CREATE TABLE drill.moved (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recipient_id text NOT NULL,
    campaign_id text,
    waits boolean NOT NULL
);
CREATE TABLE drill.suspect (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recipient_id text NOT NULL,
    undecided boolean NOT NULL
);
CREATE TABLE drill.excuse (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    recipient_id text NOT NULL
)
"""


def statements(profile: Profile) -> Iterator[str]:
    """Tables, functions and triggers. They run as the owner: our role needs no rights in schema ``drill``."""
    yield from _TABLES.split(";")
    schema, campaign, recipient = quoted(profile.db_schema), profile.campaign, profile.recipient
    campaigns, recipients = (f"{schema}.{quoted(name)}" for name in (campaign.table, recipient.table))
    yield _count_function(profile, recipients)
    campaign_id, campaign_status, sending = (
        quoted(campaign.id),
        quoted(campaign.status),
        literal(campaign.words.sending),
    )
    leaves = f"OLD.{campaign_status}::text = {sending} AND NEW.{campaign_status}::text <> {sending}"
    yield _function(
        "note_campaign",
        "counts jsonb",
        f"IF TG_OP = 'UPDATE' AND {leaves} THEN counts := drill.count_recipients(OLD.{campaign_id}::text); END IF;"
        " INSERT INTO drill.change (relation, key, old, new, recipients) VALUES"
        f" ('campaign', coalesce(NEW.{campaign_id}, OLD.{campaign_id})::text, to_jsonb(OLD), to_jsonb(NEW), counts);",
    )
    yield _trigger("note_campaign", campaigns, "INSERT OR UPDATE OR DELETE")
    yield _existing_rows("campaign", campaigns, campaign_id)
    if profile.reservation is not None:
        reservations = f"{schema}.{quoted(profile.reservation.table)}"
        hold_id, hold_of = quoted(profile.reservation.id), quoted(profile.reservation.campaign_id)
        yield _function(
            "note_reservation",
            "word text",
            f"SELECT {campaign_status}::text INTO word FROM {campaigns}"
            f" WHERE {campaign_id} = coalesce(NEW.{hold_of}, OLD.{hold_of});"
            " INSERT INTO drill.change (relation, key, old, new, campaign_status) VALUES"
            f" ('reservation', coalesce(NEW.{hold_id}, OLD.{hold_id})::text, to_jsonb(OLD), to_jsonb(NEW), word);",
        )
        yield _trigger("note_reservation", reservations, "INSERT OR UPDATE OR DELETE")
        yield _existing_rows("reservation", reservations, hold_id)
    word = quoted(recipient.status)
    yield _function(
        "note_unknown_word",
        "nothing text",
        "INSERT INTO drill.change (relation, key, new) VALUES"
        f" ('recipient', NEW.{quoted(recipient.id)}::text,"
        f" jsonb_build_object('campaign_id', NEW.{quoted(recipient.campaign_id)}::text, 'status', NEW.{word}::text));",
    )
    unknown = f"NEW.{word}::text <> ALL ({_array(recipient.words.all_known)})"
    yield _trigger("note_unknown_word", recipients, f"INSERT OR UPDATE OF {word}", f"WHEN ({unknown})")
    yield _function(
        "note_move",
        "nothing text",
        "INSERT INTO drill.moved (recipient_id, campaign_id, waits) VALUES"
        f" (NEW.{quoted(recipient.id)}::text, NEW.{quoted(recipient.campaign_id)}::text, {_waits(profile, 'NEW.')});",
    )
    columns = [recipient.status, recipient.campaign_id, *([recipient.provider_id] if recipient.provider_id else [])]
    changed = " OR ".join(f"OLD.{quoted(column)} IS DISTINCT FROM NEW.{quoted(column)}" for column in columns)
    yield _trigger("note_move", recipients, "UPDATE", f"WHEN ({changed})")
    yield _function(
        "note_suspect",
        "nothing text",
        "INSERT INTO drill.suspect (recipient_id, undecided) VALUES"
        " (coalesce(NEW.recipient_id, OLD.recipient_id), NEW.recipient_id IS NOT NULL AND NEW.decided_at IS NULL);",
    )
    yield _trigger("note_suspect", "campaign_ops.ambiguous", "INSERT OR UPDATE OR DELETE")
    # The sweep lock's key is repeated here on purpose: a sweep that takes a different lock is recorded as holding none.
    lock = literal(f"campaign_ops:{profile.db_schema}.{campaign.table}")
    yield _function(
        "note_journal",
        f"wanted {campaigns}.{campaign_id}%TYPE; seen jsonb; holder text",
        f"wanted := NEW.campaign_id; SELECT to_jsonb(row) INTO seen FROM {campaigns} AS row"
        f" WHERE {campaign_id} = wanted;"
        " SELECT a.application_name INTO holder FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.database = a.datid AND a.datname = current_database()"
        f" AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended({lock}, 0) LIMIT 1;"
        " INSERT INTO drill.journaled (repair_id, campaign, recipients, lock_holder)"
        " VALUES (NEW.id, seen, drill.count_recipients(NEW.campaign_id), holder);",
    )
    yield _trigger("note_journal", "campaign_ops.repair", "INSERT")


def _waits(profile: Profile, row: str = "") -> str:
    """The condition that a recipient is pending and not accepted."""
    recipient = profile.recipient
    accepted = f"{row}{quoted(recipient.provider_id)} IS NOT NULL" if recipient.provider_id else "false"
    return f"({row}{quoted(recipient.status)}::text = ANY ({_array(recipient.words.pending)}) AND NOT {accepted})"


def _count_function(profile: Profile, recipients: str) -> str:
    recipient = profile.recipient
    word, words = f"{quoted(recipient.status)}::text", recipient.words
    accepted = f"{quoted(recipient.provider_id)} IS NOT NULL" if recipient.provider_id else "false"
    pending = f"{word} = ANY ({_array(words.pending)})"
    counts = {
        "waiting": _waits(profile),
        "unknown": f"({word} = ANY ({_array(words.all_known)})) IS NOT TRUE",
        "succeeded": f"{word} = ANY ({_array(words.succeeded)}) OR ({pending} AND {accepted})",
        "failed": f"{word} = ANY ({_array(words.failed)})",
    }
    pairs = ", ".join(f"'{name}', count(*) FILTER (WHERE {condition})" for name, condition in counts.items())
    column = f"{recipients}.{quoted(recipient.campaign_id)}"
    body = (
        f"DECLARE wanted {column}%TYPE := campaign; found jsonb; BEGIN SELECT jsonb_build_object({pairs}) INTO found"
        f" FROM {recipients} WHERE {quoted(recipient.campaign_id)} = wanted; RETURN found; END"
    )
    head = "CREATE FUNCTION drill.count_recipients(campaign text) RETURNS jsonb LANGUAGE plpgsql"
    return f"{head} SECURITY DEFINER SET search_path = pg_catalog AS {literal(body)}".replace("%", "%%")


def _function(name: str, declarations: str, body: str) -> str:
    text = literal(f"DECLARE {declarations}; BEGIN {body} RETURN NULL; END")
    head = f"CREATE FUNCTION drill.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    return f"{head} SET search_path = pg_catalog AS {text}".replace("%", "%%")


def _trigger(name: str, table: str, events: str, condition: str = "") -> str:
    when = f"AFTER {events} ON {table} FOR EACH ROW {condition}"
    return f"CREATE TRIGGER drill_{name} {when} EXECUTE FUNCTION drill.{name}()"


def _existing_rows(relation: str, table: str, key: str) -> str:
    return (
        "INSERT INTO drill.change (role, relation, key, new)"
        f" SELECT '', '{relation}', {key}::text, to_jsonb(row) FROM {table} AS row"
    )


def _array(words: Collection[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, words))}]::text[]"
