"""Told errors are measured, kept, and on the page, which is what the result files say."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from script_modules import ROOT, module_of

import pyrovae as pv
from pyrovae.cli import script

KEPT = ROOT / "docs" / "error_calibration"
PAGE = ROOT / "docs" / "likelihood.md"


@pytest.fixture
def calibration(monkeypatch):
    threads = torch.get_num_threads()
    yield module_of("benchmarks/error_calibration", monkeypatch)
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(calibration, monkeypatch):
    """One model of a few weights, one epoch and eight data, whose integrals are coarse, and short chains."""
    truth = calibration.truth
    exact = truth.exact_log_marginal
    case = truth.Case(likelihood=pv.Gaussian, kind="dequantized", epochs=1, hidden_features=(4,))
    short = pv.Annealed(num_temperatures=4, num_chains=8)
    refined = pv.Annealed(num_temperatures=4, num_chains=8, refinement_rounds=1)
    monkeypatch.setitem(calibration.FIXED, "annealed", short)
    monkeypatch.setitem(calibration.FIXED, "annealed-refined", refined)
    monkeypatch.setattr(truth, "CASES", {"digits, Gaussian": case})
    monkeypatch.setattr(truth, "NUM_IMAGES", 8)
    monkeypatch.setattr(truth, "_SHARE", 1.0)
    monkeypatch.setattr(truth, "exact_log_marginal", lambda vae, x: exact(vae, x, 1e-2, num_cells=24, depth=9.0))
    return calibration


def words(folder, *more):
    page = folder / "page.md"
    if not page.exists():
        page.write_text(
            "# Before\n\n<!-- error calibration: begins -->\nold\n<!-- error calibration: ends -->\n\nAfter.\n"
        )
    places = ["--folder", str(folder / "weights"), "--out", str(folder / "kept"), "--page", str(page)]
    sizes = ["--num_sets", "3", "--num_adaptive", "1", "--set_size", "4", "--target", "0.5"]
    return [*places, *sizes, *more]


@pytest.mark.slow
def test_errors_are_measured_once_and_told_on_the_page(tiny, tmp_path, monkeypatch, capsys):
    assert script(tiny.main, words(tmp_path)) == 0, capsys.readouterr().err
    names = {f"digits-Gaussian_{name}" for name in tiny.page_of.ESTIMATORS}
    assert {path.stem for path in (tmp_path / "kept").glob("*.json")} == names
    assert (tmp_path / "kept" / "coverage.png").stat().st_size > 10_000
    for path in (tmp_path / "kept").glob("*.json"):
        record = json.loads(path.read_text())
        assert {len(column) for column in record["sets"].values()} == {1 if record["estimator"] == "adaptive" else 3}
        assert all(math.isfinite(value) for column in record["sets"].values() for value in column)
        assert "--seed 0" in record["command"]
        assert str(tmp_path) not in path.read_text()
        if "mc_error" in record["sets"]:  # eight small integrals are known far better than by these estimates
            assert max(map(abs, record["sets"]["error"])) < 1
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# Before\n\n<!-- error calibration: begins -->\n## How these errors were checked\n")
    assert text.endswith("\n<!-- error calibration: ends -->\n\nAfter.\n")
    assert "old" not in text.split()
    assert text.count("| digits, Gaussian | 3 of 4 |") == 5
    assert text.count("| digits, Gaussian | 1 of 4 |") == 1
    assert "Not measured yet" not in text

    monkeypatch.setattr(tiny.Bench, "measure", None)
    assert script(tiny.main, words(tmp_path)) == 0  # nothing is left to do
    assert (tmp_path / "page.md").read_text() == text
    next((tmp_path / "kept").glob("*Gaussian_adaptive.json")).unlink()
    assert script(tiny.main, words(tmp_path, "--only_page", "true")) == 0
    assert "Not measured yet: to within a target (digits Gaussian)." in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_what_was_measured_otherwise_is_measured_again(tiny, tmp_path):
    few = ["--names", '["digits, Gaussian"]', "--estimators", "[importance-256]"]
    path = tmp_path / "kept" / "digits-Gaussian_importance-256.json"
    assert script(tiny.main, words(tmp_path, *few)) == 0
    first = json.loads(path.read_text())["sets"]
    assert script(tiny.main, words(tmp_path, *few, "--again", "true")) == 0
    assert json.loads(path.read_text())["sets"] == first  # the same seeds
    assert script(tiny.main, words(tmp_path, *few, "--max_seconds", "9")) == 0  # of adaptive estimates alone
    assert json.loads(path.read_text())["sets"] == first
    assert script(tiny.main, words(tmp_path, *few, "--seed", "1")) == 0
    assert json.loads(path.read_text())["sets"] != first


def test_sets_of_a_repetition_share_no_data_and_have_the_truth_of_their_own(calibration):
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli((4,), 2), pv.DiagonalNormal((4,), 2)).eval()
    x = torch.rand(10, 4).round()
    model = calibration.truth.Model("some", vae, x, torch.linspace(-3, -2, 10).double(), 0.0, 0.0)
    bench = calibration.Bench(model, 5, 0)
    (first, some), (again, others) = bench.chosen(0), bench.chosen(1)
    assert first == again == 0
    assert sorted([*some.tolist(), *others.tolist()]) == list(range(10))
    assert bench.chosen(2)[0] == 1
    both = [bench.fixed("importance-256", i) for i in (0, 1)]
    assert torch.equal(both[0].x, x[some])
    assert len(bench.drawn) == 1
    (drawn,) = bench.drawn.values()
    torch.testing.assert_close(sum(result.nll for result in both) / 2, drawn.nll)
    told = bench.judge(both[0], some)
    assert told["error"] == pytest.approx((model.log_prob[some] - both[0].log_prob).mean().item())
    for shift, covers in ((0, True), (1, not told["bounded"]), (-1, False)):
        bench.model = replace(model, log_prob=drawn.log_prob + shift)
        assert bench.judge(both[0], some) == told | {"error": pytest.approx(shift), "covers": covers}


def test_a_part_is_what_its_data_give_alone(calibration):
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli((4,), 2), pv.DiagonalNormal((4,), 2))
    x = torch.rand(6, 4).round()
    for estimator in (pv.Importance(400), pv.Annealed(num_temperatures=4, num_chains=4)):
        result = pv.log_marginal(vae.model, vae.guide, x, estimator)
        whole = calibration.subset(result, torch.arange(6))
        for name in ("log_prob", "standard_error", "bias", "pareto_k", "tail", "x"):
            torch.testing.assert_close(getattr(whole, name), getattr(result, name), equal_nan=True)
        assert whole.interval == pytest.approx(result.interval)
        part = calibration.subset(result, torch.tensor([1, 4]))
        assert torch.equal(part.log_prob, result.log_prob[[1, 4]])
        assert part.convergence.table()[-1]["bound"] == pytest.approx(-part.nll)


def test_shares_have_exact_intervals(calibration):
    Count = calibration.page_of.Count
    assert Count(0, 20).bounds == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert Count(20, 20).bounds == pytest.approx((0.025 ** (1 / 20), 1))
    assert Count(19, 20).bounds == pytest.approx((0.7513, 0.9987), abs=1e-4)  # Clopper & Pearson's chart
    assert str(Count(10, 20)) == "50% (27% to 73%)"
    assert str(Count(219, 220)) == "99.5% (97% to 100%)"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--seed", "-1"], "seed must be an integer of at least 0"),
        (["--names", "[none]"], "names must be one of digits, Bernoulli"),
        (["--estimators", "[none]"], "estimators must be one of importance-256"),
        (["--set_size", "201"], "set_size must be 2 to 200, but 201 was given"),
        (["--page", str(ROOT / "README.md")], "page must have the lines <!-- error calibration: begins -->"),
        (["--only_page", "true"], "out must hold results"),
    ],
)
def test_what_cannot_be_done_is_refused_first(more, sentence, calibration, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration.truth, "models", None)
    assert script(calibration.main, words(tmp_path, *more)) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "kept").exists()


def test_the_page_is_what_the_results_say(calibration):
    page = calibration.page_of
    assert page.page_section.marked(page.NAME, page.section(KEPT)) in PAGE.read_text()


def test_what_is_kept_is_small_and_of_the_models_that_there_are(calibration):
    for records in calibration.page_of.kept(KEPT).values():
        assert set(records) <= set(calibration.truth.CASES)
    assert sum(path.stat().st_size for path in KEPT.iterdir()) < 600_000
    for link in re.findall(r"\]\((error_calibration/[^)]*)\)", PAGE.read_text()):
        assert (ROOT / "docs" / link).is_file()
