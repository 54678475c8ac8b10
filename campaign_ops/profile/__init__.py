"""Profiles: the names of a platform's tables, columns, status words and jobs. Data, not code.

    model: a whole profile, and the rules that hold between its parts.
    tables, queue: its parts.
    part: the base of all parts.
    placeholders: the placeholders in a job's texts.
    load: built-in profiles, files, and what they extend.
    builtin/: the profiles that ship.

To add here: a key of the profile, with its meaning in the docstring; docs and errors follow from it. Not here: the
check that a profile fits a database (`postgres.catalog`), and anything that depends on one platform.
"""
