"""The reads of faces, checks and metrics. Writes nothing.

- `status`: every campaign in sending, read now. `backlog`: the queue, read now.
- `latest`, `report`: the rows and the report that the latest sweep stored. `columns`: their views, column by column.
- `history`: the journal of repairs.
"""
