"""Help fits two screens and comes at once, unknown names get the nearest, and the classes are listed."""

import subprocess
import sys

import pytest

import pyrovae
from pyrovae import Likelihood, Program, likelihoods
from pyrovae.cli import main
from pyrovae.cli.main import COMMANDS
from pyrovae.parsing import classes

CLASSES = [
    ("--likelihood.help", "Bernoulli"),
    ("--prior.help", "VampPrior"),
    ("--objective.help", "IWAE"),
    ("--optimizer.help", "Adam"),
    ("--data.help", "MNIST"),
    ("--program.help", "HierarchicalVAE"),
]


def helped(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["--help"], *([name, "--help"] for name in COMMANDS), *(["train", *words] for words in CLASSES)],
    ids=" ".join,
)
def test_help_fits_two_screens(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = classes._subclasses  # but for those of other tests, which are in memory too
    packages = ("pyrovae.", "pyro.", "torch.", "torchvision.")
    monkeypatch.setattr(
        classes, "_subclasses", lambda base: [c for c in found(base) if c.__module__.startswith(packages)]
    )
    text = helped(words, capsys)
    assert 5 < text.count("\n") <= 120
    assert not any(word in text for word in (":class:", "``", "known subclasses", "Callable["))


def test_help_lists_the_classes_that_can_be_chosen(capsys):
    text = helped(["train", "--help"], capsys)
    listed = " ".join(text.split()).partition("--program CLASS")[2].partition("--objective")[0]
    names = (
        listed.partition("One of ")[2].partition(" (default")[0].split(", ")
    )  # those of other tests may be among them
    ours = ["Autoencoder", "ConditionalVAE", "HierarchicalVAE", "SemiSupervisedVAE", "SphericalVAE"]
    assert [name for name in names if name in ours] == ours
    assert len(names) < 20


@pytest.mark.parametrize("word", ["--version", "--help", "no-such-command"])
def test_what_needs_no_pytorch_does_not_import_it(word):
    code = f"""
import sys
from contextlib import suppress
from pyrovae.cli import main
with suppress(SystemExit):
    main([{word!r}])
print("imported:", *({{"torch", "pyro", "numpy"}} & {{*sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["imported:"]
    assert "evaluate" in done.stdout + done.stderr or f"pyrovae {pyrovae_version()}" in done.stdout


def pyrovae_version():
    from importlib.metadata import version

    return version("pyrovae")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("train --lr 1e-3", "--optimizer.lr"),
        ("train --batchsize 3", "--batch_size"),
        ("train --batch-size 3", "--batch_size"),
        ("train --optim.lr 3", "--optimizer.lr"),
        ("train --dims [3]", "--program.dims"),
        ("train --hidden_features [3]", "--likelihood.network.hidden_features or --posterior.network.hidden_features"),
        ("train --objective IWAE --objective.num_particle 3", "num_particles"),
        ("train --posterior.hidden_features [3]", "network.hidden_features"),
        ("train --prior VampPrio", "VampPrior"),
        ("train --posterior.network mlp", "MLP"),
        ("train --optimizer adam", "Adam"),
        ("evaluate run --num_temperatures 3", "--method.num_temperatures"),
        ("evaluate run --method anealed", "Annealed"),
        ("trian --epochs 1", "train"),
    ],
)
def test_an_unknown_name_gets_the_nearest(words, meant, capsys):
    assert main(words.split()) == 2
    assert f"(did you mean {meant}?)" in capsys.readouterr().err


def test_a_name_like_no_other_gets_none(capsys):
    assert main(["train", "--zzz=1"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_every_public_class_that_can_be_chosen_is_listed(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    assert all(len(line) < 140 for line in lines)
    public = {name for name in pyrovae.__all__ if isinstance(getattr(pyrovae, name), type)}
    bases = {"Prior", "Likelihood", "Posterior", "Flow", "Objective", "Estimator", "DataSet", "Program"}
    families = tuple(getattr(pyrovae, name) for name in bases)
    chosen = {name for name in public if issubclass(getattr(pyrovae, name), families)}
    assert chosen - bases - {"VAE", "FunctionalVAE"} <= listed.keys()  # these two are made of parts, not of shapes
    assert {"Adaptive", "Annealed", "Importance", "MLP", "ResNetDecoder", "Trace_ELBO"} <= listed.keys()


def test_one_kind_is_listed_alone(capsys):
    assert main(["list", "likelihoods"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "likelihoods:"
    found = [getattr(likelihoods, line.split()[0]) for line in lines]
    assert len(found) >= 10
    assert all(issubclass(kind, Likelihood) for kind in found)
    assert main(["list", "likelihood"]) == 2
    assert "expected one of priors" in capsys.readouterr().err


def test_a_program_needs_a_model_and_a_guide():
    class Half(Program):
        def model(self, x):
            return x

    with pytest.raises(TypeError, match=r"abstract.*guide"):
        Half()
