"""What is printed is kept to a size, without asking whoever prints."""

from rapidfire_cli.engine.local.log_rotation import rotate


def test_a_log_that_outgrows_its_size_is_set_aside_and_whoever_prints_goes_on(tmp_path):
    log = tmp_path / "log.txt"
    with log.open("ab", buffering=0) as printing:
        printing.write(b"a" * 90)
        rotate(log, most=100)
        assert log.stat().st_size == 90
        printing.write(b"b" * 90)
        rotate(log, most=100)
        printing.write(b"c")
    assert log.read_bytes() == b"c"
    assert (tmp_path / "log.txt.1").read_bytes() == b"a" * 10 + b"b" * 90


def test_a_run_that_has_printed_nothing_has_no_log(tmp_path):
    rotate(tmp_path / "log.txt")
    assert list(tmp_path.iterdir()) == []
