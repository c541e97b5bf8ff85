"""Components that do not fit together, or into their place, get one sentence before training starts.

As in ``test_bad_input``, a row is a command line, what its sentence must say, and what is prepared before. ``{d}`` is
the test's own folder; ``{run}`` is a copy of a trained run, whose options are the row's third entry.
"""

import shlex
import shutil
import sys

import numpy as np
import pytest
import yaml
from command_line import SMALL, assert_one_sentence, contents

from pyrovae.cli import main

pytestmark = pytest.mark.usefixtures("short_checks")
NEW = "train --run {d}/new --latent_dim 2 --epochs 1"
ONE = "train --run {d}/new --latent_dim 1 --epochs 1"
TRAIN = f"{NEW} {SMALL}"
PLANAR = "--posterior FlowPosterior --posterior.flow Planar"
HIERARCHICAL = f"{NEW} --program HierarchicalVAE --program.dims '[3]'"
CONDITIONAL = f"{NEW} --program ConditionalVAE"
SEMI = f"{NEW} --program SemiSupervisedVAE --data PartlyLabelled"
ARRAY = "--data ArrayFile --data.path {d}/data.npy"
LABELS = "--data.labels {d}/labels.npy"
REFIT = "refit_prior {run} --epochs 1 --out {d}/out"
EVALUATE = "evaluate {run} --num_samples 2 --num_data 2"
RESUME = "train --run {run} --resume true --epochs 2"

SMALL_PARTS = '--program.likelihood.network.hidden_features "[8]" --latent_dim 2 --compile off'
VAE_RUN = f"{SMALL} --latent_dim 2 --compile off"
AUTOENCODER = f'--program Autoencoder --program.encoder.hidden_features "[8]" {SMALL_PARTS}'
LAYERS = f'--program HierarchicalVAE --program.dims "[3]" {SMALL_PARTS}'
CLASSES = f"--program ConditionalVAE {SMALL_PARTS}"
SPHERE = f"--program SphericalVAE {SMALL_PARTS}"


def array(values, name="data.npy"):
    return lambda d: np.save(d / name, values)


rng = np.random.default_rng(0)
FLAT = array(rng.random((60, 6)).astype("float32"))
REAL = array(rng.normal(size=(60, 6)).astype("float32"))
COUNTS = array(rng.integers(0, 9, (60, 6)).astype("int32"))
NEGATIVE = array(rng.integers(-3, 9, (60, 6)).astype("int32"))
GREY = array(rng.integers(0, 256, (60, 6)).astype("uint8"))
TWELVE = array(np.arange(60) % 12, "labels.npy")
UNKNOWN = array(np.full(60, -1), "labels.npy")

ROWS = {
    # Something else in a program's place, or in that of its parts.
    "network for program": (
        f"{NEW} --program GatedMLP",
        ["--program:", "no Program named GatedMLP", "HierarchicalVAE"],
    ),
    "prior for program": (f"{NEW} --program StandardNormal", ["--program:", "HierarchicalVAE", "StandardNormal"]),
    "torch's layer for program": (
        f"{NEW} --program torch.nn.Linear",
        ["--program: must be a subclass of pyrovae.Program", "Linear"],
    ),
    "abstract program": (f"{NEW} --program pyrovae.Program", ["program must", "Program", "abstract"]),
    "unknown program": (
        f"{NEW} --program NoSuch",
        ["--program:", "NoSuch", "Autoencoder, ", "ConditionalVAE, ", "HierarchicalVAE, "],
    ),
    "function for program": (f"{NEW} --program os.system", ["--program:", "os.system", "subclass of pyrovae.Program"]),
    **{
        f"program and {name}": (f"{HIERARCHICAL} --{name} {cls}", [f"--{name} must be left out", f"--program.{name}"])
        for name, cls in [("prior", "VampPrior"), ("likelihood", "Gaussian"), ("posterior", "FlowPosterior")]
    },
    "option of another program": (
        f"{NEW} --program SphericalVAE --program.dims '[3]'",
        ["--program.dims", "no such option", "prior, likelihood, posterior"],
    ),
    "program's prior unknown": (f"{HIERARCHICAL} --program.prior NoSuch", ["--program.prior:", "NoSuch", "VampPrior"]),
    "likelihood for program's prior": (f"{HIERARCHICAL} --program.prior Bernoulli", ["--program.prior:", "Bernoulli"]),
    "posterior for layer": (f"{HIERARCHICAL} --program.layer DiagonalNormal", ["--program.layer:", "GaussianLayer"]),
    "posterior for prior": (f"{TRAIN} --prior DiagonalNormal", ["--prior:", "DiagonalNormal", "GaussianMixture"]),
    "prior for posterior": (f"{TRAIN} --posterior StandardNormal", ["--posterior", "StandardNormal", "FlowPosterior"]),
    "flow for prior": (f"{TRAIN} --prior Planar", ["--prior:", "Planar", "FlowPrior"]),
    "network for flow": (f"{TRAIN} --prior FlowPrior --prior.flow MLP", ["--prior.flow:", "MLP", "SplineCoupling"]),
    "flow for network": (f"{NEW} --posterior.network Planar", ["--posterior.network:", "several", "pyrovae.Planar"]),
    "posterior for network": (
        f"{NEW} --posterior.network DiagonalNormal",
        ["network must", "DiagonalNormal", "tensor"],
    ),
    "posterior for encoder": (f"{NEW} --program Autoencoder --program.encoder DiagonalNormal", ["network must", "MLP"]),
    "posterior for classifier": (f"{SEMI} --program.classifier DiagonalNormal", ["network must", "DiagonalNormal"]),
    "torch's layer that maps": (f"{NEW} --posterior.network torch.nn.Identity", ["network must", "(2, 1, 8, 8)"]),
    "torch's layer that does not": (f"{NEW} --posterior.network torch.nn.Flatten", ["network must", "Flatten"]),
    "decoder for encoder": (
        f"{NEW} --posterior.network ConvolutionalDecoder",
        ["out_features", "3 dimensions", "(4,)"],
    ),
    "encoder for decoder": (f"{NEW} --likelihood.network ResNetEncoder", ["in_features", "3 dimensions", "(2,)"]),
    "abstract objective": (f"{TRAIN} --objective pyrovae.Objective", ["objective must", "Trace_ELBO", "abstract"]),
    # Sizes and numbers.
    **{
        f"{option} {value}": (f"{NEW} {options} --{option} {value}", [option.rpartition(".")[2], value])
        for options, option, value in [
            ("", "beta", "-1"),
            ("--program HierarchicalVAE", "program.dims", "many"),
            ("--program ConditionalVAE", "program.num_classes", "ten"),
            ("--program Autoencoder", "program.z_penalty", "-1"),
            ("--prior VampPrior", "prior.num_components", "0"),
            ("--prior GaussianMixture", "prior.num_components", "1.5"),
            ("--prior FlowPrior --prior.flow Spline", "prior.flow.count_bins", "1"),
            ("--posterior FlowPosterior", "posterior.num_layers", "0"),
            ("--posterior.network GatedMLP", "posterior.network.dropout", "1"),
            ("--likelihood StudentT", "likelihood.df", "x"),
            ("--data PartlyLabelled", "data.num_labels", "9999"),
            ("--objective IWAE", "objective.num_particles", "1.5"),
            ("--objective RWS", "objective.num_particles", "1"),
            ("--objective Renyi", "objective.alpha", "x"),
            ("--objective RenyiELBO", "objective.alpha", "1"),
            ("", "objective.num_particles", "0"),
            ("", "objective.max_plate_nesting", "nan"),
        ]
    },
    "beta infinite": (f"{NEW} --beta .inf", ["beta must be a finite number", "inf"]),
    "alpha infinite": (f"{NEW} --objective Renyi --objective.alpha .inf", ["alpha must be a finite number, but inf"]),
    "no layers": (f"{NEW} --program HierarchicalVAE --program.dims '[]'", ["dims must be a shape", "()"]),
    "flow too narrow": (
        "train --run {d}/new --latent_dim 20 --prior FlowPrior --prior.flow AffineAutoregressive "
        "--prior.flow.hidden_features '[8]'",
        ["hidden_features of a flow", "20", "8"],
    ),
    "coupling of one latent": (f"{ONE} --prior FlowPrior --prior.flow AffineCoupling", ["coupling", "2", "1"]),
    "coupling in a posterior": (f"{ONE} --posterior FlowPosterior --posterior.flow SplineCoupling", ["coupling", "1"]),
    "sphere of one component": (f"{ONE} --program SphericalVAE", ["latent_dim of a sphere", "2", "1"]),
    "inference": (f"{HIERARCHICAL} --program.inference down", ["--program.inference", "bottom_up, ladder", "down"]),
    "library": (f"{NEW} --likelihood Poisson --likelihood.library seen", ["--likelihood.library", "free", "seen"]),
    "zero_inflated": (f"{NEW} --likelihood Poisson --likelihood.zero_inflated maybe", ["zero_inflated", "maybe"]),
    "optimal scale of another likelihood": (
        f"{NEW} --likelihood Laplace --likelihood.scale optimal",
        ["--likelihood.scale", "fixed, shared, pixel, network", "optimal"],
    ),
    "option of another likelihood": (f"{NEW} --likelihood Laplace --likelihood.df 3", ["--likelihood.df", "link"]),
    "option of another flow": (
        f"{NEW} --prior FlowPrior --prior.flow AffineCoupling --prior.flow.bound 3",
        ["--prior.flow.bound", "hidden_features"],
    ),
    "objective without type": (f"{NEW} --objective Trace_MMD", ["--objective:", "Trace_MMD", "kernel has no type"]),
    "objective without loss": (f"{TRAIN} --objective TraceTailAdaptive_ELBO", ["objective TraceTailAdaptive_ELBO"]),
    "Pyro's wake-sleep": (
        f"{TRAIN} --objective pyro.infer.ReweightedWakeSleep",
        ["objective must have one loss", "ReweightedWakeSleep", "RWS"],
    ),
    # Layers that do not fit their network.
    "normalization of images": (
        f"{NEW} --posterior.network.normalization torch.nn.BatchNorm2d",
        ["normalization", "torch.nn.LayerNorm", "BatchNorm2d"],
    ),
    "normalization of features": (
        f"{NEW} --posterior.network ConvolutionalEncoder --posterior.network.normalization torch.nn.LayerNorm",
        ["normalization", "torch.nn.BatchNorm2d", "LayerNorm"],
    ),
    "no normalization": (f"{NEW} --posterior.network.normalization torch.nn.Softmax", ["normalization", "Softmax"]),
    "normalization unknown": (f"{NEW} --posterior.network.normalization NoSuch", ["normalization:", "NoSuch"]),
    "normalization by a function": (
        f"{NEW} --posterior.network.normalization torch.nn.functional.layer_norm",
        ["--posterior.network.normalization:", "layer_norm"],
    ),
    "activation with arguments": (f"{NEW} --posterior.network.activation torch.nn.Linear", ["activation", "Linear"]),
    "activation that halves": (f"{NEW} --posterior.network.activation torch.nn.GLU", ["activation", "GLU", "(2, 200)"]),
    "batches of one, normalised": (
        f"{NEW} --posterior.network.normalization torch.nn.BatchNorm1d --batch_size 1",
        ["batch normalisation needs two data or more", "batch_size 1"],
    ),
    "residual encoder of no image": (f"{NEW} {ARRAY} --posterior.network ResNetEncoder", ["in_features", "(6,)"], FLAT),
    "residual decoder of no image": (
        f"{NEW} {ARRAY} --likelihood.network ResNetDecoder",
        ["out_features", "(6,)"],
        FLAT,
    ),
    "convolution of no image with labels": (
        f"{CONDITIONAL} {ARRAY} {LABELS} --program.num_classes 12 --program.posterior.network ConvolutionalEncoder",
        ["in_features", "3 dimensions", "(18,)"],
        FLAT,
        TWELVE,
    ),
    # Priors and posteriors of different sets.
    "normal prior on the sphere": (f"{TRAIN} --posterior VonMisesFisher", ["one support", "Real vectors", "Sphere"]),
    "sphere's prior": (f"{TRAIN} --prior SphericalUniform", ["one support", "SphericalUniform", "DiagonalNormal"]),
    "flow prior on the sphere": (f"{TRAIN} --prior FlowPrior --posterior VonMisesFisher", ["one support", "FlowPrior"]),
    "spherical program": (f"{NEW} --program SphericalVAE --program.prior StandardNormal", ["one support", "Sphere"]),
    "autoencoder on the sphere": (
        f"{NEW} --program Autoencoder --program.prior SphericalUniform",
        ["one support", "PointPosterior"],
    ),
    "top layer on the sphere": (f"{HIERARCHICAL} --program.prior SphericalUniform", ["one support", "Sphere"]),
    "first layer on the sphere": (
        f"{HIERARCHICAL} --program.posterior VonMisesFisher",
        ["layer and posterior", "Sphere"],
    ),
    "layer of coins": (f"{HIERARCHICAL} --program.layer Bernoulli", ["layer and posterior", "[0, 1]", "Real vectors"]),
    **{
        f"ladder with {cls}": (f"{HIERARCHICAL} --program.inference ladder --program.{place} {cls}", ["ladder", given])
        for place, cls, given in [
            ("posterior", "FlowPosterior", "FlowPosterior gives a Pushforward"),
            ("layer_posterior", "FullCovarianceNormal", "FullCovarianceNormal gives a MultivariateNormal"),
            ("layer", "Laplace", "Laplace gives a Laplace"),
        ]
    },
    # Densities that are needed elsewhere than at the samples.
    "planar prior": (f"{TRAIN} --prior FlowPrior --prior.flow Planar", ["flow must have an inverse", "Planar"]),
    "VampPrior of planar flows": (f"{NEW} --prior VampPrior {PLANAR}", ["posterior must score", "FlowPosterior"]),
    "VampPrior of points": (
        f"{NEW} --prior VampPrior --posterior PointPosterior",
        ["posterior must", "PointPosterior"],
    ),
    **{
        f"{objective} of planar flows": (
            f"{NEW} {PLANAR} --objective {objective}",
            [f"objective {objective}", "Planar"],
        )
        for objective in ("STL", "PIWAE")
    },
    **{
        f"{objective} of points": (
            f"{NEW} --program Autoencoder --objective {objective}",
            [f"objective {objective}", "'z' is a point"],
        )
        for objective in ("DReG", "RWS")
    },
    # Objectives of guides of another kind.
    **{
        f"BetaTCVAE of {cls}": (
            f"{NEW} --objective BetaTCVAE --posterior {cls}",
            ["objective BetaTCVAE", "independent over dimensions", "DiagonalNormal", given],
        )
        for cls, given in [
            ("FullCovarianceNormal", "MultivariateNormal"),
            ("FlowPosterior", "Pushforward"),
        ]
    },
    "BetaTCVAE of two layers": (f"{HIERARCHICAL} --objective BetaTCVAE", ["objective BetaTCVAE", "one latent", "2"]),
    "MMD of two layers": (f"{HIERARCHICAL} --objective MMD", ["objective MMD", "one latent site", "2"]),
    "MMD of a learned prior": (f"{TRAIN} --objective MMD --prior GaussianMixture", ["kl_weight", "MMD", "0"]),
    "analytic KL against the order": (
        f"{HIERARCHICAL} --objective TraceMeanField_ELBO",
        ["objective TraceMeanField_ELBO", "order"],
    ),
    **{
        f"{objective} of discrete latents": (f"{SEMI} --objective {objective}", [f"objective {objective}", word])
        for objective, word in [
            ("IWAE", "'y'"),
            ("MMD", "'y'"),
            ("TraceMeanField_ELBO", "reparameterized"),
        ]
    },
    # Data that a likelihood or a program cannot take.
    "counts for coins": (f"{NEW} {ARRAY}", ["Bernoulli", "[0, 1]", "8"], COUNTS),
    "reals for ContinuousBernoulli": (f"{NEW} {ARRAY} --likelihood ContinuousBernoulli", ["[0, 1]"], REAL),
    "reals for counts": (f"{NEW} {ARRAY} --likelihood Poisson", ["Poisson", "integers from 0"], FLAT),
    "negative counts": (
        f"{NEW} {ARRAY} --likelihood NegativeBinomial",
        ["NegativeBinomial", "integers", "-"],
        NEGATIVE,
    ),
    "grey values for counts": (f"{NEW} {ARRAY} --likelihood Poisson", ["Poisson", "256 levels scaled to [0, 1]"], GREY),
    "counts for levels": (f"{NEW} {ARRAY} --likelihood Categorical", ["Categorical", "256 levels"], COUNTS),
    "grey values of fewer levels": (
        f"{NEW} --likelihood DiscretizedLogistic --likelihood.levels 256 --data.binarization none",
        ["levels of DiscretizedLogistic", "17", "256"],
    ),
    "levels beside the data's": (
        f"{NEW} --likelihood Categorical --likelihood.levels 33 --data.binarization none",
        ["levels of Categorical", "17", "33"],
    ),
    "binary data for levels": (
        f"{NEW} --likelihood DiscretizedLogisticMixture --likelihood.levels 256",
        ["levels", "data, 2, but 256"],
    ),
    "levels of a program": (
        f"{NEW} --program Autoencoder --program.likelihood Categorical --program.likelihood.levels 5",
        ["levels of Categorical", "2", "5"],
    ),
    "dequantised levels": (
        f"{NEW} --likelihood DiscretizedLogistic --data.binarization none --data.dequantize true",
        ["DiscretizedLogistic", "256 levels"],
    ),
    "no labels": (f"{CONDITIONAL} {ARRAY}", ["data must have the labels"], FLAT),
    "few labels": (f"{CONDITIONAL} --data PartlyLabelled", ["data must have the labels", "train"]),
    "more classes": (f"{CONDITIONAL} {ARRAY} {LABELS}", ["y must", "num_classes is 10", "0 to 11"], FLAT, TWELVE),
    "more classes than a few labels": (
        f"{SEMI} --program.num_classes 5",
        ["y must hold", "0 to 4", "num_classes is 5"],
    ),
    "labels of no data": (f"{SEMI} --data.data ArrayFile --data.data.path {{d}}/data.npy", ["data must have"], FLAT),
    "labels all unknown": (
        f"{SEMI} --data.data ArrayFile --data.data.path {{d}}/data.npy --data.data.labels {{d}}/labels.npy",
        ["data must have labels", "unknown"],
        FLAT,
        UNKNOWN,
    ),
    "labels of no data set": (f"{SEMI} --data.data StandardNormal", ["--data.data:", "DataSet", "StandardNormal"]),
    "option of the inner data": (f"{SEMI} --data.binarization none", ["--data.binarization", "num_labels"]),
    "data are no autoencoder's": (f"{NEW} --program Autoencoder {ARRAY}", ["Bernoulli", "[0, 1]"], REAL),
}

RUN_ROWS = {
    "sandwich of a flow without an inverse": (
        f"{EVALUATE} --sandwich true",
        ["start must be prior", "no inverse", "Planar"],
        f"{PLANAR} {VAE_RUN}",
    ),
    "marginal likelihood of points": (EVALUATE, ["guide must have a density", "'z'", "deterministic"], AUTOENCODER),
    # Refitting the prior.
    "refit of no run": ("refit_prior {d}/none --out {d}/out", ["run", "none", "config.yaml"], None),
    "refit of none": ("refit_prior", ["run must be given"], None),
    "refit onto a run": ("refit_prior {run} --out {run}", ["out must be a new folder", "/run"], AUTOENCODER),
    "refit of an unknown prior": (f"{REFIT} --prior NoSuch", ["--prior", "NoSuch", "FlowPrior"], AUTOENCODER),
    "refit of a likelihood": (f"{REFIT} --prior Bernoulli", ["--prior", "Bernoulli"], AUTOENCODER),
    "refit of another set": (f"{REFIT} --prior SphericalUniform", ["support of the codes", "Sphere"], AUTOENCODER),
    "refit of a sphere": (f"{REFIT} --prior GaussianMixture", ["support of the codes", "Real vectors"], SPHERE),
    "refit of nothing": (f"{REFIT} --prior StandardNormal", ["something to learn", "StandardNormal"], AUTOENCODER),
    "refit of planar flows": (f"{REFIT} --prior FlowPrior --prior.flow Planar", ["inverse", "Planar"], AUTOENCODER),
    "refit of points' mixture": (f"{REFIT} --prior VampPrior", ["posterior must score", "Point"], AUTOENCODER),
    "refit of layers' mixture": (f"{REFIT} --prior VampPrior", ["codes alone", "VampPrior", "Hierarchical"], LAYERS),
    "refit of few codes": (f"{REFIT} --prior.num_components 5000", ["num_components", "1437", "5000"], AUTOENCODER),
    **{
        f"refit with {option} {value}": (f"{REFIT} --{option} {value}", [option, value], AUTOENCODER)
        for option, value in [("epochs", "0"), ("batch_size", "0"), ("patience", "0"), ("seed", "-1")]
    },
    "refit with an unknown option": (f"{REFIT} --latent_dim 3", ["--latent_dim"], AUTOENCODER),
    "refit into a file": (
        "refit_prior {run} --epochs 1 --out {d}/f",
        ["/f cannot be written"],
        AUTOENCODER,
        lambda d: (d / "f").write_text("x"),
    ),
    # Resuming.
    "resumed with a program": (
        f"{RESUME} --program Autoencoder",
        ["program must stay", "None", "Autoencoder"],
        VAE_RUN,
    ),
    "resumed with another program": (
        f"{RESUME} --program HierarchicalVAE",
        ["program must stay", "pyrovae.Autoencoder, but pyrovae.HierarchicalVAE was"],
        AUTOENCODER,
    ),
    "resumed without the program": (f"{RESUME} --program null", ["program must stay", "Autoencoder"], AUTOENCODER),
    "resumed with a program's option": (
        f"{RESUME} --program Autoencoder --program.z_penalty 0.5",
        ["program.z_penalty must stay", "0.0, but 0.5"],
        AUTOENCODER,
    ),
    "resumed with a prior": (f"{RESUME} --prior VampPrior", ["--prior must be left out", "--program"], AUTOENCODER),
    "resumed with another objective": (
        f"{RESUME} --objective IWAE",
        ["objective must stay", "pyro.infer.Trace_ELBO, but pyrovae.IWAE was given"],
        VAE_RUN,
    ),
    "resumed with another beta": (f"{RESUME} --beta 2", ["beta must stay", "1.0, but 2.0"], VAE_RUN),
}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Return runs by their options, each trained once."""
    runs = {}

    def trained(options):
        if options not in runs:
            runs[options] = tmp_path_factory.mktemp("trained") / "run"
            assert main(shlex.split(f"train --run {runs[options]} --epochs 1 {options}")) == 0
        return runs[options]

    return trained


def refuse(command, says, folder, capsys):
    before = contents(folder)
    capsys.readouterr()
    assert main(shlex.split(command.format(d=folder, run=folder / "run"))) == 2
    assert_one_sentence(capsys.readouterr().err, says)
    assert contents(folder) == before, "something was written or lost"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_does_not_fit_is_one_sentence(row, tmp_path, monkeypatch, capsys):
    command, says, *prepare = row
    monkeypatch.chdir(tmp_path)
    for step in prepare:
        step(tmp_path)
    refuse(command, says, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("row", RUN_ROWS.values(), ids=RUN_ROWS)
def test_what_does_not_fit_a_run_is_one_sentence(row, run_of, tmp_path, monkeypatch, capsys):
    command, says, options, *prepare = row
    monkeypatch.chdir(tmp_path)
    if options is not None:
        shutil.copytree(run_of(options), tmp_path / "run")
    for step in prepare:
        step(tmp_path)
    refuse(command, says, tmp_path, capsys)


# A function that says it returns what its place asks for, and a class of another kind, each of which leaves a trace.
EVIL = """
from pathlib import Path
from torch import nn
from pyrovae import DataSet, Flow, Objective, Prior

def leave(*arguments, **options):
    Path("pwned").touch()

def module(*arguments, **options) -> nn.Module:
    leave()

def prior(latent_dim=2) -> Prior:
    leave()

def flow(features=2, context_features=0) -> Flow:
    leave()

def data() -> DataSet:
    leave()

def objective() -> Objective:
    leave()

class Other:
    def __init__(self, *arguments):
        leave()

class Callable:
    def __call__(self, *arguments) -> nn.Module:
        leave()

    __init__ = __call__
"""
PLACES = [
    (AUTOENCODER, "program", "module"),
    (AUTOENCODER, "program.init_args.prior", "prior"),
    (AUTOENCODER, "program.init_args.encoder", "module"),
    (AUTOENCODER, "program.init_args.encoder.init_args.normalization", "module"),
    (AUTOENCODER, "program.init_args.encoder.init_args.activation", "module"),
    (f"{VAE_RUN} --prior FlowPrior --prior.num_layers 1", "prior.init_args.flow", "flow"),
    (f"{VAE_RUN} --prior FlowPrior --prior.num_layers 1", "posterior.init_args.network", "module"),
    (f"{VAE_RUN} --data PartlyLabelled", "data", "data"),
    (f"{VAE_RUN} --data PartlyLabelled", "data.init_args.data", "data"),
]


@pytest.fixture
def evil(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("evil", None)


def tamper(run, place, value):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *outer, last = place.split(".")
    inner = config
    for name in outer:
        inner = inner[name]
    inner[last] = value
    path.write_text(yaml.safe_dump(config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "wrong"),
    [("path", "function"), ("class_path", "function"), ("class_path", "Other"), ("class_path", "Callable")],
)
@pytest.mark.parametrize(("options", "place", "function"), PLACES, ids=[place for _, place, _ in PLACES])
def test_only_classes_of_their_place_are_called(options, place, function, wrong, form, run_of, evil, capsys):
    shutil.copytree(run_of(options), evil / "run")
    path = f"evil.{function if wrong == 'function' else wrong}"
    tamper(evil / "run", place, path if form == "path" else {"class_path": path})
    option = "--" + place.replace(".init_args", "")
    for command in (EVALUATE, RESUME, REFIT) if place == "program" else (EVALUATE,):
        refuse(
            f"{command} --trust evil", ["config.yaml cannot be used", option, path.removeprefix("evil.")], evil, capsys
        )
    assert not (evil / "pwned").exists()


def test_the_functions_would_have_left_a_trace(evil):
    import evil as module

    module.prior()
    assert (evil / "pwned").exists()


def test_a_function_is_no_class_on_the_command_line_either(evil, capsys):
    refuse(f"{TRAIN} --prior evil.prior", ["--prior:", "evil.prior", "subclass of pyrovae.Prior"], evil, capsys)
    refuse(f"{TRAIN} --objective evil.objective", ["--objective:", "subclass of ELBO"], evil, capsys)


OWN = """
from collections.abc import Callable
import torch
from torch import nn
from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, StandardNormal

class Net(MLP):
    def __init__(self, in_features: int | tuple[int, ...], out_features: int | tuple[int, ...],
                 last: Callable[[torch.Tensor], torch.Tensor] = nn.functional.relu) -> None:
        super().__init__(in_features, out_features, (8,))
        self.last = last

    def forward(self, x):
        return self.last(super().forward(x))

class Defect(VAE):
    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(StandardNormal(latent_dim), Bernoulli(data_shape, latent_dim),
                         DiagonalNormal(data_shape, latent_dim))

    def guide(self, x):
        return {}["a defect of this program"]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own", None)


@pytest.mark.slow
def test_a_function_of_numbers_is_an_option_like_any(own):
    command = f"{NEW} --posterior.network own.Net --posterior.network.last torch.nn.functional.silu".format(d=own)
    assert main(shlex.split(command)) == 0
    assert "silu" in (own / "new/config.yaml").read_text()
    assert main(shlex.split(f"evaluate {own}/new --num_samples 2 --num_data 2")) == 0


def test_a_defect_is_named_with_its_place_and_frees_the_folder(own, capsys):
    refuse(f"{NEW} --program own.Defect", ["a defect of this program", "line", "own.py"], own, capsys)
    assert not (own / "new").exists()


@pytest.mark.slow
def test_a_resumed_run_is_as_it_was_after_a_refusal(run_of, tmp_path, capsys):
    shutil.copytree(run_of(AUTOENCODER), tmp_path / "run")
    refuse(f"{RESUME} --program HierarchicalVAE", ["program must stay"], tmp_path, capsys)
    assert main(shlex.split(RESUME.format(run=tmp_path / "run"))) == 0
