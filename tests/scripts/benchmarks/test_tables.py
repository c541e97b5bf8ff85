"""VAEs and scikit-learn are judged on the same rows; densities with gaps are the exact marginals."""

import json
import math

import numpy as np
import pytest
import torch
from script_modules import ROOT, module_of
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch.distributions import MultivariateNormal

from pyrovae.cli import script

KEPT = ROOT / "docs" / "tables"
PAGE = ROOT / "docs" / "tables.md"


@pytest.fixture
def judge(monkeypatch):
    return module_of("benchmarks/tables", monkeypatch)


@pytest.fixture
def tiny(judge, monkeypatch):
    """One small table, one pattern, and few candidates."""
    page, vae = judge.tables_page, judge.tables_vae
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(40, 1))
    values = np.column_stack((latent + rng.normal(size=(40, 2)), latent[:, 0] > 0))
    rows = judge.Rows(values + np.array([0, 0, 0.5]), ("real", "real", "binary"), (0, 0, 2))
    pattern = {"20 % at random": judge.PATTERNS["20 % at random"]}
    densities = {name: found for name, found in judge.DENSITIES.items() if name != "GaussianMixture"}
    imputers = {name: judge.IMPUTERS[name] for name in ("SimpleImputer", "IterativeImputer")}
    for module in (judge, page):
        monkeypatch.setattr(module, "TABLES", {"small": lambda: rows})
        monkeypatch.setattr(module, "PATTERNS", pattern)
        monkeypatch.setattr(module, "DENSITIES", densities)
        monkeypatch.setattr(module, "IMPUTERS", imputers)
    few = vae.candidates(rows)[:1]
    monkeypatch.setattr(vae, "candidates", lambda table: few)
    monkeypatch.setattr(vae, "NUM_SAMPLES", 200)
    return judge


@pytest.mark.slow
def test_a_table_is_judged_once_and_told_on_the_page(tiny, tmp_path, monkeypatch, capsys):
    page, out = tmp_path / "page.md", tmp_path / "kept"
    page.write_text("# Before\n\n<!-- tables judged: begins -->\nold\n<!-- tables judged: ends -->\n\nAfter.\n")
    words = ["--out", str(out), "--page", str(page), "--seeds", "2", "--steps", "50"]
    assert script(tiny.main, words) == 0, capsys.readouterr().err
    kept = json.loads((out / "small.json").read_text())
    names = {*tiny.DENSITIES, *tiny.IMPUTERS, "VAE"}
    assert {(row["contender"], row["seed"]) for row in kept["results"]} == {(name, s) for name in names for s in (0, 1)}
    of_vae = [row for row in kept["results"] if row["contender"] == "VAE"]
    assert all(math.isfinite(row[key]) for row in of_vae for key in ("log_prob", "rmse", "accuracy", "coverage"))
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("<!-- tables judged: ends -->\n\nAfter.\n")
    assert text.count("| small | 20 % at random |") == 4
    monkeypatch.setattr(tiny.tables_vae, "judge", None)
    assert script(tiny.main, words) == 0  # nothing is left to do
    assert page.read_text() == text


def test_gaps_leave_exact_marginals_of_mixtures_and_kernels(judge, monkeypatch):
    contenders = module_of("benchmarks/tables_contenders", monkeypatch)
    rng = np.random.default_rng(0)
    train, x = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(6, 3))
    made = GaussianMixture(2, random_state=0).fit(train)
    kernels = KernelDensity(bandwidth=0.4).fit(train)
    normals = contenders._normals_of(made)
    assert normals.log_prob(x) == pytest.approx(made.score_samples(x))
    assert contenders.kernel_log_prob(x, train, 0.4) == pytest.approx(kernels.score_samples(x))
    x[:, 1] = np.nan
    rest = [0, 2]
    parts = MultivariateNormal(
        torch.as_tensor(made.means_[:, rest]), torch.as_tensor(made.covariances_[:, rest][:, :, rest])
    )
    exact = (parts.log_prob(torch.as_tensor(x[:, None, rest])) + torch.as_tensor(made.weights_).log()).logsumexp(1)
    assert normals.log_prob(x) == pytest.approx(exact.numpy())
    smaller = KernelDensity(bandwidth=0.4).fit(train[:, rest])
    assert contenders.kernel_log_prob(x, train, 0.4) == pytest.approx(smaller.score_samples(x[:, rest]))


def test_expectation_maximisation_raises_the_likelihood_of_observed_values(judge, monkeypatch):
    contenders = module_of("benchmarks/tables_contenders", monkeypatch)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) @ np.array([[1.0, 1.0, 0.5], [0.0, 1.0, -1.0], [0.0, 0.0, 0.5]])
    assert contenders.fit_normal(x, 0.0).covariances[0].numpy() == pytest.approx(np.cov(x.T, bias=True))
    x[rng.random(x.shape) < 0.3] = np.nan
    x = x[~np.isnan(x).all(1)]
    normals, found = contenders.Normals(np.ones(1), np.zeros((1, 3)), np.eye(3)[None]), []
    for _ in range(5):
        found.append(normals.log_prob(x).mean())
        normals = contenders.Normals(*normals.expect(x))
    assert found == sorted(found)
    mean, covariance = rng.normal(size=3), np.cov(rng.normal(size=(3, 20)))
    rows = contenders._rows_of(mean, covariance)
    assert rows.mean(0) == pytest.approx(mean)
    assert np.cov(rows.T, bias=True) == pytest.approx(covariance, abs=1e-6)


def test_log_p_is_that_of_the_tables_own_units(judge):
    rng = np.random.default_rng(0)
    logs = 3 + 2 * rng.normal(size=(50, 1))
    given = judge.task(judge.Rows(logs, ("log",), (0,)), "20 % at random", 0)
    x = np.exp(given.table.x[given.parts["test"]][:, 0])
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(torch.as_tensor(given.complete("test")[:, 0])).numpy()
    exact = torch.distributions.LogNormal(given.mean[0], given.std[0]).log_prob(torch.as_tensor(x)).numpy()
    assert standard + given.log_units("test") == pytest.approx(exact)


@pytest.mark.skipif(not any(KEPT.glob("*.json")), reason="nothing has been measured")
def test_the_page_is_what_the_files_say_which_one_version_of_the_code_has_measured(judge):
    page = judge.tables_page
    assert page.page_section.marked(page.NAME, page.section(page._files(KEPT))) in PAGE.read_text()
    assert len({json.loads(path.read_text())["recipe"]["code"] for path in KEPT.glob("*.json")}) == 1
