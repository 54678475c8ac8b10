"""YAML files with line numbers, and their mistakes explained. Knows no campaign.

    yaml_file: reads one file.
    yaml_tree: values that remember the file and line they were written in.
    explain: validates a tree; one line for each mistake, with the fix.

To add here: nothing that knows a setting or a profile key; those are in `settings` and `profile`.
"""
