"""``campaign-ops drill``: a Jepsen-like test of the whole product. A seed's faults, a workload, and checkers.

drill               a whole run: start, script, settle, check, undo trial, scoreboard
worlds              how a drill's platform differs from the plain shop
script, execution   the faults and workload events drawn from the seed, and their execution
faults/             the nemesis: everything that goes wrong
workload            what the application and its users do to campaigns
gaps, meeting       what happens between two statements of a sweep, and the sweep that waits for it
environment/        servers, platform, workers, sweepers and the watcher
on_call, at_work    people who confirm the breaker, and who fix and undo; both are a presence
watcher, receiver   the watcher with a drill's times, and the web server that gets its notifications
settling            waits after the faults until nothing is left to do
ledger, triggers    an independent record of every change, written by PostgreSQL triggers
queue_watcher       an independent process that samples the live jobs
checkers/           one figure of the scoreboard each, computed from those records
undo_trial          undoes every repair that can be undone
scoreboard, timeline, picture   the result as table, JSON and image

A new way to fail goes into ``faults/``, a new property into ``checkers/``; both are listed in docs/drill.md. A new
property of sweeps gets a mutation in tests/lab/drill/mutations; the damage of the watcher's is planted in
tests/lab/drill/test_watch_checkers.py, since a drill for each takes half a minute. ``ledger``, ``triggers`` and
``queue_watcher`` stay outside of ``checkers/``: faults use the ledger, and checkers import faults.
"""
