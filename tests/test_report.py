"""The page: whole in one file, and opened in Chromium without network and without a console error."""

import re
import shutil
import subprocess
from functools import partial

import pytest
import torch

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, StandardNormal, decode, prior_grid
from pyrovae.cli import main
from pyrovae.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module", params=[2, 3], ids=["2 latents", "3 latents"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a <b> & c"
    options = ["--posterior.network.hidden_features=[32]", "--likelihood.network.hidden_features=[32]"]
    assert main(["train", f"--run={folder}", f"--latent_dim={request.param}", "--epochs=5", *options]) == 0
    assert main(["evaluate", str(folder), "--num_samples=30"]) == 0
    assert main(["report", str(folder)]) == 0
    return folder, request.param


def test_the_page_holds_everything_itself(run):
    folder, latents = run
    page = (folder / "report.html").read_text()
    pictures = {path.stem for path in (folder / "figures").glob("*.png")}
    expected = {"training_curves", "reconstructions", "samples", "latent_map"} | (
        {"manifold"} if latents == 2 else set()
    )
    assert pictures == expected
    assert page.count("data:image/png;base64,") == len(expected)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "http" not in page
    assert "negative log-likelihood, per image" in page
    assert "k̂" in page or "too few" in page
    assert "a &lt;b&gt; &amp; c" in page
    assert page.count("<h2>") >= 3


def test_the_page_is_the_same_for_a_seed(run):
    folder, _ = run
    before = (folder / "report.html").read_text()
    noise = torch.get_rng_state()
    write_report(folder)
    assert (folder / "report.html").read_text() == before
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_chromium_opens_the_page_without_network_or_console_error(run, tmp_path):
    folder, _ = run
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
            (folder / "report.html").as_uri(),
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
