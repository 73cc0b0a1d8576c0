"""A training that waits or runs can be asked to end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trainings", sa.Column("cancel_asked", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("trainings") as batch:
        batch.drop_column("cancel_asked")
