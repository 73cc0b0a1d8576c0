"""Alembic's entry: runs the migrations on the connection that `labelloop.store.engine.migrate` hands over."""

from alembic import context

from labelloop.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
