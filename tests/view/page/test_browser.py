"""The page in a real browser: live, without a pointer, with a URL that keeps the view, never silent."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from rapidfire_cli.app.verbs.report import report
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import Fact, Metric, RunChanged, RunFailed, TurnEnded, TurnStarted
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from tests.view.page.built import browser as installed
from tests.view.page.built import page_bundle
from tests.view.page.pages import experiment
from tests.view.page.served import AXE, Tab, chromium, serving
from tests.view.page.sweeps import STEPS, config, ended, enrol, grid, halving, runs_of

FILE = "mlspec: none:None\nconfig:\n  train: {epochs: 1, batch_size: 1, optimizer: {name: SGD}}\n"
MARKUP = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    installed(), page_bundle()
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> ExperimentDir:
    """A finished sweep that tests only look at."""
    home = experiment(tmp_path_factory.mktemp("sweep"))
    halving(home, 27)
    return home


@pytest.fixture
def tab(browser) -> Iterator[Tab]:
    tab = Tab(browser)
    yield tab
    assert tab.wrong == []
    assert tab.page.evaluate("window.hacked") is None
    tab.context.close()


def rows(page: Any) -> list[str]:
    return page.locator(".runs tbody tr[aria-rowindex] .link").all_inner_texts()


def test_the_page_follows_an_experiment_that_trains(tab, tmp_path):
    home = experiment(tmp_path)
    runs = runs_of(3, 4)
    journal = enrol(home, runs, 4, name=MARKUP)
    page = tab.page
    with serving(lambda: home) as served:
        with lock(home.lock, "test"):
            page.goto(served.url)
            assert page.url == f"http://127.0.0.1:{served.port}/"
            page.wait_for_selector(".pill.running")
            assert page.locator("header h1").inner_text() == MARKUP
            journal.record([RunChanged(1, RunState.RUNNING), ended(1, runs[0].leaf, 1)])
            page.wait_for_selector("text=1/4")
            page.wait_for_selector(".canvas canvas")
            journal.record([RunFailed(2, "error", MARKUP, 3), RunChanged(2, RunState.FAILED, MARKUP)])
            page.wait_for_selector(".runs .state.failed")
            page.click("text=failed >> nth=0")
            page.click("[aria-label='open run 2']")
            page.wait_for_selector(".drawer .failure")
            assert MARKUP in page.locator(".drawer .failure").inner_text()
        page.wait_for_selector(".pill.interrupted")  # the controller is gone
    page.wait_for_selector("text=server gone")
    journal.close()
    tab.wrong.clear()  # the browser says that the server is gone, too


def test_the_keyboard_alone_suffices(tab, tmp_path):
    home = experiment(tmp_path)
    grid(home, 14, 3)
    home.file.write_text("config: {}\n")
    page, press = tab.page, tab.page.keyboard.press
    with serving(lambda: home) as served:
        page.goto(served.url)
        page.wait_for_selector(".runs tbody .link")
        press("/")
        page.keyboard.type('model == "cnn" and batch_size in [32, 64]')
        press("Escape")
        leaves = {str(number): config(number - 1, 3) for number in range(1, 15)}
        cnns = {run: leaf for run, leaf in leaves.items() if leaf["user_knobs"]["model"] == "cnn"}
        expected = [run for run, leaf in cnns.items() if leaf["train"]["batch_size"] < 128]
        expect(page.locator(".runs tbody tr[aria-rowindex]")).to_have_count(len(expected))
        assert rows(page) == expected
        press("j")
        press("Space")
        assert page.locator("tr.chosen .link").all_inner_texts() == expected[:1]
        press("Enter")
        page.wait_for_selector(f".drawer >> text=Run {expected[0]}")
        page.wait_for_selector(".drawer >> text=completed 3 of 3 epochs")
        press("j")
        page.wait_for_selector(f".drawer >> text=Run {expected[1]}")
        press("Escape")
        press("2")
        page.wait_for_selector("canvas[aria-label*=' over ']")
        press("t")
        page.wait_for_selector("[aria-label='Values of the parallel coordinates']")
        press("?")
        page.wait_for_selector("dialog >> text=filter the runs")
        press("Escape")
        press("d")
        page.wait_for_selector("dialog >> text=They move to the trash")
        page.get_by_text("What would happen?").focus()
        press("Enter")
        page.wait_for_selector("dialog .effect >> text=would go to the trash")
        page.locator("dialog [data-first]").focus()
        press("Enter")
        page.wait_for_selector(".notices >> text=deleted")
        expect(page.locator("dialog")).to_have_count(0)
    [taken] = requests_taken(home.journal)
    assert (taken.taken.request.source, taken.taken.request.ask.runs) == ("web", (int(expected[0]),))


@pytest.mark.campaign
def test_a_clone_of_a_wrong_value_is_refused_as_in_a_file(tab, tmp_path):
    home = experiment(tmp_path)
    grid(home, 2, 1)
    home.file.write_text(FILE)
    page = tab.page
    with serving(lambda: home) as served:
        page.goto(f"{served.url}#runs=1")
        page.wait_for_selector("tr.chosen")
        page.keyboard.press("c")
        page.get_by_label("train.batch_size").fill("many")
        page.click("dialog button.primary")
        page.wait_for_selector("dialog .failure >> text=train.batch_size=many")
        assert "expected" in page.locator("dialog .failure").inner_text()
        page.get_by_label("train.batch_size").fill("16")
        page.click("dialog button.dry")
        page.wait_for_selector("dialog .effect >> text=Nothing was changed.")
        assert not AXE.is_file() or tab.violations() == []
        assert len(known_runs(home.journal, 1)) == 2 and not requests_taken(home.journal)
        page.click("dialog button.primary")
        page.wait_for_selector(".notices >> text=run 3")
        page.wait_for_selector(".parent >> text=1")  # its lineage, in the table
    tab.wrong[:] = [each for each in tab.wrong if "422" not in each]


@pytest.mark.campaign
def test_another_experiment_in_the_directory_can_be_chosen(tab, tmp_path):
    first, second = ExperimentDir(tmp_path / "first"), ExperimentDir(tmp_path / "second")
    grid(first, 2, 1)
    grid(second, 5, 1)
    second.file.write_text(FILE)
    page = tab.page
    with serving(lambda: first) as served:
        page.goto(f"{served.url}#runs=1")
        page.wait_for_selector("tr.chosen")
        expect(page.locator(".runs tbody tr[aria-rowindex]")).to_have_count(2)
        page.get_by_label("Experiment", exact=True).select_option("second")
        expect(page.locator(".runs tbody tr[aria-rowindex]")).to_have_count(5)
        assert "#experiment=second" in page.url and "runs=" not in page.url
        page.wait_for_selector(".canvas canvas")
        page.reload()
        expect(page.locator(".runs tbody tr[aria-rowindex]")).to_have_count(5)
        page.click("[aria-label='select run 4']")
        page.keyboard.press("d")
        page.click("dialog button.danger")
        page.wait_for_selector(".notices >> text=deleted")
        assert not AXE.is_file() or tab.violations() == []
        page.goto(f"{page.url.partition('#')[0]}#experiment=third")
        page.wait_for_selector("text=No such experiment")
    assert not requests_taken(first.journal) and len(requests_taken(second.journal)) == 1


def test_curves_have_the_values_inside_of_epochs_by_step_and_by_epoch(tab, tmp_path):
    home = experiment(tmp_path)
    runs = runs_of(1, 3)
    journal = enrol(home, runs, 3, chunks=4)

    def turn(tick: int) -> list[Fact]:
        """A quarter of an epoch, with the loss so far."""
        loss = () if tick % 4 == 0 else (Metric("train", "loss", 10.0 - tick),)
        done = [ended(1, runs[0].leaf, tick // 4)] if tick % 4 == 0 else []
        steps = STEPS * tick // 4
        return [TurnStarted(1, 0, tick), *done, TurnEnded(1, 0, tick, steps, loss)]

    def column() -> list[str]:
        return page.locator("[aria-label='Values of the curves'] tbody th").all_inner_texts()

    page = tab.page
    with lock(home.lock, "test"), serving(lambda: home) as served:
        journal.record(
            [RunChanged(1, RunState.RUNNING), *(each for tick in (1, 2, 3, 4, 5) for each in turn(tick))]
        )
        page.goto(f"{served.url}#metric=train.loss&x=step&table=1")
        page.wait_for_selector("[aria-label='Values of the curves']")
        assert column() == ["10", "20", "30", "40", "50"]
        journal.record(turn(6))
        expect(page.locator("[aria-label='Values of the curves'] tbody th")).to_have_count(6)
        assert column()[-1] == "60"
        values = page.locator("[aria-label='Values of the curves'] tbody td").all_inner_texts()
        assert [float(value) for value in values[:3]] == [9, 8, 7]
        page.click("text=epoch >> nth=0")
        expect(page.locator("[aria-label='Values of the curves'] thead th").first).to_have_text("epoch")
        assert column() == ["0.25", "0.5", "0.75", "1", "1.25", "1.5"]
        page.keyboard.press("t")
        page.wait_for_selector(".canvas canvas")
        page.click("role=button[name=time]")
        page.wait_for_selector("[aria-label*='by time']")
    journal.close()


CONDITIONS = {
    "": lambda run, leaf: True,
    "run <= 3": lambda run, leaf: run <= 3,
    "5 < run <= 9": lambda run, leaf: 5 < run <= 9,
    "state == 'failed'": lambda run, leaf: run == 5,
    "failed or run == 2": lambda run, leaf: run in (2, 5),
    "lr >= 1e-3": lambda run, leaf: leaf["train"]["optimizer"]["args"]["lr"] >= 1e-3,
    "train.optimizer.args.lr < .001": lambda run, leaf: leaf["train"]["optimizer"]["args"]["lr"] < 1e-3,
    'model in ["mlp", "vit"] and not (batch_size == 32)': lambda run, leaf: (
        leaf["user_knobs"]["model"] != "cnn" and leaf["train"]["batch_size"] != 32
    ),
    "model not in ['cnn']": lambda run, leaf: leaf["user_knobs"]["model"] != "cnn",
    "weight_decay > 0": lambda run, leaf: run == 28,
    "epoch >= 9 and completed": lambda run, leaf: run in (3, 20),
    "mat1 and mat2 shapes": lambda run, leaf: run == 5,
    "lr < 'text'": lambda run, leaf: False,
}


def test_the_filter_takes_conditions_and_a_read_only_page_has_no_requests(tab, home):
    page = tab.page
    known = {run.number: run.leaf for run in (one.run for one in known_runs(home.journal, 1))}
    with serving(lambda: home, read_only=True) as served:
        page.goto(served.url)
        page.wait_for_selector(".runs tbody .link")
        assert page.locator(".actions").count() == 0
        for text, chosen in CONDITIONS.items():
            page.fill("#filter", text)
            expected = [run for run, leaf in known.items() if chosen(run, leaf)]
            count = f"{len(expected)} of 28 runs" if len(expected) < 28 else "28 runs"
            expect(page.locator(".table-bar .count").first).to_have_text(count)
        for text, why in {
            "lr >": "incomplete",
            "rate > 3": "unknown name `rate`",
            "(lr > 1": "missing `)`",
        }.items():
            page.fill("#filter", text)
            expect(page.locator("#filter-error")).to_contain_text(why)


@pytest.mark.campaign
def test_the_url_keeps_what_is_looked_at(tab, home):
    page = tab.page
    with serving(lambda: home) as served:
        page.goto(served.url)
        page.wait_for_selector(".runs tbody .link")
        page.click("[aria-label='select run 2']")
        page.click("[aria-label='select run 3']")
        page.click("role=tab[name=Rungs]")
        page.click("th button[title='validation.top1_accuracy'], th button[title='top1_accuracy']")
        page.click(".rungs circle.promoted >> nth=0")
        page.wait_for_selector(".drawer .why >> text=rung 1")
        seen = page.url
        page.goto("about:blank")
        page.goto(seen)
        page.wait_for_selector(".drawer .why >> text=rung 1")
        assert sorted(page.locator("tr.chosen .link").all_inner_texts()) == ["2", "3"]
        assert page.locator("role=tab[name=Rungs]").get_attribute("aria-selected") == "true"
        assert page.locator("th[aria-sort]").inner_text().startswith("top1_accuracy")
        assert re.search(r"#view=rungs&sort=-metric.*&runs=2-3&run=\d+", seen)


def test_what_cannot_be_shown_is_said(tab, tmp_path):
    home = experiment(tmp_path)
    page = tab.page
    with serving(lambda: home) as served:
        page.goto(served.url)
        page.wait_for_selector("text=No experiment yet")
        grid(home, 2, 1)
        page.wait_for_selector(".pill.completed")
        home.journal.write_bytes(b"no database" * 500)
        for extra in ("-wal", "-shm"):
            home.journal.with_name(f"journal.db{extra}").unlink(missing_ok=True)
        page.wait_for_selector("text=E604")
        page.wait_for_selector("text=rapidfire repair")
        page.context.clear_cookies()
        page.reload()
        assert "open the URL" in page.inner_text("body")
    tab.wrong.clear()  # the browser reports that it was not let in


@pytest.mark.campaign
def test_a_page_without_a_stream_polls(tab, home):
    page = tab.page
    page.route("**/api/stream*", lambda route: threading.Event())  # a proxy that keeps everything
    with serving(lambda: home) as served:
        page.goto(served.url)
        page.wait_for_selector(".runs tbody .link")
        page.wait_for_selector(".connection.polling")


def test_a_report_opens_from_the_disk_without_a_network(browser, home, tmp_path):
    assert report(str(home.path), None, tmp_path / "report.html") == 0
    tab = Tab(browser, offline=True)
    page = tab.page
    page.goto(f"file://{tmp_path}/report.html#run=28&x=time")
    page.wait_for_selector(".canvas canvas")
    page.wait_for_selector(".drawer .why >> text=cloned from run 9")
    assert page.locator(".drawer .actions, .table-bar .actions").count() == 0
    for name in ("Parallel", "Importance", "Rungs", "Requests"):
        page.click(f"role=tab[name={name}]")
    page.wait_for_selector("text=clone 9 --set")
    assert tab.wrong == []
    tab.context.close()


@pytest.mark.campaign
def test_a_report_of_100_runs_and_100_epochs_is_less_than_a_megabyte(tmp_path):
    page_bundle()
    home = experiment(tmp_path)
    grid(home, 100, 100)
    assert report(str(home.path), None, tmp_path / "report.html") == 0
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_the_page_is_accessible(tab, home):
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make web")
    page, found = tab.page, []
    with serving(lambda: home) as served:
        page.goto(f"{served.url}#run=3&runs=3,4")
        page.wait_for_selector(".drawer .config")
        for place, name in enumerate(("curves", "parallel", "importance", "rungs", "requests"), 1):
            page.keyboard.press(str(place))
            page.wait_for_selector(f"[role=tab][aria-selected=true] >> text=/{name}/i")
            found += [f"{name} {each}" for each in tab.violations()]
        page.keyboard.press("c")
        page.wait_for_selector("dialog .knobs input")
        found += tab.violations()
        page.emulate_media(color_scheme="dark")
        found += [f"dark {each}" for each in tab.violations("color-contrast")]
        page.keyboard.press("Escape")
        found += [f"dark {each}" for each in tab.violations("color-contrast")]
    assert not found, "\n".join(found)


@pytest.mark.campaign
def test_the_journal_outlives_a_page_that_is_open(tab, tmp_path):
    """Writing goes on, and the journal is whole by itself when the controller closes it."""
    home = experiment(tmp_path)
    runs = runs_of(2, 3)
    journal: SqliteJournal = enrol(home, runs, 3)
    with serving(lambda: home) as served:
        tab.page.goto(served.url)
        tab.page.wait_for_selector(".runs tbody .link")
        journal.record([ended(1, runs[0].leaf, 1)])
        journal.close()
        alone = tmp_path / "alone"
        alone.mkdir()
        (alone / "journal.db").write_bytes(home.journal.read_bytes())
        assert overview(alone / "journal.db", alive=False).rows[0].epoch == 1
