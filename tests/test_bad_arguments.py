"""In Python too, bad arguments are refused with one sentence that names them: an ``InputError``."""

import re
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae import (
    CIWAE,
    IWAE,
    MIWAE,
    MLP,
    MMD,
    RWS,
    VAE,
    AffineCoupling,
    Autoencoder,
    Bernoulli,
    BetaTCVAE,
    ConditionalVAE,
    ConvolutionalEncoder,
    DataSet,
    DiagonalNormal,
    Digits,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    FlowPosterior,
    FlowPrior,
    FreeBits,
    GatedMLP,
    Gaussian,
    GaussianMixture,
    HierarchicalVAE,
    InputError,
    LearnedNormal,
    LowRankNormal,
    MixturePosterior,
    PartlyLabelled,
    Poisson,
    Renyi,
    ResNetEncoder,
    SemiSupervisedVAE,
    SphericalUniform,
    Spline,
    SplineCoupling,
    StandardNormal,
    StudentT,
    Trace_ELBO,
    TraceMeanField_ELBO,
    VampPrior,
    VonMisesFisher,
    decode,
    encode,
    fit,
    generate,
    log_marginal,
    log_weights,
    prior_grid,
    reconstruct,
    refit_prior,
)
from pyrovae.runs import assemble

SHAPE = (4,)
X = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3
small = partial(MLP, hidden_features=(8,))


def vae(prior=StandardNormal, likelihood=Bernoulli, posterior=DiagonalNormal):
    return VAE(prior(2), likelihood(SHAPE, 2, network=small), posterior(SHAPE, 2, network=small))


def conditional(cls=ConditionalVAE):
    parts = {"likelihood": partial(Bernoulli, network=small), "posterior": partial(DiagonalNormal, network=small)}
    return cls(SHAPE, 2, 3, **parts)


def train(program, data=None, **options):
    return fit(program.model, program.guide, data or DataSet(X, Y), **{"epochs": 1, "progress": False, **options})


def marginal(program, x, num_samples=3):
    return log_marginal(program.model, program.guide, x, num_samples=num_samples)


def outside(x):
    pyro.sample("z", dist.Normal(0.0, 1.0))


IMAGE = (1, 8, 8)
PYTHON = {
    # Sizes and numbers.
    **{
        f"{made.__name__} of {name} {value}": (
            partial(made, *arguments, **{name: value}),
            rf"{name} .* {re.escape(repr(value))} w",
        )
        for made, arguments, name, values in [
            (HierarchicalVAE, (SHAPE, 2), "dims", [(), (0,), (1.5,), "100"]),
            (ConditionalVAE, (SHAPE, 2), "num_classes", [0, 2.0]),
            (SemiSupervisedVAE, (SHAPE, 2), "classification_weight", [-1]),
            (Autoencoder, (SHAPE, 2), "z_penalty", [-1, torch.inf]),
            (SphericalUniform, (), "latent_dim", [1, "2"]),
            (VampPrior, (2,), "num_components", [0, -1]),
            (GaussianMixture, (2,), "num_components", [0, 1.5]),
            (FlowPrior, (2,), "num_layers", [0]),
            (FlowPosterior, (SHAPE, 2), "num_layers", [0]),
            (FlowPosterior, (SHAPE, 2), "context_features", [-1]),
            (MixturePosterior, (SHAPE, 2), "num_components", [0]),
            (LowRankNormal, (SHAPE, 2), "rank", [0]),
            (VonMisesFisher, (SHAPE, 2), "min_concentration", [-1]),
            (Spline, (2,), "bound", [0, -1.0, torch.inf]),
            (Spline, (2,), "count_bins", [1]),
            (StudentT, (SHAPE, 2), "df", [1.0]),
            (DiscretizedLogistic, (SHAPE, 2), "levels", [1]),
            (DiscretizedLogisticMixture, (SHAPE, 2), "num_components", [0]),
            (DiscretizedLogisticMixture, (SHAPE, 2), "initial_scale", [0.0]),
            (GatedMLP, (4, 2), "dropout", [1.0, -0.1, None]),
            (MLP, (4, 2), "weight_decay", [-1]),
            (ResNetEncoder, (IMAGE, 2), "blocks_per_stage", [0]),
            (PartlyLabelled, (), "num_labels", [0, 9999]),
            (MIWAE, (), "num_bounds", [0]),
            (CIWAE, (), "elbo_weight", [1.5]),
            (RWS, (), "sleep", [2]),
            (Renyi, (), "alpha", [torch.inf]),
            (FreeBits, (), "free_nats", [-1]),
            (BetaTCVAE, (), "beta", [-1]),
            (MMD, (), "mmd_weight", [-1]),
        ]
        for value in values
    },
    # Objects in the place of classes, and the other way round.
    "VAE of classes": (lambda: VAE(StandardNormal, Bernoulli, DiagonalNormal), "prior must be a Prior, but the class"),
    "VAE in another order": (
        lambda: VAE(StandardNormal(2), DiagonalNormal(SHAPE, 2), Bernoulli(SHAPE, 2)),
        "likelihood must be a Likelihood, but a DiagonalNormal was given",
    ),
    "VAE of a distribution": (
        lambda: VAE(dist.Normal(0.0, 1.0), Bernoulli(SHAPE, 2), DiagonalNormal(SHAPE, 2)),
        "prior must be a Prior, but a Normal was given",
    ),
    "program of an object": (
        lambda: HierarchicalVAE(SHAPE, 2, prior=StandardNormal(2)),
        "prior must be a class .* such as StandardNormal, but a StandardNormal was given",
    ),
    "program of another class": (
        lambda: Autoencoder(SHAPE, 2, likelihood=DiagonalNormal),
        "likelihood must be a class that makes a Likelihood .*, which makes a DiagonalNormal",
    ),
    "assembled of an object": (lambda: assemble(Digits()), "data must be a class that makes a DataSet, .* Digits was"),
    "labels of an object": (lambda: PartlyLabelled(Digits()), "data must be a class that makes a DataSet"),
    "network made already": (lambda: DiagonalNormal(SHAPE, 2, MLP(4, 4)), "network must be a class .* a MLP was given"),
    "no network": (lambda: DiagonalNormal(SHAPE, 2, None), "network must be a class .* a NoneType was given"),
    "network of another shape": (
        lambda: DiagonalNormal(SHAPE, 2, lambda i, o: MLP(i, 3)),
        r"network must be a class .* which maps \(2, 4\) to \(2, 3\)",
    ),
    "flow made already": (
        lambda: FlowPrior(2, SplineCoupling(2)),
        "flow must be a class .* a SplineCoupling was given",
    ),
    "widths of one number": (
        lambda: MLP(4, 4, 400),
        "hidden_features must be a sequence of integers, .* 400 was given",
    ),
    "channels of one number": (lambda: ConvolutionalEncoder((1, 8, 8), 4, 16), "channels must be a sequence"),
    "flow's widths of one number": (lambda: AffineCoupling(3, 0, 8), "hidden_features of a flow must be a sequence"),
    "latents that are text": (lambda: ConditionalVAE(SHAPE, "2"), "latent_dim must be an integer .* '2' was given"),
    "objective made already": (
        lambda: train(vae(), objective=IWAE(5)),
        "objective must be a class .* an IWAE was given",
    ),
    "objective by name": (lambda: train(vae(), objective="IWAE"), "objective must be a class .* a str was given"),
    "optimizer for objective": (lambda: train(vae(), objective=torch.optim.Adam), "objective must .* Adam was given"),
    "Pyro's optimizer": (
        lambda: train(vae(), optimizer=pyro.optim.Adam({"lr": 1e-3})),
        "optimizer must make one of torch's, .* a PyroOptim was given",
    ),
    "Pyro's optimizer's name": (lambda: train(vae(), optimizer=pyro.optim.Adam), "optimizer cannot be made"),
    "text for data": (lambda: fit(vae().model, vae().guide, "x"), "data must be a DataSet, .* but a str was given"),
    "texts for images": (lambda: DataSet(["a", "b"]), "x must be a tensor or an array, but a list was given"),
    "ragged list": (lambda: DataSet([[0, 1], [1]]), "x must be a list of lists that have one length"),
    "texts for labels": (lambda: DataSet(X, ["a"]), "labels must be a tensor or an array, but a list was given"),
    "no callback": (lambda: train(vae(), callback=3), "callback must be a function .* 3 was given"),
    "no model": (
        lambda: fit(None, None, DataSet(X), progress=False),
        "model and guide must be functions of x, but None",
    ),
    "guide of nothing": (
        lambda: fit(vae().model, lambda: None, DataSet(X), progress=False),
        "model and guide must be functions of x, or of x and labels y: too many positional arguments",
    ),
    "module for model": (lambda: fit(vae(), vae(), DataSet(X), progress=False), "objective .* 'forward'|\"forward\""),
    # Programs and data that do not go together.
    "swapped": (lambda: (p := vae()) and fit(p.guide, p.model, DataSet(X), progress=False), "model must observe x"),
    "outside the plate": (
        lambda: fit(outside, outside, DataSet(X), progress=False),
        r"sample site 'z' must lie in .*plate$",
    ),
    "guide lacks a site": (
        lambda: fit(HierarchicalVAE(SHAPE, 2, (3,)).model, vae().guide, DataSet(X), progress=False),
        "guide must sample every latent site of the model, but does not sample 'z2'",
    ),
    "other shape": (
        lambda: train(vae(), DataSet(torch.rand(60, 5))),
        r"x must have the shape \(B, 4\), but has \(\d+, 5\)",
    ),
    "reals for coins": (lambda: train(vae(), DataSet(9 * X)), r"the program cannot be run .* \[?.*upper_bound=1.0"),
    "reals for counts": (lambda: train(vae(likelihood=Poisson), DataSet(X)), "the program cannot be run .* Poisson"),
    "no labels": (lambda: train(conditional(), DataSet(X)), "data must have the labels"),
    "unknown labels": (lambda: train(conditional(), DataSet(X, Y - 1)), "data must have the labels"),
    "more classes": (lambda: train(conditional(), DataSet(X, Y + 1)), r"y must hold classes from 0 to 2 .* 1 to 3"),
    "a rare class": (
        lambda: train(conditional(), DataSet(X.repeat(20, 1), (torch.arange(1200) == 7) * 3), batch_size=10),
        r"y must hold classes from 0 to 2 .* 0 to 3",
    ),
    "more classes than a few": (
        lambda: train(conditional(SemiSupervisedVAE), DataSet(X, Y + 1)),
        "y must hold classes from 0 to 2",
    ),
    "only one takes labels": (
        lambda: fit(conditional().model, vae().guide, DataSet(X, Y), progress=False),
        "model and guide must both take labels",
    ),
    "points under wake-sleep": (lambda: train(Autoencoder(SHAPE, 2), objective=RWS), "objective RWS .* 'z' is a point"),
    "learned prior under MMD": (lambda: train(vae(LearnedNormal), objective=MMD), "kl_weight must be above 0"),
    "analytic KL against the order": (
        lambda: train(HierarchicalVAE(SHAPE, 2, (3,)), objective=TraceMeanField_ELBO),
        "objective TraceMeanField_ELBO needs a guide",
    ),
    "no particles": (
        lambda: train(vae(), objective=partial(Trace_ELBO, num_particles=0)),
        "num_particles of the objective must be an integer of at least 1, but 0 was given",
    ),
    # Evaluation.
    "words for x": (
        lambda: marginal(vae(), np.array(["a"])),
        "x must hold numbers, but a ndarray of type <U1 was given",
    ),
    "texts for x": (
        lambda: marginal(vae(), [["a", "b"]]),
        "x must be a tensor, an array, a data frame or a list of numbers, but a list was given",
    ),
    "one datum": (lambda: marginal(vae(), X[0]), r"x must have the shape \(B, 4\), but has \(4,\)"),
    "bytes": (lambda: marginal(vae(), X.byte()), "the program cannot be run .* type uint8: .* same dtype"),
    "infinite": (lambda: marginal(vae(), X / 0), "the program cannot be run .* loc of Normal must satisfy"),
    "x outside the support": (
        lambda: marginal(vae(), 9 * X),
        "the program cannot be run .* at site 'x', values must lie in",
    ),
    "other lengths": (lambda: marginal(conditional(), (X, Y[:5])), "x and y must hold as many data each, .* 60 and 5"),
    "x without labels": (lambda: marginal(conditional(), X), r"y must be given too, as in \(x, y\)"),
    "labels too many": (lambda: marginal(vae(), (X, Y)), r"y must be left out, for the program takes no labels"),
    "labels and more": (
        lambda: marginal(conditional(), (X, Y, Y)),
        "model and guide must be functions of x, or of x and",
    ),
    "labels out of range": (lambda: marginal(conditional(), (X, Y + 1)), "y must hold classes .* 1 to 3"),
    "labels below zero": (
        lambda: marginal(conditional(SemiSupervisedVAE), (X, Y - 1)),
        "y must hold classes .* -1 to 1",
    ),
    "labels of numbers": (lambda: marginal(conditional(), (X, Y / 2)), "y must hold one integer .* torch.float32"),
    "labels one-hot": (lambda: marginal(conditional(), (X, torch.eye(3)[Y])), r"y must hold one integer .* \(\d+, 3\)"),
    "points": (lambda: marginal(Autoencoder(SHAPE, 2), X), "guide must have a density"),
    "samples": (lambda: marginal(vae(), X, 1e3), "num_samples must be an integer .* 1000.0 was given"),
    "weights of other labels": (
        lambda: (p := conditional()) and log_weights(p.model, p.guide, (X, Y + 1), 3),
        "y must hold classes",
    ),
    "codes without labels": (lambda: encode(conditional().guide, X), "y must be given too"),
    "codes of other labels": (lambda: encode(conditional().guide, (X, Y + 1)), "y must hold classes"),
    "codes of another shape": (lambda: encode(vae().guide, X[:, :3]), "x must have the shape"),
    "reconstructions of other labels": (
        lambda: (p := conditional()) and reconstruct(p.model, p.guide, (X, Y + 1)),
        "y must hold classes",
    ),
    "samples without labels": (lambda: generate(conditional().model, 5, X), "y must be given too"),
    "samples of other labels": (lambda: generate(conditional().model, 60, (X, Y + 1)), "y must hold classes"),
    "samples of no labels": (lambda: generate(conditional().model, 5, (X, Y[:0])), "y must hold at least one label"),
    "no codes": (lambda: decode(vae().model, {}, SHAPE), "latents must hold"),
    "codes of another site": (lambda: decode(vae().model, {"u": torch.zeros(3, 2)}, SHAPE), "latents must be sites"),
    "codes of another size": (
        lambda: decode(vae().model, {"z": torch.zeros(3, 5)}, SHAPE),
        "the program cannot be run",
    ),
    "codes of other data": (lambda: decode(vae().model, {"z": torch.zeros(3, 2)}, (5,)), "x must have the shape"),
    "grid with labels": (lambda: prior_grid(conditional().model, X), "y must be given too"),
    "optimal by another name": (lambda: Gaussian(SHAPE, 2, scale="best"), "scale must be one of fixed, .* 'best' was"),
    # Refitting the prior.
    "refit of nothing": (
        lambda: refit_prior(object(), DataSet(X), LearnedNormal),
        "program must have a prior to refit",
    ),
    "refit of a made prior": (lambda: refit_prior(vae(), DataSet(X), LearnedNormal(2)), "prior must be a class"),
    "refit of a posterior": (
        lambda: refit_prior(vae(), DataSet(X), DiagonalNormal),
        "prior must be a class .* 'latent_dim'",
    ),
    "refit of a number": (lambda: refit_prior(vae(), 3, LearnedNormal), "data must be a DataSet"),
    "refit of other data": (lambda: refit_prior(vae(), DataSet(X[:, :3]), LearnedNormal), "x must have the shape"),
    "refit of what is fixed": (
        lambda: refit_prior(vae(), DataSet(X), StandardNormal),
        "prior must have something to learn",
    ),
    "refit of few codes": (
        lambda: refit_prior(vae(), DataSet(X), partial(GaussianMixture, num_components=500)),
        "num_components must be at most the number of codes, 48, but 500 was given",
    ),
    "refit of layers' mixture": (
        lambda: refit_prior(HierarchicalVAE(SHAPE, 2, (3,)), DataSet(X), VampPrior),
        "prior must need codes alone, but VampPrior was given for HierarchicalVAE",
    ),
    "refit without labels": (
        lambda: refit_prior(conditional(), DataSet(X), LearnedNormal),
        "data must have the labels",
    ),
    "refit of other labels": (
        lambda: refit_prior(conditional(), DataSet(X, Y + 1), LearnedNormal),
        "y must hold classes",
    ),
}


@pytest.mark.parametrize(("call", "says"), PYTHON.values(), ids=PYTHON)
def test_in_python_it_is_one_sentence_too(call, says):
    with pytest.raises(InputError) as raised:
        call()
    sentence = str(raised.value)
    assert re.search(f"^{says}", sentence), sentence
    assert "\n" not in sentence
    assert "Trace Shapes" not in sentence
