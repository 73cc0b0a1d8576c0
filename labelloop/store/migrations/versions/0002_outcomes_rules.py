"""The rules behind an outcome."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outcomes") as table:
        table.add_column(sa.Column("fired_rules", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("outcomes") as table:
        table.drop_column("fired_rules")
