"""The sweep in Dagster: assets, checks, jobs and a schedule for each platform, and sensors for all of them.

- ``factory``: all definitions of a deployment; ``broken``: those of a platform whose configuration is wrong
- ``repository``: a code location that makes the definitions of a platform when they are asked for
- ``component``: the same as a component of Dagster
- ``names``: keys, tags and owners
- ``sources``: the platform's own tables and queue as external assets
- ``assets``: the steps of a sweep; ``metadata`` and ``tables``: what they show
- ``checks``: asset checks on the latest sweep
- ``jobs``: the whole sweep, and the dry run; ``fixes``: one job for each manual fix
- ``schedule``, ``sensors``: when a sweep is started; ``active_run``, ``backlog`` and ``cron`` help them decide,
  ``rounds`` asks many platforms
- ``resources``: hands a platform to a run
- ``storage``: where Dagster keeps its runs; ``housekeeping``: deletes old ones

Add here when a sweep runs and what a person sees of it in Dagster. Not here: what is observed, decided and written;
that is in ``sweep``, ``fixes`` and ``queries``.
Modules with Dagster's decorators do not postpone their annotations: Dagster reads them, and accepts no strings.
"""

from campaign_ops.orchestration.factory import definitions

__all__ = ["definitions"]
