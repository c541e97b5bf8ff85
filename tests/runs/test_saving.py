"""What was trained in Python is a run like any other, or is refused in one sentence that says why."""

import copy
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussianProgram
from torch import nn

import pyrovae
from pyrovae import (
    MLP,
    VAE,
    ArrayFile,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    Digits,
    FlowPrior,
    Gaussian,
    HierarchicalVAE,
    InputError,
    PartlyLabelled,
    Program,
    SphericalVAE,
    StandardNormal,
    fit,
    log_marginal,
)
from pyrovae.cli import main
from pyrovae.data import observed, of_classes
from pyrovae.runs import Run

NET = partial(MLP, hidden_features=(8,), activation=nn.Tanh)
X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))


def gaussian_vae(network=NET):
    return VAE(FlowPrior(2), Gaussian((6,), 2, network), DiagonalNormal((6,), 2, network=NET))


class WithoutRecord(VAE):
    """Made of three objects, which no configuration can hold."""


class KeptOutside(Program):
    """A parameter exists in Pyro's store alone."""

    def __init__(self, data_shape, latent_dim):
        super().__init__()
        self.size = latent_dim

    def model(self, x):
        loc = pyro.param("loc", torch.zeros(self.size))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(len(x), 6), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), self.size), 1.0).to_event(1))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2, NET), DiagonalNormal((1, 8, 8), 2, network=NET))
    data = Digits()
    return vae, data, fit(vae.model, vae.guide, data, epochs=2, compile="off", progress=False)


@pytest.mark.slow
def test_a_saved_run_gives_the_same_numbers_and_works_with_the_commands(trained, tmp_path, capsys):
    vae, data, history = trained
    run = pyrovae.save(tmp_path / "run", vae, data, history)
    loaded = pyrovae.load(tmp_path / "run")
    assert torch.equal(loaded.data.test[:], data.test[:])
    assert loaded.history.rows() == history.rows()
    program = loaded.program
    found = []
    for model, guide in ((vae.model, vae.guide), (program.model, program.guide)):
        torch.manual_seed(0)
        found.append(log_marginal(model, guide, data.test[:20], num_samples=20).log_prob)
    assert torch.equal(*found)
    path = str(run.folder)
    assert main(["evaluate", path, "--num_samples=5", "--num_data=10", "--num_checked=0"]) == 0
    assert main(["report", path, "--num_data=10"]) == 0
    assert main(["sample", path, f"--out={tmp_path / 'x.npy'}", "--num_samples=2"]) == 0
    assert main(["export", path, "--format=torch"]) == 0
    assert main(["refit_prior", path, f"--out={tmp_path / 'refitted'}", "--epochs=1"]) == 0
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "The weights are those that it had when it was saved." in page
    assert "saved by pyrovae.save" in page
    capsys.readouterr()
    assert main(["train", "--resume=true", "--epochs=3", f"--run={path}"]) == 2
    assert "run must be one of pyrovae train to be resumed" in capsys.readouterr().err


MADE = {
    "arrays": (gaussian_vae, lambda d: DataSet(X)),
    "arrays with labels": (gaussian_vae, lambda d: DataSet(X, torch.arange(60) % 3, X[:9] + 1, torch.arange(9) % 3)),
    "three arrays": (gaussian_vae, lambda d: DataSet(X, test_x=X[:9] + 1, validation_x=X[:5] - 1)),
    "a file": (partial(LinearGaussianProgram, (6,), 2), lambda d: (np.save(d / "x.npy", X), ArrayFile(d / "x.npy"))[1]),
    "a copy": (lambda: copy.deepcopy(gaussian_vae()), lambda d: DataSet(X, seed=3, test_size=20)),
    "a hierarchy": (lambda: HierarchicalVAE((6,), 2, dims=(3,), likelihood=partial(Gaussian, network=NET)), None),
    "directions": (lambda: SphericalVAE((6,), 3, likelihood=Gaussian), None),
    "few labels": (partial(HierarchicalVAE, (1, 8, 8), 2, dims=(4,)), lambda d: PartlyLabelled(Digits, num_labels=20)),
    "grey levels": (
        lambda: VAE(StandardNormal(2), Gaussian((1, 8, 8), 2, NET), DiagonalNormal((1, 8, 8), 2, network=NET)),
        lambda d: observed(Digits(), dequantize=True),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_programs_and_data_come_back(name, tmp_path):
    program, data = MADE[name][0](), (MADE[name][1] or (lambda d: DataSet(X)))(tmp_path)
    pyrovae.save(tmp_path / "run", program, data)
    loaded = pyrovae.load(tmp_path / "run")
    own, again = program.state_dict(), loaded.program.state_dict()
    assert all(torch.equal(own[key], again[key]) for key in own | again)
    for split in ("validation", "test", "all"):
        assert torch.equal(getattr(loaded.data, split)[:], getattr(data, split)[:])
    assert loaded.history.epochs == []
    assert loaded.health() is not None


def changed():
    vae = gaussian_vae()
    vae.likelihood.forward = lambda z: dist.Normal(torch.zeros(6), 1.0).to_event(1)
    return vae


BAD = {
    "a lambda": (
        lambda: gaussian_vae(lambda i, o: MLP(i, o)),
        "likelihood.network must be .* but .*<lambda> was given",
    ),
    "a local class": (
        lambda: gaussian_vae(partial(type("Local", (MLP,), {"__module__": "__main__"}))),
        "Local is defined in a script or a notebook",
    ),
    "another constructor": (
        lambda: WithoutRecord(FlowPrior(2), Gaussian((6,), 2), DiagonalNormal((6,), 2)),
        r"program must be made of \(data_shape, latent_dim, ...\) .* is made of \(prior, likelihood, posterior\)",
    ),
    "no program": (lambda: nn.Linear(2, 3), "program must have the methods model and guide, but Linear has not"),
    "another type": (lambda: gaussian_vae().double(), "float64, and would have .*float32"),
    "a changed attribute": (changed, "an attribute was changed after it was made"),
    "a parameter in the store": (lambda: KeptOutside((6,), 2), "loc is one of pyro.param alone"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_not_come_back_is_refused(name, tmp_path):
    make, says = BAD[name]
    with pytest.raises(InputError, match=says):
        pyrovae.save(tmp_path / "run", make(), DataSet(X))
    pyro.clear_param_store()
    assert not (tmp_path / "run").exists()


def test_data_that_would_not_come_back_are_refused_or_given(trained, tmp_path):
    vae, data, history = trained
    with pytest.raises(InputError, match="some were taken out or replaced afterwards: give data in config"):
        pyrovae.save(tmp_path / "run", vae, of_classes(data, [1, 2]))
    with pytest.raises(InputError, match="data must be the same when they are made again from config, but"):
        pyrovae.save(tmp_path / "run", vae, data, config={"data": {"class_path": "Digits", "init_args": {"seed": 1}}})
    with pytest.raises(InputError, match=r"config must hold data, .* but holds lr"):
        pyrovae.save(tmp_path / "run", vae, data, config={"lr": 1})
    pyrovae.save(tmp_path / "run", vae, data, history, config={"data": "Digits"})
    with pytest.raises(InputError, match="folder must be a new one"):
        pyrovae.save(tmp_path / "run", vae, data)
    assert Run(tmp_path / "run").history().rows() == history.rows()
