"""What closing the edges needs: one group of statements for each noun."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IDENTITY: tuple[str, ...] = ()

CONFIRMATIONS: tuple[str, ...] = ()

AMBIGUOUS: tuple[str, ...] = ()

INTENTS: tuple[str, ...] = ()

QUEUES: tuple[str, ...] = ()


def upgrade() -> None:
    for group in (IDENTITY, CONFIRMATIONS, AMBIGUOUS, INTENTS, QUEUES):
        for statement in group:
            op.execute(statement)
