"""Writes the pages of docs/ that are generated from the code: `make docs`. A test compares them."""

from __future__ import annotations

import inspect
from pathlib import Path

from campaign_ops.core import errors
from campaign_ops.core.report import table
from campaign_ops.faces.cli.describe import describe_cli
from campaign_ops.faces.metrics import FAMILIES
from campaign_ops.profile.load import built_in_profiles
from campaign_ops.settings import describe_profile, describe_settings, markdown_table

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
`campaign-ops workers` shows the workers one by one.
"""


def pages() -> dict[str, str]:
    """Name of each page and its text."""
    built_in = ", ".join(f"`{name}`" for name in built_in_profiles())
    return {
        "cli.md": describe_cli(),
        "configuration.md": CONFIGURATION.format(table=markdown_table(describe_settings())),
        "profiles.md": PROFILES.format(built_in=built_in, table=markdown_table(describe_profile())),
        "errors.md": _errors(),
        "metrics.md": METRICS.format(table=_metrics()),
    }


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
