"""The page: whole in one file, and opened in Chromium without network and without a console error."""

import json
import re
import shutil
import subprocess
from functools import partial

import pytest
import torch

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal, decode, prior_grid
from pyrovae.cli import main
from pyrovae.report import evaluations, write_report
from pyrovae.runs import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DIAGNOSIS = {
    "format": 1,
    "elbo": -26.5,
    "log_prob": -26.25,
    "refined_elbo": None,
    "distortion": 20.0,
    "rate": 6.5,
    "mutual_information": 4.5,
    "marginal_kl": 2.0,
    "active_units": 1,
    "num_units": 2,
    "num_images": 180,
    "notes": ["It was made for this test."],
    "caveats": [],
}
SAMPLED = {f"test-importance-30-{name}" for name in ("pareto", "extremes", "tails", "convergence")}
CHAINS = {f"test-annealed-3-T4-first20-{name}" for name in ("error", "extremes", "tails", "convergence", "paths")}


def trained(folder, latents):
    options = ["--posterior.network.hidden_features=[32]", "--likelihood.network.hidden_features=[32]"]
    assert main(["train", f"--run={folder}", f"--latent_dim={latents}", "--epochs=5", *options]) == 0
    assert main(["evaluate", str(folder), "--num_samples=30"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one evaluation, and two latents, whose plane can be shown."""
    folder = trained(tmp_path_factory.mktemp("runs") / "a <b> & c", 2)
    assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def much(tmp_path_factory):
    """A run with an annealed evaluation, a sandwich and a diagnosis too, and three latents."""
    folder = trained(tmp_path_factory.mktemp("runs") / "much", 3)
    annealing = ["--method=annealed", "--num_samples=3", "--annealing.num_temperatures=4", "--num_images=20"]
    assert main(["evaluate", str(folder), *annealing, "--sandwich=true", "--num_simulated=5"]) == 0
    (folder / "diagnosis").mkdir()
    (folder / "diagnosis" / "test.json").write_text(json.dumps(DIAGNOSIS))
    write_report(folder)
    return folder


PROGRAM = {"training_curves", "reconstructions", "samples", "latent_map"}


@pytest.mark.parametrize(
    ("which", "expected"),
    [("run", PROGRAM | SAMPLED | {"manifold"}), ("much", PROGRAM | SAMPLED | CHAINS | {"diagnosis-test-nats"})],
)
def test_the_page_holds_everything_itself(which, expected, request):
    folder = request.getfixturevalue(which)
    page = (folder / "report.html").read_text()
    assert {path.stem for path in (folder / "figures").glob("*.png")} == expected
    assert page.count("data:image/png;base64,") == len(expected)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "http" not in page
    assert "negative log-likelihood, per image" in page
    assert "k̂" in page
    assert ("a &lt;b&gt; &amp; c" in page) == (which == "run")
    assert page.count('<th class="number">jackknife</th>') == (1 if which == "run" else 2)


def test_the_page_shows_annealed_evaluations_and_where_the_nats_go(much):
    page = (much / "report.html").read_text()
    assert "test likelihood, annealed, K = 3, T = 4" in page
    assert "gap between these two bounds" in page
    assert "On 5 data simulated from the model" in page
    assert "acceptance of moves, median" in page
    assert "It was made for this test." in page
    assert '<th>mutual information of x and z</th><td class="number">4.50</td>' in page
    assert "1 of 2" in page


def test_the_page_is_the_same_for_a_seed(run):
    before = (run / "report.html").read_text()
    noise = torch.get_rng_state()
    write_report(run)
    assert (run / "report.html").read_text() == before
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.fixture
def own(much, tmp_path):
    """A copy of a run that a test may change."""
    return shutil.copytree(much, tmp_path / "run")


def rewrite(path, change):
    entry = json.loads(path.read_text())
    change(entry)
    path.write_text(json.dumps(entry))


def test_an_older_evaluation_is_shown(own):
    """It has neither the figures nor the values that came later."""
    import arviz

    path = own / "evaluation" / "test-importance-30"
    added = ("num_evaluations", "share_annealed", "acceptance", "convergence", "sandwich", "annealing")
    rewrite(
        path.with_suffix(".json"), lambda entry: [entry.pop(key) for key in (*added, "proposal_scale", "prior_share")]
    )
    values = Run(own).values(path.name)
    stats = values.sample_stats[["log_prob", "standard_error", "pareto_k", "ess", "elbo"]]
    old = arviz.InferenceData(sample_stats=stats, observed_data=values.observed_data)
    old.to_netcdf(str(path.with_suffix(".nc")), engine="h5netcdf")
    shown = evaluations.section(Run(own), path.name, Run(own).evaluations())
    assert set(shown["pictures"]) == {"pareto", "extremes"}
    assert shown["title"] == "test likelihood, importance, K = 30"
    assert shown["convergence"] == []
    assert "decoder runs per image" not in dict(shown["rows"])
    assert "too large by, as the weights themselves tell" in dict(shown["rows"])


def test_an_adaptive_evaluation_shows_both_kinds(own):
    path = own / "evaluation" / "test-importance-30"
    values = Run(own).values(path.name)
    stats = values.sample_stats.copy(deep=True)
    stats["acceptance"][:60] = 0.8
    stats["pareto_k"][:60] = float("nan")
    values.sample_stats = stats
    values.to_netcdf(str(path.with_suffix(".nc")), engine="h5netcdf")
    rewrite(path.with_suffix(".json"), lambda entry: entry.update(method="adaptive", share_annealed=1 / 3))
    shown = evaluations.section(Run(own), path.name, Run(own).evaluations())
    assert {"pareto", "error"} <= set(shown["pictures"])
    assert "of 120 data" in shown["pictures"]["pareto"][0].axes[0].get_title()
    assert dict(shown["rows"])["share of images annealed"] == "33.3%"


def test_a_bound_is_shown_beside_what_went_further(own):
    run = Run(own)
    entries = run.evaluations()
    entries["test-annealed-3-T4-first20"]["num_images"] = 180
    drawn = evaluations.section(run, "test-importance-30", entries)["pictures"]["convergence"][0]
    told = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert any(text.startswith("annealed, K = 3, T = 4") for text in told)
    alone = evaluations.section(run, "test-importance-30", run.evaluations())["pictures"]["convergence"][0]
    assert len(alone.axes[0].get_legend().get_texts()) == len(told) - 1


@pytest.mark.parametrize("name", ["test-importance-30.nc", "test-annealed-3-T4-first20.nc"])
@pytest.mark.parametrize("how", ["missing", "broken", "of something else"])
def test_values_that_cannot_be_read_are_named(own, name, how):
    path = own / "evaluation" / name
    if how == "missing":
        path.unlink()
    elif how == "broken":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        values = Run(own).values(path.stem)
        del values.sample_stats["standard_error"]
        values.to_netcdf(str(path), engine="h5netcdf")
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_report(own)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("evaluation/test-importance-30.json", "nll"),
        ("evaluation/test-importance-30.json", "convergence"),
        ("evaluation/test-annealed-3-T4-first20.json", "sandwich"),
        ("evaluation/test-annealed-3-T4-first20.json", "acceptance"),
        ("diagnosis/test.json", "elbo"),
        ("diagnosis/test.json", "num_images"),
    ],
)
@pytest.mark.parametrize("value", ["many", [1]])
def test_figures_that_are_no_numbers_are_named(own, name, key, value):
    rewrite(own / name, lambda entry: entry.update({key: value}))
    with pytest.raises(InputError, match=re.escape(name)):
        write_report(own)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_chromium_opens_the_page_without_network_or_console_error(much, tmp_path):
    result = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr",
            "--dump-dom",
            (much / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in result.stderr
    assert "</html>" in result.stdout
    assert result.stdout.count("<img") == result.stdout.count("data:image/png")


def test_the_grid_of_codes_lies_at_the_priors_percentiles():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2, partial(MLP, hidden_features=())), DiagonalNormal((6,), 2))
    torch.manual_seed(0)
    grid = prior_grid(vae.model, torch.zeros(1, 6), columns=5)
    percentiles = (torch.arange(5) + 0.5) / 5
    z = torch.distributions.Normal(0.0, 1.0).icdf(percentiles)
    codes = torch.cartesian_prod(z, z).flip(1)  # the first coordinate varies fastest
    torch.testing.assert_close(grid, decode(vae.model, {"z": codes}, (6,)), atol=0.02, rtol=0)
