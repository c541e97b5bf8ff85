"""Every class is chosen on the command line by its name, with its own options, and comes back from what is printed."""

import inspect
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import yaml
from contracts import classes, program_classes

from pyrovae import Autoencoder, ConditionalVAE, Likelihood, Objective, Posterior, Prior
from pyrovae import networks as of_networks
from pyrovae.cli import main
from pyrovae.flows import Flow
from pyrovae.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_checks")]

NETWORKS = [cls for cls in vars(of_networks).values() if isinstance(cls, type) and hasattr(cls, "forward")]
NETWORKS = [cls for cls in NETWORKS if "in_features" in inspect.signature(cls).parameters]
PLACES = {  # that are filled by one command line
    "conditionals": {
        "prior": classes(Prior),
        "posterior": classes(Posterior),
        "likelihood": classes(Likelihood),
        "objective": classes(Objective),
    },
    "parts": {"posterior.network": NETWORKS, "prior.flow": classes(Flow)},
    "flow of a posterior": {"posterior.flow": classes(Flow)},
    "program": {"program": program_classes()},
}
USERS = {"prior.flow": "--prior=FlowPrior", "posterior.flow": "--posterior=FlowPosterior"}


def command_lines():
    """Yield the classes that each command line chooses, by their places; each class is in one of them."""
    for name, places in PLACES.items():
        for i, row in enumerate(zip_longest(*places.values())):
            yield pytest.param({place: cls for place, cls in zip(places, row, strict=True) if cls}, id=f"{name} {i}")


def chosen(config, place):
    """Return the part of a configuration that is in a place, such as ``prior.flow``."""
    first, *inner = place.split(".")
    config = config[first]
    for part in inner:
        config = config["init_args"][part]
    return config


@pytest.mark.parametrize("choice", list(command_lines()))
def test_they_are_printed_with_their_options_and_read_back(choice, capsys, tmp_path):
    words = [USERS[place] for place in choice if place in USERS]
    for place, cls in choice.items():
        # Another test may have imported torchvision, which has an MLP too.
        words.append(f"--{place}={'pyrovae.' * place.endswith('network')}{cls.__name__}")
    assert main(["train", *words, "--print_config"]) == 0
    text = capsys.readouterr().out
    for place, cls in choice.items():
        part = chosen(yaml.safe_load(text), place)
        assert part["class_path"].endswith(cls.__name__)
        parameters = inspect.signature(cls).parameters.values()
        own = {p.name for p in parameters if p.default is not p.empty and p.default is not None}
        given = {"context_features"} if issubclass(cls, Flow) else set()  # where the flow is used
        assert set(part.get("init_args", {})) == own - given
    (tmp_path / "config.yaml").write_text(text)
    assert main(["train", f"--config={tmp_path / 'config.yaml'}", "--print_config"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("cls", classes(Objective), ids=lambda cls: cls.__name__)
def test_its_options_are_helped_with(cls, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", f"--objective.help={cls.__name__}"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"--objective.{name}" in printed for name in inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", program_classes(), ids=lambda cls: cls.__name__)
def test_every_program_is_trained_resumed_evaluated_sampled_and_reported(cls, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = "hidden_features=[16]"
    options = [
        f"--program={cls.__name__}",
        "--latent_dim=2",
        f"--program.likelihood.network.{small}",
        "--kl_warmup=1",
        "--compile=off",
    ]
    options += ["--program.dims=[4]"] if cls.__name__ == "HierarchicalVAE" else []
    if cls.__name__ == "SemiSupervisedVAE":
        options += ["--data=PartlyLabelled", "--data.num_labels=50", "--objective=TraceEnum_ELBO"]
    assert main(["train", *options, "--epochs=1", "--run=run"]) == 0
    assert main(["train", "--run=run", "--resume=true", "--epochs=2"]) == 0
    assert main(["train", *options, "--epochs=2", "--run=straight"]) == 0
    assert Path("run/weights.safetensors").read_bytes() == Path("straight/weights.safetensors").read_bytes()
    evaluated = main(["evaluate", "run", "--num_samples=20", "--num_data=10", "--num_checked=2"])
    if cls is Autoencoder:
        assert evaluated == 2
        assert "a deterministic encoder has no marginal likelihood" in capsys.readouterr().err
    else:
        assert evaluated == 0
        (evaluation,) = Run("run").evaluations().values()
        assert np.isfinite(evaluation["nll"])
        assert ["log p(x | y)" in caveat for caveat in evaluation["caveats"]] == [True] * (cls is ConditionalVAE)
    assert main(["sample", "run", "--num_samples=12", "--out=new.npy"]) == 0
    assert np.load("new.npy").shape == (12, 1, 8, 8)
    assert main(["report", "run"]) == 0
    page = Path("run/report.html").read_text()
    assert cls.__name__ in page
    if cls.__name__ == "SemiSupervisedVAE":
        assert "names the class of" in page
