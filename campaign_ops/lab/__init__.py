"""Everything needed to try campaign_ops without an application. Nothing outside the lab imports it.

servers/  embedded PostgreSQL, Redis and PgBouncer; child processes
shop/     a small messaging application: tables, workers, provider
demo/     ``campaign-ops demo`` and ``up``: stuck platforms and platforms with traffic and faults
drill/    ``campaign-ops drill``: faults against the whole product, and checkers

A new command is listed in ``commands.py``. Code that a deployment needs does not belong here.
"""
