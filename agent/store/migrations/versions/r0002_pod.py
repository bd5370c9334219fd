"""Which sidecar hears a tap: several of them may write to one database."""

from alembic import op
from sqlalchemy import Column, String

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Taps of before were heard by nobody in particular."""
    op.add_column("worker", Column("pod", String, nullable=True))
