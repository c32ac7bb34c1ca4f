"""How ratings are found that were given during a release."""

from __future__ import annotations

from sqlalchemy import create_engine, text
from sqlalchemy.dialects import sqlite

from serving.hub.outcomes import first_ratings
from serving.store.relational.tables import captures, feedback, metadata


def test_new_ratings_are_found_by_their_time() -> None:
    """Every gateway looks every second, and a release of hours has millions of captures."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    for column, same in ((feedback.c.capture_id, captures.c.id), (feedback.c.item_id, captures.c.item_id)):
        query = first_ratings(column, same, "alias", since=1.0, after=2.0, until=3.0)
        literal = query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
        with engine.connect() as connection:
            plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {literal}"))]
        assert plan[0].startswith("SEARCH feedback USING INDEX ix_feedback_created_at"), plan
