"""Bad input ends with status 2 and one sentence that names the argument or file, and changes nothing on disk.

Each row of the table is a command line, what its sentence must say, and what is prepared before. In a command
line, ``{d}`` is the test's own folder and ``{run}`` a copy of a trained run, which the preparation may tamper with.
"""

import os
import pickle
import shlex
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from command_line import SMALL, assert_one_sentence, contents
from PIL import Image

from pyrovae.cli import main

TRAIN = f"train --run {{d}}/new --latent_dim 2 --epochs 1 {SMALL}"
ARRAY = f"{TRAIN} --data ArrayFile --data.path {{d}}"
FOLDER = f"{TRAIN} --likelihood Gaussian --data ImageFolder --data.root {{d}}/images"
MNIST = f"{TRAIN} --data MNIST --data.root {{d}}"
EVALUATE = "evaluate {run} --num_samples 2 --num_data 2"
SCORE = "score {run} --num_samples 2 --num_data 2"
ANNEAL = "evaluate {run} --num_data 2 --method Annealed --method.num_chains 2"
SAMPLE = "evaluate {run} --num_data 2 --method Importance --method.num_samples 2"
WITHIN = "evaluate {run} --num_data 2 --method Adaptive --method.target_error 0.1"
STATE = "evaluation/test-adaptive-first2.safetensors"
RESUME = "train --run {run} --resume true --epochs 2"
COMPONENTS = ["data", "prior", "likelihood", "posterior", "posterior.network", "objective", "optimizer", "scheduler"]


class Evil:
    """Would make a file named pwned in the working directory if it were unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def array(name="data.npy", shape=(50, 1, 4, 4), dtype="float32", scale=1.0, shift=0.0, spoil=None):
    """Prepare an array file of random numbers in [shift, shift + scale), one of them spoilt."""

    def prepare(d):
        values = np.random.default_rng(0).random(shape) * scale + shift
        if spoil is not None:
            values[3, 0, 0, 0] = spoil
        np.save(d / name, values.astype(dtype))

    return prepare


def archive(**arrays):
    """Prepare an .npz file beside 50 good images."""
    return lambda d: np.savez(d / "data.npz", **{"x": np.zeros((50, 4), "float32"), **arrays})


def raw(name, content):
    """Prepare a file of given bytes."""

    def prepare(d):
        (d / name).parent.mkdir(parents=True, exist_ok=True)
        (d / name).write_bytes(content)

    return prepare


def cut(name, make=lambda d: None):
    """Prepare a file that ends half-way."""

    def prepare(d):
        make(d)
        content = (d / name).read_bytes()
        (d / name).write_bytes(content[: len(content) // 2])

    return prepare


def gone(name):
    return lambda d: (d / name).unlink()


def both(*steps):
    return lambda d: [step(d) for step in steps]


def pictures(*sizes):
    """Prepare a folder of pictures of given sizes."""

    def prepare(d):
        (d / "images").mkdir()
        for i, size in enumerate(sizes):
            Image.new("L", size).save(d / "images" / f"{i}.png")

    return prepare


def mnist(magic=2051, images=60_000, held=3):
    """Prepare MNIST's files, of which the training images have a given magic number and length."""

    def prepare(d):
        for part, count in (("train", images), ("t10k", 3)):
            kept = held if part == "train" else count
            content = struct.pack(">4i", magic, count, 28, 28) + bytes(784 * kept)
            raw(f"MNIST/raw/{part}-images-idx3-ubyte", content)(d)
            raw(f"MNIST/raw/{part}-labels-idx1-ubyte", struct.pack(">2i", 2049, kept) + bytes(kept))(d)

    return prepare


def matlab(**arrays):
    def prepare(d):
        from scipy.io import savemat

        savemat(d / "frey.mat", arrays)

    return prepare


def config(**changes):
    """Tamper with a run's configuration."""

    def prepare(run):
        path = run / "config.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))

    return prepare


def weights(change, form="pyrovae 1"):
    """Tamper with a run's weights."""

    def prepare(run):
        path = run / "weights.safetensors"
        tensors = safetensors.torch.load_file(path)
        change(tensors, "likelihood.network.layers.0.bias")
        safetensors.torch.save_file(tensors, path, metadata={"format": form})

    return prepare


def state(change):
    """Tamper with a run's checkpoint."""

    def prepare(run):
        path = run / "checkpoint" / "state.pt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return prepare


def metrics(change):
    """Tamper with a run's metrics, which are a line of names and a line of numbers."""

    def prepare(run):
        path = run / "metrics.csv"
        path.write_text(change(*path.read_text().splitlines()))

    return prepare


ROWS = {
    # Commands and options.
    "unknown command": ("trian", ["COMMAND", "trian", "evaluate"]),
    "no command": ("", ["COMMAND", "train"]),
    "unknown option": (f"{TRAIN} --latent_dims 3", ["--latent_dims"]),
    "abbreviated option": (f"{TRAIN} --batch 3", ["--batch"]),
    "a word too many": (f"{TRAIN} surplus", ["surplus"]),
    "option without value": ("train --latent_dim", ["--latent_dim"]),
    "no run to evaluate": ("evaluate", ["run must be given"]),
    "typo in a component": (f"{TRAIN} --data.binarisation static", ["--data.binarisation", "binarization"]),
    "option of another class": (f"{TRAIN} --data Digits --data.root x", ["--data.root", "binarization"]),
    "typo in a network": (f"{TRAIN} --posterior.network.hidden 3", ["--posterior.network.hidden:", "hidden_features"]),
    "typo in the optimizer": (f"{TRAIN} --optimizer.learning_rate 1", ["--optimizer.learning_rate", "lr"]),
    "prior has no options": (f"{TRAIN} --prior.latent_dim 3", ["--prior.latent_dim", "none"]),
    "text for integer": (f"{TRAIN} --latent_dim two", ["--latent_dim", "integer", "two"]),
    "fraction for integer": (f"{TRAIN} --epochs 1.5", ["--epochs", "integer", "1.5"]),
    "text for number": (f"{TRAIN} --max_norm much", ["--max_norm", "number", "much"]),
    "text for yes or no": (f"{TRAIN} --resume maybe", ["--resume", "true or false", "maybe"]),
    "text for list": (f"{TRAIN} --likelihood.network.hidden_features many", ["--likelihood.network.hidden", "many"]),
    "texts for integers": (f"{TRAIN} --posterior.network.hidden_features '[\"a\"]'", ["--posterior.network.hidden"]),
    "text in the optimizer": (f"{TRAIN} --optimizer.lr fast", ["--optimizer.lr", "number", "fast"]),
    "text in the scheduler": (f"{TRAIN} --scheduler StepLR --scheduler.step_size x", ["--scheduler.step_size", "int"]),
    # Classes.
    **{
        f"unknown {name}": (f"{TRAIN} --{name} NoSuch", [f"--{name}:", "NoSuch", known])
        for name, known in zip(
            COMPONENTS,
            ["ArrayFile", "StandardNormal", "Gaussian", "DiagonalNormal", "MLP", "TraceMeanField", "Adam", "StepLR"],
            strict=True,
        )
    },
    **{f"a function for {name}": (f"{TRAIN} --{name} os.system", [f"--{name}:", "os.system"]) for name in COMPONENTS},
    **{
        f"another class for {name}": (
            f"{TRAIN} --{name} collections.OrderedDict",
            [f"--{name}:", "collections.OrderedDict", f"subclass of {base}"],
        )
        for name, base in zip(
            COMPONENTS,
            [
                *("pyrovae.DataSet", "pyrovae.Prior", "pyrovae.Likelihood", "pyrovae.Posterior"),
                *("Module", "ELBO", "Optimizer", "LRScheduler"),
            ],
            strict=True,
        )
    },
    "likelihood for prior": (
        f"{TRAIN} --prior pyrovae.Bernoulli",
        ["--prior", "subclass of pyrovae.Prior", "Bernoulli"],
    ),
    "no such package": (f"{TRAIN} --prior no_such.Prior", ["--prior", "no_such", "StandardNormal"]),
    "no such name": (f"{TRAIN} --data torch.nn.NoSuch", ["--data", "NoSuch", "ArrayFile"]),
    "abstract prior": (f"{TRAIN} --prior pyrovae.Prior", ["prior", "abstract"]),
    "abstract likelihood": (f"{TRAIN} --likelihood pyrovae.Likelihood", ["likelihood", "abstract"]),
    "prior for network": (f"{TRAIN} --posterior.network StandardNormal", ["network", "StandardNormal", "MLP"]),
    "torch's layer for network": ("train --run {d}/new --likelihood.network torch.nn.Linear", ["network", "Linear"]),
    "unknown activation": (
        f"{TRAIN} --posterior.network.activation ReLUU",
        ["--posterior.network.activation", "ReLUU"],
    ),
    "function for activation": (f"{TRAIN} --posterior.network.activation os.system", ["activation", "os.system"]),
    "no module for activation": (
        f"{TRAIN} --posterior.network.activation collections.OrderedDict",
        ["activation", "subclass of Module", "OrderedDict"],
    ),
    # Sizes.
    **{
        f"{name} {value}": (f"{TRAIN} --{name} {value}", [name, value])
        for name, value in [
            *((name, value) for name in ("latent_dim", "epochs", "batch_size", "patience") for value in ("0", "-1")),
            *(("kl_warmup", "-1"), ("max_norm", "0"), ("max_norm", "-2"), ("max_norm", ".inf")),
            *(("seed", "-1"), ("seed", str(2**32)), ("data.seed", "-1"), ("data.seed", str(2**70))),
        ]
        if not name.startswith("data") and value != ".inf"
    },
    "max_norm infinite": (f"{TRAIN} --max_norm .inf", ["max_norm", "inf"]),
    "data seed": (f"{TRAIN} --data.seed -1", ["seed", "-1"]),
    "data seed too large": (f"{TRAIN} --data.seed {2**70}", ["seed", str(2**70)]),
    "hidden layer of no width": (f"{TRAIN} --posterior.network.hidden_features '[8, 0]'", ["hidden_features", "0"]),
    **{
        f"{name} {value}": (f"{EVALUATE} --{name} {value}", [name, value])
        for name, value in [
            *((name, value) for name in ("num_samples", "num_data", "chunk_size") for value in ("0", "-1")),
            *(("num_draws", "-1"), ("seed", "-7"), ("seed", str(2**64))),
        ]
    },
    "no samples to draw": ("sample {run} --num_samples 0 --out {d}/x.npy", ["num_samples", "0"]),
    "report's seed": ("report {run} --seed -1", ["seed", "-1"]),
    "report's gallery": ("report {run} --num_data 0", ["num_data", "0"]),
    "report's latents": ("report {run} --latents '[0, 99]'", ["latents", "pca", "99"]),
    "report's one latent": ("report {run} --latents '[1]'", ["--latents", "1"]),
    # Literals and numbers.
    "binarization": (f"{TRAIN} --data.binarization Static", ["--data.binarization", "static", "Static"]),
    "scale": (f"{TRAIN} --likelihood Gaussian --likelihood.scale all", ["--likelihood.scale", "shared", "all"]),
    "link": (f"{TRAIN} --posterior.link relu", ["--posterior.link", "softplus", "relu"]),
    "compile": (f"{TRAIN} --compile yes", ["--compile", "graph", "yes"]),
    "split": (f"{EVALUATE} --split whole", ["--split", "validation", "all", "whole"]),
    "method": ("evaluate {run} --method Exact", ["--method", "Importance", "Annealed", "Adaptive", "Exact"]),
    "chains of a kept guide": (
        f"{ANNEAL} --method.num_chains 3 --method.refinement_rounds 1",
        ["num_chains must be even", "keep_guide", "3 was given"],
    ),
    "keep_guide": (f"{ANNEAL} --method.keep_guide maybe", ["keep_guide", "maybe"]),
    "method and samples": (f"{ANNEAL} --num_samples 5", ["num_samples must be left out", "5", "Annealed("]),
    "method's option alone": ("evaluate {run} --method.num_chains 5", ["--method.num_chains", "num_samples"]),
    "start of chains": (f"{ANNEAL} --method.start middle", ["--method.start", "guide", "prior", "middle"]),
    "temperatures": (f"{ANNEAL} --method.num_temperatures 0", ["num_temperatures", "at least 1", "0"]),
    "chains": (f"{ANNEAL} --method.num_chains 0", ["num_chains", "at least 1", "0"]),
    "leapfrogs": (f"{ANNEAL} --method.num_leapfrogs 0", ["num_leapfrogs", "at least 1", "0"]),
    "acceptance": (f"{ANNEAL} --method.target_acceptance 1.5", ["target_acceptance", "1.5"]),
    "typo in an option": (f"{ANNEAL} --method.temperatures 5", ["--method.temperatures", "num_temperatures"]),
    "scale of chains": (f"{ANNEAL} --method.proposal_scale 1.2", ["--method.proposal_scale", "num_temperatures"]),
    "scale of a proposal": (f"{SAMPLE} --method.proposal_scale 0", ["proposal_scale", "above 0", "0"]),
    "share": (f"{SAMPLE} --method.prior_share 1.5", ["prior_share", "at most 1", "1.5"]),
    "target and sandwich": (f"{WITHIN} --sandwich true", ["sandwich must be false", "Adaptive"]),
    "target of nothing": ("evaluate {run} --method Adaptive --method.target_error 0", ["target_error", "above 0", "0"]),
    "time for a target": (f"{WITHIN} --method.max_seconds -1", ["max_seconds", "-1"]),
    "runs for a target": (f"{WITHIN} --method.max_evaluations 0", ["max_evaluations", "at least 1", "0"]),
    "chains back without a sandwich": (f"{EVALUATE} --reverse.start prior", ["reverse must be left out", "sandwich"]),
    "chains back": (f"{EVALUATE} --sandwich true --reverse.num_chains 0", ["num_chains", "at least 1", "0"]),
    "state that is none": (WITHIN, ["test-adaptive-first2.safetensors", "remove it"], raw(STATE, b"x")),
    "simulated without a sandwich": (f"{EVALUATE} --num_simulated 5", ["num_simulated", "sandwich is true"]),
    "simulated": (f"{EVALUATE} --sandwich true --num_simulated 0", ["num_simulated", "at least 1", "0"]),
    "weights": (f"{EVALUATE} --weights middle", ["--weights", "best", "middle"]),
    "device": (f"{TRAIN} --device tpu", ["device", "cuda", "tpu"]),
    "device's number": (f"{TRAIN} --device cuda:99", ["device", "cuda:99"]),
    "initial_scale": (f"{TRAIN} --likelihood Gaussian --likelihood.initial_scale -1", ["initial_scale", "-1"]),
    "min_scale": (f"{TRAIN} --posterior.min_scale -1", ["min_scale", "-1"]),
    "learning rate below zero": (f"{TRAIN} --optimizer.lr -1", ["optimizer", "learning rate", "-1"]),
    "learning rate infinite": (f"{TRAIN} --optimizer.lr .inf", ["optimizer's lr", "inf"]),
    "learning rate not a number": (f"{TRAIN} --optimizer.lr nan", ["--optimizer.lr", "nan"]),
    "betas": (f"{TRAIN} --optimizer.betas '[0.9, 1.5]'", ["optimizer", "beta", "1.5"]),
    "one beta": (f"{TRAIN} --optimizer.betas '[0.9]'", ["--optimizer.betas", "list of 2", "0.9"]),
    "Jit": (f"{TRAIN} --objective JitTrace_ELBO", ["objective", "JitTrace_ELBO", "compile=graph"]),
    "two losses": (f"{TRAIN} --objective ReweightedWakeSleep", ["objective", "one loss", "ReweightedWakeSleep"]),
    "LBFGS": (f"{TRAIN} --optimizer LBFGS", ["optimizer", "LBFGS"]),
    "scheduler's typo": (f"{TRAIN} --scheduler StepLR --scheduler.step 3", ["--scheduler.step:", "step_size"]),
    "scheduler lacks": (f"{TRAIN} --scheduler StepLR", ["--scheduler.step_size", "must be given"]),
    "scheduler's step": (f"{TRAIN} --scheduler StepLR --scheduler.step_size 0", ["scheduler", "zero"]),
    "even kernel": (
        "train --run {d}/new --posterior.network ConvolutionalEncoder --posterior.network.kernel_size 4",
        ["kernel_size must be odd", "4"],
    ),
    "convolution of no image": (
        "train --run {d}/new --data ArrayFile --data.path {d}/data.npy --posterior.network ConvolutionalEncoder",
        ["in_features", "3 dimensions", "(6,)"],
        array(shape=(50, 6)),
    ),
    # Data.
    "file missing": (f"{ARRAY}/none.npy", ["path", "none.npy"]),
    "file of another ending": (f"{ARRAY}/data.txt", ["path", ".npz", "data.txt"]),
    "npy cut short": (f"{ARRAY}/data.npy", ["data.npy", "cannot be read"], cut("data.npy", array())),
    "npy empty file": (f"{ARRAY}/data.npy", ["data.npy", "cannot be read"], raw("data.npy", b"")),
    "npy of wrong magic": (f"{ARRAY}/data.npy", ["data.npy", "magic"], raw("data.npy", b"nonsense" * 50)),
    "npz under npy's name": (
        f"{ARRAY}/data.npy",
        ["data.npy", "magic"],
        both(archive(), lambda d: (d / "data.npz").rename(d / "data.npy")),
    ),
    "npy under npz's name": (
        f"{ARRAY}/data.npz",
        ["data.npz", "cannot be read"],
        both(array(), lambda d: (d / "data.npy").rename(d / "data.npz")),
    ),
    "npz cut short": (f"{ARRAY}/data.npz", ["data.npz", "cannot be read"], cut("data.npz", archive())),
    "npz without images": (
        f"{ARRAY}/data.npz",
        ["data.npz", "named x", "a, b"],
        lambda d: np.savez(d / "data.npz", a=np.zeros(3), b=np.zeros(3)),
    ),
    "pickled objects": (
        f"{ARRAY}/data.npy",
        ["data.npy", "objects"],
        lambda d: np.save(d / "data.npy", np.array([Evil()] * 50, object), allow_pickle=True),
    ),
    "pickled objects in npz": (
        f"{ARRAY}/data.npz",
        ["data.npz", "Object arrays"],
        archive(x=np.array([Evil()] * 50, object)),
    ),
    "infinity": (f"{ARRAY}/data.npy", ["x must be finite", "datum 3"], array(spoil=np.inf)),
    "too large for Bernoulli": (f"{ARRAY}/data.npy", ["Bernoulli", "[0, 1]", "5.5"], array(spoil=5.5)),
    "too small for Bernoulli": (f"{ARRAY}/data.npy", ["Bernoulli", "[0, 1]", "-0.5"], array(spoil=-0.5)),
    "test images unfit for Bernoulli": (
        f"{ARRAY}/data.npz",
        ["Bernoulli", "[0, 1]", "7"],
        archive(test_x=np.full((5, 4), 7.0)),
    ),
    "too large to binarise": (
        f"{ARRAY}/data.npy --data.binarization static",
        ["binarization", "[0, 1]", "5.5"],
        array(spoil=5.5),
    ),
    "no images": (f"{ARRAY}/data.npy", ["x must have", "(0, 4)"], array(shape=(0, 4))),
    "one dimension": (f"{ARRAY}/data.npy", ["x must have", "(50,)"], array(shape=(50,))),
    "complex numbers": (f"{ARRAY}/data.npy", ["x must be of type", "float", "complex64"], array(dtype="complex64")),
    "texts": (f"{ARRAY}/data.npy", ["x must be of type", "float", "<U"], array(dtype="str")),
    "long doubles": (f"{ARRAY}/data.npy", ["x must be of type", "float128"], array(dtype="longdouble")),
    "labels of wrong length": (
        f"{ARRAY}/data.npy --data.labels {{d}}/labels.npy",
        ["labels", "50", "(49,)"],
        both(array(), array("labels.npy", (49,), "int64")),
    ),
    "labels that are texts": (
        f"{ARRAY}/data.npy --data.labels {{d}}/labels.npy",
        ["labels", "50 integers", "<U"],
        both(array(), array("labels.npy", (50,), "str")),
    ),
    "labels missing": (f"{ARRAY}/data.npy --data.labels {{d}}/labels.npy", ["labels must", "labels.npy"], array()),
    "labels in the archive": (f"{ARRAY}/data.npz", ["labels", "(49,)"], archive(labels=np.zeros(49, int))),
    "test labels alone": (f"{ARRAY}/data.npz", ["test_labels", "test_x"], archive(test_labels=np.zeros(4, int))),
    "test images of another shape": (
        f"{ARRAY}/data.npz",
        ["test_x", "(3,)"],
        archive(test_x=np.zeros((5, 3))),
    ),
    "dequantised floats": (f"{ARRAY}/data.npy --data.dequantize true", ["dequantize", "not quantised"], array()),
    "dequantised and binarised": (f"{TRAIN} --data.dequantize true", ["dequantize", "binarization is dynamic"]),
    "levels": (f"{ARRAY}/data.npy --data.levels 5", ["5 levels", "0..4"], array(dtype="int32", shift=7)),
    "validation too large": (f"{TRAIN} --data.validation_size 1700", ["validation_size", "1700", "1797"]),
    "validation below zero": (f"{TRAIN} --data.validation_size -1", ["validation_size", "-1"]),
    "validation 1.5": (f"{TRAIN} --data.validation_size 1.5", ["validation_size", "fraction", "1.5"]),
    "Frey faces of another shape": (
        f"{TRAIN} --data FreyFaces --data.path {{d}}/data.npy",
        ["path", "(N, 28, 20)", "(50, 1, 4, 4)"],
        array(),
    ),
    "Frey faces missing": (f"{TRAIN} --data FreyFaces --data.path {{d}}/frey.mat", ["path", "no ", "frey.mat"]),
    "Frey faces not MATLAB's": (
        f"{TRAIN} --data FreyFaces --data.path {{d}}/frey.mat",
        ["frey.mat", "MATLAB"],
        raw("frey.mat", b"nonsense" * 50),
    ),
    "Frey faces of another name": (
        f"{TRAIN} --data FreyFaces --data.path {{d}}/frey.mat",
        ["frey.mat", "lacks 'ff'"],
        matlab(gg=np.zeros((560, 20), "uint8")),
    ),
    "Frey faces transposed": (
        f"{TRAIN} --data FreyFaces --data.path {{d}}/frey.mat",
        ["frey.mat", "(560, N)", "(20, 560)"],
        matlab(ff=np.zeros((20, 560), "uint8")),
    ),
    "folder missing": (FOLDER, ["root", "images"]),
    "folder empty": (FOLDER, ["root", ".png", "holds none"], pictures()),
    "folder of different sizes": (FOLDER, ["size", "(4, 4)", "(4, 5)"], pictures((4, 4), (5, 4))),
    "broken image": (FOLDER, ["0.png", "cannot be read"], both(pictures((4, 4)), cut("images/0.png"))),
    "no image": (FOLDER, ["0.png", "cannot be read"], raw("images/0.png", b"nonsense")),
    "size of one number": (f"{FOLDER} --data.size '[4]'", ["--data.size", "list of 2", "[4]"], pictures((4, 4))),
    "size of zero": (f"{FOLDER} --data.size '[4, 0]'", ["size", "(4, 0)"], pictures((4, 4))),
    "MNIST missing": (MNIST, ["MNIST", "train-images-idx3-ubyte", "Digits"]),
    "MNIST cut short": (MNIST, ["MNIST", "cannot be read"], mnist()),
    "MNIST of wrong magic": (MNIST, ["MNIST", "cannot be read"], mnist(magic=99, images=3)),
    "Omniglot's copy": (
        f"{TRAIN} --data Omniglot --data.root {{d}}",
        ["omniglot-28.npz", "remove it"],
        raw("omniglot-28.npz", b"nonsense"),
    ),
    "picture of another ending": ("data --out {d}/x.gif", ["out", ".png", ".gif"]),
    # Configurations.
    "config missing": ("train --config {d}/none.yaml", ["--config", "none.yaml"]),
    "config no YAML": ("train --config {d}/c.yaml", ["--config", "YAML"], raw("c.yaml", b"a: [1")),
    "config a list": ("train --config {d}/c.yaml", ["--config", "mapping"], raw("c.yaml", b"- 1")),
    "config's typo": ("train --config {d}/c.yaml", ["--latent_dims"], raw("c.yaml", b"latent_dims: 2")),
    "config's class": (
        "train --config {d}/c.yaml",
        ["--data", "NoSuch", "Digits"],
        raw("c.yaml", b"data:\n  class_path: NoSuch"),
    ),
    "config's nested typo": (
        "train --config {d}/c.yaml",
        ["--data.rot", "binarization"],
        raw("c.yaml", b"data:\n  class_path: Digits\n  init_args:\n    rot: 1"),
    ),
    # Folders of runs.
    "no run there": ("evaluate {d}", ["run", "config.yaml"]),
    "no run to report": ("report {d}/none", ["run", "none", "config.yaml"]),
    "no run to sample": ("sample {d}/none --out {d}/x.npy", ["run", "none", "config.yaml"]),
    "a run is there already": ("train --run {run}", ["run", "--resume"]),
    "run is a file": (f"train --run {{d}}/f {SMALL}", ["/f"], raw("f", b"x")),
    "configuration missing": (EVALUATE, ["config.yaml"], gone("config.yaml")),
    "configuration no YAML": (EVALUATE, ["config.yaml", "line 1"], raw("config.yaml", b"a: [1")),
    "configuration a list": (EVALUATE, ["config.yaml", "mapping"], raw("config.yaml", b"- 1")),
    "configuration no text": (EVALUATE, ["config.yaml", "cannot be read"], raw("config.yaml", b"\xff\xfe\x00")),
    "configuration runs code": (
        EVALUATE,
        ["config.yaml", "os.system"],
        raw("config.yaml", b"!!python/object/apply:os.system ['touch pwned']"),
    ),
    "configuration names a function": (
        EVALUATE,
        ["config.yaml", "--prior", "os.system"],
        config(prior={"class_path": "os.system", "init_args": {"command": "touch pwned"}}),
    ),
    "configuration names a program": (
        EVALUATE,
        ["config.yaml", "--posterior.network", "subprocess.Popen"],
        config(
            posterior={
                "class_path": "DiagonalNormal",
                "init_args": {"network": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "pwned"]}}},
            }
        ),
    ),
    "configuration names no prior": (
        EVALUATE,
        ["config.yaml", "--prior", "subclass of pyrovae.Prior", "pyrovae.Bernoulli"],
        config(prior={"class_path": "pyrovae.Bernoulli"}),
    ),
    "configuration of a wrong type": (EVALUATE, ["config.yaml", "--latent_dim", "two"], config(latent_dim="two")),
    "weights missing": (EVALUATE, ["weights.safetensors"], gone("weights.safetensors")),
    "last weights missing": (
        f"{EVALUATE} --weights last",
        ["checkpoint/weights.safetensors"],
        gone("checkpoint/weights.safetensors"),
    ),
    "weights cut short": (EVALUATE, ["weights.safetensors", "cannot be read"], cut("weights.safetensors")),
    "weights empty": (EVALUATE, ["weights.safetensors", "cannot be read"], raw("weights.safetensors", b"")),
    "weights of another program": (EVALUATE, ["weights.safetensors", "(8, 5)", "(8, 2)"], config(latent_dim=5)),
    "weights of another shape": (
        EVALUATE,
        ["weights.safetensors", "layers.0.bias", "(3,)"],
        weights(lambda tensors, name: tensors.update({name: torch.zeros(3)})),
    ),
    "weights of another type": (
        EVALUATE,
        ["weights.safetensors", "layers.0.bias", "int64"],
        weights(lambda tensors, name: tensors.update({name: tensors[name].long()})),
    ),
    "weights lack one": (
        EVALUATE,
        ["weights.safetensors", "lacks likelihood.network.layers.0.bias"],
        weights(lambda tensors, name: tensors.pop(name)),
    ),
    "weights too many": (
        EVALUATE,
        ["weights.safetensors", "holds surplus"],
        weights(lambda tensors, name: tensors.update(surplus=torch.zeros(1))),
    ),
    "weights not finite": (
        EVALUATE,
        ["weights.safetensors", "not finite"],
        weights(lambda tensors, name: tensors[name].fill_(torch.nan)),
    ),
    "weights of another format": (
        EVALUATE,
        ["weights.safetensors", "pyrovae 9", "pyrovae 1"],
        weights(lambda tensors, name: None, "pyrovae 9"),
    ),
    # Resuming.
    "resumed with another batch size": (f"{RESUME} --batch_size 64", ["batch_size", "128", "64"]),
    "resumed with another prior": (f"{RESUME} --prior NoSuch", ["--prior", "NoSuch"]),
    "resumed from no configuration": (RESUME, ["config.yaml", "mapping"], raw("config.yaml", b"- 1")),
    "resumed from an unknown option": (RESUME, ["config.yaml", "--surplus"], config(surplus=1)),
    "resumed from a function": (RESUME, ["config.yaml", "--prior", "os.system"], config(prior="os.system")),
    "state cut short": (RESUME, ["state.pt", "cut short"], cut("checkpoint/state.pt")),
    "state a pickle that runs code": (RESUME, ["state.pt"], raw("checkpoint/state.pt", pickle.dumps(Evil()))),
    "state that runs code": (RESUME, ["state.pt"], state(lambda content: content.update(weights=Evil()))),
    "state of another format": (RESUME, ["state.pt", "9"], state(lambda content: content.update(format=9))),
    "state of no format": (RESUME, ["state.pt", "format"], state(lambda content: content.pop("format"))),
    "state lacks noise": (RESUME, ["state", "lacks 'rng'"], state(lambda content: content.pop("rng"))),
    "state's noise": (RESUME, ["state"], state(lambda content: content["rng"].update(torch=torch.zeros(3).byte()))),
    "state's history": (RESUME, ["state"], state(lambda content: content.update(history=[[1, 2]]))),
    "state of another program": (RESUME, ["state", "parameters"], state(lambda content: content.update(weights={}))),
    "state of another optimizer": (RESUME, ["state", "optimizer"], state(lambda content: content.update(optimizer={}))),
    "state missing": (
        RESUME,
        ["state.pt", "missing"],
        both(gone("checkpoint/state.pt"), metrics(lambda names, row: f"{names}\n{row}\n2{row[1:]}\n")),
    ),
    # Reports and samples.
    **{
        f"evaluation {content!r}": ("report {run}", ["evaluation/x.json"], raw("evaluation/x.json", content))
        for content in (b"{", b"[]", b"\xff", b'{"format": 9}', b'{"format": 1}', b'{"format": 1, "nll": "x"}')
    },
    "metrics missing": ("report {run}", ["metrics.csv"], gone("metrics.csv")),
    "metrics garbage": ("report {run}", ["metrics.csv", "columns"], raw("metrics.csv", b"nonsense\n")),
    "metrics no text": ("report {run}", ["metrics.csv", "cannot be read"], raw("metrics.csv", b"\xff\xfe")),
    "metrics without rows": ("report {run}", ["metrics.csv", "row"], metrics(lambda names, row: names + "\n")),
    "metrics cut short": ("report {run}", ["metrics.csv", "columns"], metrics(lambda names, row: f"{names}\n1,2\n")),
    "metrics no numbers": (
        "report {run}",
        ["metrics.csv", "x"],
        metrics(lambda names, row: f"{names}\n" + row.replace(row.split(",")[1], "x")),
    ),
    # Other data, scores and codes.
    "scores of another ending": (f"{SCORE} --out {{d}}/x.txt", ["out's ending", ".csv", ".npy", ".txt"]),
    "scores exist": (f"{SCORE} --out {{d}}/x.csv", ["new file unless overwrite", "x.csv"], raw("x.csv", b"mine")),
    "scores onto a folder": (f"{SCORE} --out {{d}}/x.csv", ["x.csv is a folder"], lambda d: (d / "x.csv").mkdir()),
    "scores where nothing can be": (f"{SCORE} --out /proc/none/x.csv", ["/proc/none", "cannot be written"]),
    "scores of no file": (f"{SCORE} --out {{d}}/x.csv --data ArrayFile --data.path {{d}}/n.npy", ["existing", "n.npy"]),
    "scores of other shapes": (
        f"{SCORE} --out {{d}}/x.csv --data ArrayFile --data.path {{d}}/data.npy",
        ["data must be like those", "(1, 4, 4)", "(1, 8, 8)"],
        array(),
    ),
    "scores of other values": (
        f"{SCORE} --out {{d}}/x.csv --data ArrayFile --data.path {{d}}/data.npy",
        ["they are real numbers, and were binary", "binarization"],
        array(shape=(50, 1, 8, 8)),
    ),
    "codes of other levels": (
        "encode {run} --out {d}/x.csv --data Digits --data.binarization none",
        ["scaled from 17 levels, and were binary"],
    ),
    "codes of no run": ("encode {d} --out {d}/x.csv", ["run", "config.yaml"]),
    "codes without weights": ("encode {run}", ["weights.safetensors", "no epoch"], gone("weights.safetensors")),
    "codes of too few samples": ("encode {run} --num_draws -1 --out {d}/x.csv", ["num_draws", "-1"]),
    "codes of two kinds": ("encode {run} --num_draws 2 --scales true --out {d}/x.csv", ["scales must be false"]),
    "compared data": ("compare {run} {run} --data Digits --evaluation a", ["different folders"]),
    "samples of another ending": ("sample {run} --out {d}/x.jpg", ["out", ".npy", ".jpg"]),
    "samples into a file": ("sample {run} --out {d}/f/x.npy", ["/f/x.npy", "cannot be written"], raw("f", b"x")),
    "samples onto a folder": ("sample {run} --out {d}/x.npy", ["x.npy", "directory"], lambda d: (d / "x.npy").mkdir()),
    "samples where nothing can be": ("sample {run} --out /proc/none/x.npy", ["/proc/none/x.npy", "cannot be written"]),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(shlex.split(f"train --run {folder} --latent_dim 2 --epochs 1 {SMALL}")) == 0
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def download(self):
        raise RuntimeError("Error downloading:\nTried https://example.org, got:\nno network")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", download)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_one_sentence(row, trained, tmp_path, monkeypatch, capsys, no_network):
    command, says, *prepare = row
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    if "{run}" in command:
        shutil.copytree(trained, run)
    for step in prepare:
        step(run if "{run}" in command and "{d}" not in command else tmp_path)
    before = contents(tmp_path)
    capsys.readouterr()
    assert main(shlex.split(command.format(d=tmp_path, run=run))) == 2
    assert_one_sentence(capsys.readouterr().err, says)
    assert contents(tmp_path) == before, "something was written or lost"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path, capsys):
    assert main(shlex.split(f"train --run {tmp_path}/new --device cuda")) == 2
    assert_one_sentence(capsys.readouterr().err, ["device", "cuda"])


@pytest.mark.slow
def test_a_refused_run_can_be_begun_again(tmp_path, capsys):
    command = f"train --run {tmp_path}/new --latent_dim 2 {SMALL}"
    assert main(shlex.split(f"{command} --epochs 0")) == 2
    assert main(shlex.split(f"{command} --epochs 1")) == 0


@pytest.mark.slow
def test_a_refused_resumption_can_be_repeated(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    command = f"train --run {tmp_path}/run --resume true --epochs 2"
    assert main(shlex.split(f"{command} --patience -1")) == 2
    assert main(shlex.split(command)) == 0


def test_objects_in_a_pickle_would_have_run(tmp_path, monkeypatch):
    """The rows that tamper with pickles can fail: what they hold does write the file that they look for."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil()))
    assert Path("pwned").exists()
    torch.save({"weights": Evil()}, "state.pt")
    assert zipfile.is_zipfile("state.pt")


@pytest.mark.slow
def test_the_process_exits_with_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pyrovae", "train", "--run", str(tmp_path / "new"), "--prior", "os.system"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert_one_sentence(done.stderr, ["--prior", "os.system"])
    assert done.stdout == ""
