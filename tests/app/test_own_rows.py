"""Prepared rows on disk belong to one fit."""

from rapidfire_cli.app.holding import own_rows
from rapidfire_cli.store.layout import ExperimentDir


def test_prepared_rows_are_deleted_when_a_fit_begins_and_ends(tmp_path):
    home = ExperimentDir(tmp_path)
    with own_rows(home):
        assert not home.rows.exists()
        (home.rows / "600-abc").mkdir(parents=True)
    assert not home.rows.exists()

    (home.rows / ".tmp-7-600-abc").mkdir(parents=True)  # of one that was killed
    with own_rows(home):
        assert not home.rows.exists()
