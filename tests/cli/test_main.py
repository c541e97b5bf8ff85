"""The command line as a person uses it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pyrovae import VAE, DataSet, DiagonalNormal, DiscretizedLogistic, InputError, StandardNormal, fit
from pyrovae.cli import main
from pyrovae.runs import Run, caveats_of

SMALL = ["--latent_dim=2", "--posterior.network.hidden_features=[8]", "--likelihood.network.hidden_features=[8]"]


@pytest.fixture
def frey(tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (300, 28, 20), dtype=np.uint8)
    np.savez(tmp_path / "frey.npz", images=faces)
    return tmp_path / "frey.npz"


@pytest.mark.slow
def test_a_chosen_class_gets_its_own_defaults(capsys, frey):
    assert main(["train", "--data=FreyFaces", f"--data.path={frey}", "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["init_args"]["binarization"] == "none"  # and not that of Digits, the default class
    assert config["data"]["init_args"]["dequantize"] is True
    assert main(["train", "--optimizer=SGD", "--optimizer.lr=0.5", "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["optimizer"]["init_args"]["lr"] == 0.5
    assert "betas" not in config["optimizer"]["init_args"]


@pytest.mark.slow
def test_every_component_can_be_swapped_at_once(tmp_path, frey, capsys):
    run = tmp_path / "run"
    words = [
        "train",
        "--data=FreyFaces",
        f"--data.path={frey}",
        "--likelihood=Gaussian",
        "--likelihood.scale=pixel",
        "--likelihood.network=ConvolutionalDecoder",
        "--posterior.network=ConvolutionalEncoder",
        "--posterior.network.activation=torch.nn.ELU",
        "--posterior.link=exp",
        "--latent_dim=3",
        "--objective=TraceMeanField_ELBO",
        "--optimizer=AdamW",
        "--optimizer.weight_decay=0.1",
        "--scheduler=CosineAnnealingLR",
        "--scheduler.T_max=2",
        "--epochs=2",
        "--kl_warmup=1",
        "--max_norm=100",
        "--patience=5",
        f"--run={run}",
    ]
    assert main(words) == 0
    assert main(["evaluate", str(run), "--num_samples=20", "--num_data=5", "--num_checked=0"]) == 0
    assert "bits/dim" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_sample_and_data(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", *SMALL, "--epochs=1", f"--run={run}"]) == 0
    assert main(["sample", str(run), "--num_samples=7", f"--out={tmp_path / 'x.npy'}"]) == 0
    x = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert x.shape == (7, 1, 8, 8)
    assert ((x > 0) & (x < 1)).all()
    assert main(["sample", str(run), "--num_samples=7", "--noise=true", f"--out={tmp_path / 'n.npy'}"]) == 0
    assert set(np.unique(np.load(tmp_path / "n.npy"))) == {0.0, 1.0}
    assert main(["sample", str(run), f"--out={tmp_path / 'x.png'}"]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert main(["data", f"--out={tmp_path / 'd.png'}"]) == 0
    assert "1437 data, 10 classes" in capsys.readouterr().out
    assert (tmp_path / "d.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (["--data.binarization=none"], "Bernoulli", "cross-entropy and no log-likelihood"),
        (["--data.binarization=none"], "Gaussian", "density, which has no bound"),
        (["--data.binarization=none", "--data.dequantize=true"], "Gaussian", None),
        ([], "Bernoulli", None),
    ],
)
def test_a_number_that_is_no_likelihood_says_so(tmp_path, capsys, options, kind, words):
    run = tmp_path / "run"
    assert main(["train", "--data=Digits", *options, f"--likelihood={kind}", *SMALL, "--epochs=1", f"--run={run}"]) == 0
    assert main(["evaluate", str(run), "--num_samples=10", "--num_data=10", "--num_checked=0"]) == 0
    shown = capsys.readouterr().out
    assert (words in shown) if words else ("publish" not in shown)
    assert ("bits/dim" in shown) == (words is None)  # what is no likelihood has no bits


@pytest.mark.slow
@pytest.mark.parametrize("program", [[], ["--program=Autoencoder"]])
def test_a_probability_of_levels_has_those_of_the_data(tmp_path, capsys, program):
    run, inside = tmp_path / "run", "--program." if program else "--"
    words = [f"{inside}likelihood=DiscretizedLogistic", "--latent_dim=2", "--data.binarization=none"]
    assert main(["train", *program, *words, "--epochs=1", f"--run={run}"]) == 0
    dataset, trained = Run(run).load()
    assert (trained.likelihood.levels, dataset.levels) == (17, 17)
    assert caveats_of(trained, dataset) == []
    sixteen = DataSet(dataset.train.stored.clamp(max=15), levels=16)
    assert caveats_of(trained, sixteen) == [
        "The likelihood is a probability of 17 levels, and the data have 16: it is not that of these data."
    ]


def test_levels_are_checked_where_the_program_is_given_ready():
    """Levels of 16 are some of 256 levels, so that nothing else would notice."""
    sixteen = DataSet(torch.arange(16, dtype=torch.uint8).repeat(50, 1), levels=16)
    vae = VAE(StandardNormal(2), DiscretizedLogistic((16,), 2), DiagonalNormal((16,), 2))
    with pytest.raises(InputError, match="levels of DiscretizedLogistic must be those of the data, 16, but 256 was"):
        fit(vae.model, vae.guide, sixteen, epochs=1)


@pytest.mark.slow
def test_the_users_own_class_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_priors.py").write_text(
        "import pyro.distributions as dist, torch\n"
        "from pyrovae import Prior\n"
        "class Wide(Prior):\n"
        "    def __init__(self, latent_dim: int, width: float = 2.0):\n"
        "        super().__init__(latent_dim)\n"
        "        self.register_buffer('width', torch.full((latent_dim,), width))\n"
        "    def forward(self):\n"
        "        return dist.Normal(0 * self.width, self.width).to_event(1)\n"
    )
    words = ["train", "--prior=my_priors.Wide", "--prior.width=3.0", *SMALL, "--epochs=1", "--run=run"]
    command = [Path(sys.executable).with_name("pyrovae"), *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "run", "--num_samples=5", "--num_data=5", "--num_checked=0"]) == 0
    sys.modules.pop("my_priors")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["prior"] == {"class_path": "my_priors.Wide", "init_args": {"width": 3.0}}


def test_a_class_whose_module_is_gone_disturbs_no_choice_by_name(capsys):
    """Such as a class of a script that was imported by its path."""
    gone = type("Gone", (torch.optim.Adam,), {"__module__": "gone", "__qualname__": "main.<locals>.Gone"})
    assert main(["train", "--optimizer=SGD", "--optimizer.lr=0.5", "--print_config"]) == 0, gone
    assert yaml.safe_load(capsys.readouterr().out)["optimizer"]["class_path"] == "torch.optim.SGD"


def test_a_name_is_that_of_pyrovaes_class(capsys):
    """Also when a package with a class of this name is in memory, as torchvision is once a data set of it was read."""
    from torchvision.ops import MLP

    assert main(["train", "--posterior.network=MLP", "--print_config"]) == 0, MLP
    network = yaml.safe_load(capsys.readouterr().out)["posterior"]["init_args"]["network"]
    assert network["class_path"] == "pyrovae.MLP"


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["train", "--data.help=MNIST"]]
)
def test_help_explains_itself(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "usage:" in shown
    assert "%(" not in shown
