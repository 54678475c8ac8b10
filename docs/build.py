"""Writes the pages of docs/ that are generated from the code: `make docs`. A test compares them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection
from pathlib import Path

from campaign_ops.core import errors
from campaign_ops.core.causes import CAUSES, FOLLOWS, Cause
from campaign_ops.core.incidents import UNWATCHED_SECONDS, Rules
from campaign_ops.core.markdown import table
from campaign_ops.core.next_steps import STEPS
from campaign_ops.core.wording import duration, plural
from campaign_ops.faces.cli.describe import describe_cli
from campaign_ops.faces.http.app import openapi_document
from campaign_ops.faces.metrics import FAMILIES
from campaign_ops.profile.load import built_in_profiles
from campaign_ops.settings import describe_profile, describe_settings, markdown_table
from campaign_ops.watch.dagster import DEAD_AFTER_SECONDS
from campaign_ops.watch.freshness import STALE_AFTER_SECONDS
from campaign_ops.watch.notify import Limits
from campaign_ops.watch.symptoms import RESTARTS_AN_HOUR

HERE = Path(__file__).parent

CONFIGURATION = """\
# Configuration

One YAML file, `campaign_ops.yaml` in the current directory unless `CAMPAIGN_OPS_CONFIG` names another. `${{NAME}}` and
`${{NAME:-default}}` stand for environment variables anywhere in a value; `$${{` is a literal `${{`. Every mistake is reported with
file, line, key and the nearest right key, and one platform's mistakes do not stop the others. `campaign-ops config` shows what
was understood, secrets masked. `campaign_ops.example.yaml` is a commented example.

{table}
Database URLs are PostgreSQL's or Prisma's (`postgresql://…?schema=app` names the schema; other parameters of Prisma
are dropped). Queue URLs are `redis://`, `rediss://`, `unix://` and `redis+sentinel://host:26379,host2:26379/master/0`.
"""

PROFILES = """\
# Profiles

A profile says how one kind of platform names things. It is data, not code: a new platform is a new file. Built in: {built_in}.
`campaign-ops init` drafts one from your database.

```yaml
# my-shop.yaml, named in the configuration as `profile: my-shop.yaml`
extends: sms
schema: app
campaign:
  table: campaigns
  updated_at: updated_at
  words: {{sending: SENDING, done: COMPLETED, failed: null, over: [CANCELLED], idle: [DRAFT, PAUSED]}}
reservation: null          # this shop has no credits
queue:
  job: sendBatch
  batch_size: 200
```

Mappings are merged key by key, lists and values replace, null removes a part. Column types are read from the database: text and enum
statuses, text, uuid and integer ids, timestamps with time zone and without (then in UTC, as Prisma writes them). A profile that does not fit the database is refused before anything is touched.

{table}"""

ERRORS = """\
# Error messages

Every error is one line: where it is, what is wrong, and the mend. None contains a password or a row's contents. Errors below
`Unavailable` may pass: a sweep tries three times, and the next sweep tries again.

```
{tree}
```

{classes}"""

METRICS = """\
# Metrics

`campaign-ops metrics` prints the figures of all platforms in Prometheus' text format. They come from our own tables: what the
latest sweep, the latest look at the queues and the journal have left; a scrape reads a fixed number of statements. A figure that
is not known has no sample: absent is unknown, 0 is none. No label names a campaign or a tenant.

With the textfile collector of the node exporter, from cron:

```sh
campaign-ops metrics > /var/lib/node_exporter/campaign_ops.tmp && mv /var/lib/node_exporter/campaign_ops.tmp /var/lib/node_exporter/campaign_ops.prom
```

`deploy/prometheus/` has the rules (`campaign_ops.rules.yml`), their tests (`promtool test rules campaign_ops.tests.yml`) and an
example configuration; `deploy/grafana/campaign_ops.json` is a dashboard to import. The rules also record
`reconciliation_jobs_completed`, the sum over outcomes, for dashboards that use that name.

Counters never go back: they are totals in a table of their own, which neither pruning nor a restart changes. Repairs are counted
when a sweep finishes; those of a sweep that died are counted by the next one.

Every metric has the label `platform`.

{table}
A look at a queue that is older than an hour says nothing about now: its figures are left out. A *restart* of a worker is a client id
of Redis in place of one that is gone: a worker that reconnects counts too, and a restart of Redis counts once for each worker.
One that crashes again and again may be away for up to 10 min before it is back, on the same host; workers that a host stops and starts
again within that time count too.
`campaign-ops workers` shows the workers one by one.
"""

INCIDENTS = """\
# Incidents and notifications

An incident is one thing that needs a person: one platform, one *cause*, however many campaigns are behind it. `campaign-ops incidents`
lists them with the next step; notifications go to the channels of the configuration.

## Causes

{causes}

A campaign belongs to one cause, by its verdict. While a cause holds, what only follows from it or cannot be seen is not judged, and
stays as it was:

{follows}

## Rules

- Unknown is neither good nor bad: a cause that a look could not judge changes nothing.
- {rules.looks_to_open} bad looks in a row open an incident; one where the table says so. Where it says how long, the bad looks must have lasted that long. One
  good look before forgets it.
- {rules.looks_to_resolve} good looks in a row resolve it. What comes back within {reopen} is the same incident, reopened. Where a queue is taken out of the
  profile, its incidents end in this way, too, with that as the reason.
- Two looks at the rows of the same sweep are one look; so are two looks within {rules.same_look_seconds:g} s, by several watchers for example.
- It is notified when it opens, reopens, gets worse and ends, and again every {repeat} as long as it is open. *Worse* is a graver severity, or
  a count {rules.worse_factor} times the one of the last notification.
- A deployment, or a restart of Redis, restarts each worker once. *Again and again* is {restarts} restarts an hour beyond one of each worker.
- The last sweep is too old after {stale}, or after three ticks of a slower schedule. A platform that was never swept has as long.

## What a person does

```sh
campaign-ops incidents --platform sms                                   # exits with 5 while one is open
campaign-ops acknowledge 12 --platform sms --reason "TICKET-12"         # not repeated any more; getting worse, and its end, are still sent
campaign-ops silence 12 --platform sms --until 4h --reason "deployment" # nothing until then, not even its end or its return within an hour; unless it gets worse
campaign-ops resolve 12 --platform sms --reason "workers are back"      # over; new bad looks open it again
```

Who, when and why are kept in `campaign_ops.incident_event`, with everything else that happened to it.

## Channels

```yaml
notify:
  link: https://dagster.example.com       # ends every text
  channels:
    - name: oncall
      url: ${{ONCALL_URL}}                  # slack://…, mailto://…, pagerduty://…: see apprise's documentation
      severity: critical
    - name: shop_one
      url: ${{SHOP_ONE_URL}}
      tenants: [shop_1]                   # only incidents that concern this owner; no campaign of another owner is named
```

A URL is a secret: it is shown nowhere, not even in an error. `campaign-ops notify --test` sends a test message to each channel and
says whether it was accepted; `campaign-ops config` says which URL apprise does not understand, by its line. A mistake in this section
stops neither sweeps nor the other channels.

The watcher sends what is due, and so does the sensor `incidents` of Dagster. Without either, a cron job may: `campaign-ops notify`.

- A notification is written in the transaction that changes the incident, and sent after it. Several processes may send: one claims each.
- A channel of some owners gets an incident when it opens, or begins to concern one of them later. Each channel that got one gets its end.
- A channel that does not accept it is tried again after {limits.first_retry_seconds:g} s, then later and later up to {longest}, and given up after {give_up}, with
  an event in the incident. The other channels go on.
- A channel gets at most {limits.messages_an_hour} messages an hour about one platform; what is more comes as one message.
- It may come twice where the process died, or the database went away, between sending and noting that it was sent; where the channel
  answered only after its time was up; and where one of several recipients behind one URL refused it. It says so where that is known.

`history_days` after its end an incident is forgotten, with its events and notifications.

## The watcher

```sh
export CAMPAIGN_OPS_DAGSTER_WEBSERVER=http://127.0.0.1:3000      # optional: dead daemons and failed runs
export CAMPAIGN_OPS_DEAD_MAN_URL=https://dead-man.example.com/…  # optional, a secret
campaign-ops watch --log-format json                             # until SIGTERM; `--once` for cron, with exit code 5 if something is wrong
```

A process of its own without Dagster, since what watches the sweeps must not die with them. Each minute it looks at every platform with
timeouts of a few seconds: the age of the last finished sweep, the database, the queue and its workers. It keeps what it sees of queue and
workers for `campaign-ops workers` and the metrics, brings incidents up to date, and sends what is due. It repairs nothing. Several may run.

- Dagster is asked over the GraphQL of its webserver. While that is away, nothing is known of the daemons; a dead one is still noticed by
  the age of the last sweep. A daemon is dead after {dead} without a heartbeat.
- The *dead man's switch* is an address outside that is called after each look in which the last sweep of every platform was fresh
  (younger than {stale}, or than three ticks of a slower schedule). Its owner raises the alarm when the calls stop: with the watcher, its host, its network or the sweeps.
- A platform whose database cannot be written has no place for its incident. The watcher remembers it and notifies directly, without the
  outbox: a channel that does not accept it is tried again at each look. A watcher that is restarted meanwhile may
  notify once more, or not of the end. Each of several watchers notifies.
- Where no watcher runs, Dagster's sensor `incidents` makes the same looks. It dies with Dagster's daemon, and cannot
  notify of a database that is away. Where neither has looked for {unwatched}, `campaign-ops incidents`, the console and the doctor ask for
  it: incidents stay as they were at the last look.
"""


def pages() -> dict[str, str]:
    """Name of each page and its text."""
    built_in = ", ".join(f"`{name}`" for name in built_in_profiles())
    return {
        "cli.md": describe_cli(),
        "openapi.json": json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n",
        "configuration.md": CONFIGURATION.format(table=markdown_table(describe_settings())),
        "profiles.md": PROFILES.format(built_in=built_in, table=markdown_table(describe_profile())),
        "errors.md": _errors(),
        "metrics.md": METRICS.format(table=_metrics()),
        "incidents.md": _incidents(),
        "states.md": _states((HERE / "states.md").read_text(encoding="utf-8")),
    }


def _states(page: str) -> str:
    """The page of the verdicts with the next step of each; the rest of it is written by hand."""
    for verdict, step in STEPS.items():
        row = re.compile(rf"^(\| `{verdict}` \|.*\| ).*( \|)$", re.MULTILINE)
        page, found = row.subn(rf"\g<1>{step.format(platform='NAME')}\g<2>", page)
        assert found == 1, verdict
    return page


def _incidents() -> str:
    rules, limits = Rules(), Limits()
    head = ["cause", "in words", "severity", "opens after", "next step"]
    rows = [
        [
            f"`{cause}`",
            fixed.words,
            fixed.severity,
            plural(fixed.looks or rules.looks_to_open, "look")
            + (f", {duration(fixed.lasting_seconds)}" if fixed.lasting_seconds else ""),
            fixed.next_step.format(platform="NAME"),
        ]
        for cause, fixed in CAUSES.items()
    ]
    follows = [f"- `{root}`: {_all_but(followers)}" for root, followers in FOLLOWS.items()]
    return INCIDENTS.format(
        causes=table(head, rows),
        follows="\n".join(follows),
        rules=rules,
        limits=limits,
        reopen=duration(rules.reopen_seconds),
        repeat=duration(rules.repeat_seconds),
        longest=duration(int(limits.longest_retry_seconds)),
        give_up=duration(int(limits.give_up_seconds)),
        unwatched=duration(UNWATCHED_SECONDS),
        restarts=RESTARTS_AN_HOUR,
        dead=duration(DEAD_AFTER_SECONDS),
        stale=duration(STALE_AFTER_SECONDS),
    )


def _all_but(causes: Collection[Cause]) -> str:
    """Causes in their order; of nearly all of them, those that are left."""
    named = [f"`{cause}`" for cause in Cause if cause in causes]
    others = [f"`{cause}`" for cause in Cause if cause not in causes]
    return ", ".join(named) if len(named) < 12 else f"everything but {', '.join(others)}"


def _metrics() -> str:
    rows = [
        [
            f"`{name}`",
            "counter" if family.counter else "gauge",
            ", ".join(f"`{one}`" for one in family.labels),
            family.help,
        ]
        for name, family in FAMILIES.items()
    ]
    return table(["metric", "type", "labels", "meaning"], rows) + "\n"


def _errors() -> str:
    _, _, tree = (inspect.getdoc(errors) or "").partition("\n\n")
    root = errors.CampaignOpsError
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, root) and kind != root]
    lines = [f"- **{kind.__name__}**: {_first_paragraph(kind)}" for kind in kinds]
    return ERRORS.format(tree=inspect.cleandoc(tree), classes="\n".join(lines) + "\n")


def _first_paragraph(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
