"""``campaign-ops demo`` (one sweep over stuck platforms) and ``campaign-ops up`` (platforms with traffic until Ctrl-C).

demo, up            the two commands; cli parses their options, printout prints
stuck_platforms     builds stuck_sms, stuck_queues and stuck_messenger: one campaign per verdict and reservation outcome
simulation          drives ``up``: traffic (normal operation) and faults
platforms           one demo platform: its database, queue, configuration
attempt_history     past re-enqueues, for the verdicts that need them
dagster_home        Dagster's instance on the embedded PostgreSQL

A new verdict gets a campaign in ``stuck_*``. Faults that have to be judged belong into the drill.
"""
