"""The platform's database: its connection, its catalogue, and every statement on the watched tables.

Connection:
    database: transactions with timeouts and retries, and the sweep lock.
    errors: driver errors mapped to ours.
    planner: settings for statements whose plan the statistics mislead.
    clock: the database's clock.

Catalogue:
    needs: the columns that a profile names, and what is asked of each.
    relations: what the names stand for: tables, views, partitions.
    catalog: checks that the profile fits; the real column types.
    tables: the platform's tables as SQLAlchemy objects.
    inspection: the doctor's questions about server, rights and indexes.

Statements:
    expressions: column expressions that statements are made of.
    campaigns: reads of campaigns, and what makes one stuck.
    completion: guarded writes on campaigns.
    recipients: tallies, open writers, a person's choices.
    reservations: held credits and their release.
    guarded: undo of one row; why a write changed nothing.
    cover, copying: recipients in live jobs, in temporary tables.
    samples: bounded samples for the doctor.

To add here: a statement on the watched tables, in the module of its noun, with a name and its binds in the docstring;
a write repeats its premise. Not here: decisions (`core`), statements on our own tables (`journal`).
"""
