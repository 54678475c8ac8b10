"""The sweep as Dagster sees it: assets, checks, jobs, schedules and sensors, one set for each platform.

Thin on purpose: what is observed, decided and done is in ``sweep``; here stands when it runs and what a person sees.
Modules with Dagster's decorators do not postpone their annotations: Dagster reads them, and takes no strings.
"""
