"""Our own tables in schema ``campaign_ops`` of the platform's database: every statement on them, and their migrations.

    schema, meanings: the tables, and the meanings of their columns.
    sweeps: sweeps, their figures and histories.
    journal: repairs.
    attempts: re-enqueues of each campaign, their intended jobs, holds.
    ambiguous: recipients that the provider may have.
    sightings: the last look at each queue.
    confirmations: codes and their use.
    refusals: repairs that the database refuses.
    binding: the configuration that a campaign table belongs to.
    question: one statement that asks whether a sweep has anything to do.
    bulk: many rows in one statement.
    migrations: creates and upgrades the schema.

To add here: a table for one concern, with a class of its own that takes an open connection, and a migration. Rows that
decide are kept under the campaign table (``tables``), so that renaming a platform forgets nothing. Not here: statements
on the watched tables (`postgres`), and decisions (`core`).
"""
