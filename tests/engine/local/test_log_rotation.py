"""What is printed is kept to a size, without asking whoever prints; its end can be read."""

from rapidfire_cli.engine.local.log_rotation import log_end, rotate


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


def test_the_end_of_a_log_is_whole_lines_unless_the_last_one_alone_is_longer(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\nsecond\nthird\n")
    assert log_end(log, 100) == b"first\nsecond\nthird\n"
    assert log_end(log, 9) == b"third\n"
    log.write_bytes(b"line\n" + b"\r".join(b"%3d%%" % share for share in range(101)))
    assert log_end(log, 10).endswith(b" 99%\r100%"), "a progress bar is one line until it ends"
