"""Pyro programs of many kinds: what each function makes of them is right, or refused in one sentence."""

import math
from functools import partial
from typing import Annotated

import pyro
import pyro.distributions as dist
import pytest
import torch
from gallery import PROGRAMS
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from pyrovae import (
    IWAE,
    PIWAE,
    RWS,
    STL,
    Annealed,
    DataSet,
    DReG,
    FreeBits,
    InputError,
    Renyi,
    decode,
    diagnose,
    encode,
    fit,
    generate,
    log_marginal,
    log_weights,
    prior_grid,
    reconstruct,
    sandwich,
    simulate,
)
from pyrovae.evaluation import anomaly_scores
from pyrovae.prediction import is_discrete
from pyrovae.programs import private_modules, uses_labels

SHORT = Annealed(num_temperatures=3, num_chains=2)

FUNCTIONS = {
    "log_weights": lambda model, guide, batch: log_weights(model, guide, batch, num_samples=9),
    "log_marginal": lambda model, guide, batch: log_marginal(model, guide, batch, num_samples=20, num_draws=0).log_prob,
    "annealed": lambda model, guide, batch: log_marginal(model, guide, batch, SHORT).log_prob,
    "encode": lambda model, guide, batch: torch.cat([z.flatten(1) for z in encode(guide, batch).values()], 1),
    "reconstruct": reconstruct,
    "generate": lambda model, guide, batch: generate(model, 5, batch),
    "generate with noise": lambda model, guide, batch: generate(model, 5, batch, noise=True),
    "generate given x": lambda model, guide, batch: generate(model, 5, batch, given=batch),
    "simulate": lambda model, guide, batch: simulate(model, 5, batch)[1][0],
    "sandwich": lambda model, guide, batch: sandwich(model, guide, batch, SHORT, num_simulated=3).upper,
    "diagnose": lambda model, guide, batch: (
        diagnose(
            model,
            guide,
            batch,
            log_marginal(model, guide, batch, num_samples=5, num_draws=0),
            num_samples=3,
            refinement_steps=2,
        ).rate_distortion.elbo
    ),
    "anomaly_scores": lambda model, guide, batch: torch.stack(
        list(anomaly_scores(model, guide, batch, 3, refinement_steps=2).values())
    ),
    "prior_grid": lambda model, guide, batch: prior_grid(model, batch if isinstance(batch, Tensor) else batch[0], 2),
    "is_discrete": lambda model, guide, batch: torch.tensor(is_discrete(model, batch)),
}

fast = partial(torch.optim.Adam, lr=0.2)

REFUSED = {
    "teacher_forcing": {"generate", "generate with noise", "simulate", "sandwich", "prior_grid"},
    "total_count": {"generate", "generate with noise", "simulate", "sandwich", "prior_grid"},
    "outcome_in_both": {
        "generate",
        "generate with noise",
        "generate given x",
        "simulate",
        "sandwich",
        "prior_grid",
    },
    "plate_without_size": {"anomaly_scores", "prior_grid"},
    "discrete_latents": {"anomaly_scores", "prior_grid"},
    "prior_on_x": {"generate", "generate with noise", "simulate", "sandwich", "prior_grid"},
    "tokens": {"generate", "generate with noise", "simulate", "sandwich", "prior_grid"},
    "sequence_with_masks": {"prior_grid"},
    "label_as_a_site": {"prior_grid"},
    "factor_in_the_guide": {"prior_grid"},
    "module_as_a_program": {"prior_grid"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_function_is_right_or_refuses_in_one_sentence(name):
    model, guide, batch = PROGRAMS[name]()
    for function, call in FUNCTIONS.items():
        if function in REFUSED.get(name, ()):
            with pytest.raises(InputError) as refusal:
                call(model, guide, batch)
            assert "\n" not in str(refusal.value)
        else:
            assert bool(call(model, guide, batch).isfinite().all()), function


def at_the_code(model, guide, x):
    with private_modules():
        return poutine.trace(poutine.condition(model, encode(guide, x))).get_trace(x)


def labelled(x, y):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(torch.ones(9)), obs=y)
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(10.0 * y.unsqueeze(-1) + z, 0.1).to_event(1), obs=x)


def labelled_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((x - 10.0 * y.unsqueeze(-1)) / 1.01, 0.0995).to_event(1))


def test_a_label_that_is_given_stays_as_it_is():
    like = torch.zeros(1, 1), torch.tensor([7])
    assert bool((generate(labelled, 200, like, noise=True) - 70).abs().max() < 5)
    latents, (x, y) = simulate(labelled, 4, like)
    assert y.tolist() == [7] * 4
    torch.testing.assert_close(x, 70 + latents["z"], atol=0.6, rtol=0)
    bounds = sandwich(labelled, labelled_guide, like, Annealed(10), num_simulated=20)
    exact = (dist.Normal(70.0, math.sqrt(1.01)).log_prob(bounds.estimate.x.squeeze(-1)) - math.log(9)).double()
    torch.testing.assert_close(bounds.lower, exact, atol=0.01, rtol=0)
    torch.testing.assert_close(bounds.upper, exact, atol=0.01, rtol=0)


@pytest.mark.slow
def test_the_sleep_phase_dreams_of_the_labels_that_are_given():
    slope = nn.Linear(1, 1)

    def guide(x, y):
        pyro.module("slope", slope)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope(x - 10.0 * y.unsqueeze(-1)), 1.0).to_event(1))

    y = torch.arange(90) % 9
    data = DataSet(10.0 * y.unsqueeze(-1) + torch.randn(90, 1), y)
    torch.manual_seed(0)
    fit(labelled, guide, data, epochs=60, objective=partial(RWS, 2, 1.0), optimizer=fast, progress=False)
    assert slope.weight.item() == pytest.approx(1 / 1.01, abs=0.08)


def test_deterministic_sites_are_computed_and_never_sampled():
    model, guide, x = PROGRAMS["deterministic_sites"]()
    found = reconstruct(model, guide, x)
    trace = at_the_code(model, guide, x)
    torch.testing.assert_close(found, trace.nodes["mean"]["value"].detach())
    assert generate(model, 4, x).shape == (4, 4)


def test_x_that_is_observed_in_parts_is_put_together():
    model, guide, x = PROGRAMS["x_in_two_parts"]()
    trace = at_the_code(model, guide, x)
    means = torch.cat([trace.nodes[name]["fn"].mean for name in "ab"], -1).detach()
    torch.testing.assert_close(reconstruct(model, guide, x), means)
    latents, (drawn,) = simulate(model, 2000, x)
    means = decode(model, latents, (4,))
    assert (drawn - means)[:, :2].abs().mean().item() == pytest.approx(1.0, abs=0.1)  # Laplace
    assert (drawn - means)[:, 2:].abs().mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.08)


def observing(*parts, size=2):
    """Return a model that observes functions of x at a site each."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(size), 1.0).to_event(1))
            for i, part in enumerate(parts):
                value = part(x)
                loc = z[..., : value[0].numel()].reshape(-1, *value.shape[1:])
                pyro.sample(f"x_{i}", dist.Normal(loc, 1.0).to_event(value.dim() - 1), obs=value)

    return model


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (observing(lambda x: x, lambda x: x), torch.randn(3, 2)),
        (observing(lambda x: 3 * x), torch.zeros(3, 2)),
        (observing(lambda x: 3 * x, size=1), torch.ones(3, 1)),
        (observing(torch.log1p, size=1), torch.rand(3)),
        (observing(lambda x: 1 - x), torch.rand(3, 2)),
        (observing(torch.abs), torch.randn(3, 2)),
        (observing(torch.square), torch.zeros(3, 2)),
        (observing(torch.log1p, size=5), torch.ones(3, 5)),
        (observing(lambda x: x.cumsum(1), size=5), torch.randn(3, 5)),
    ],
)
def test_x_that_is_observed_twice_or_changed_is_refused(model, x):
    with pytest.raises(InputError, match="observe each entry of x once, as it is, to sample x from it"):
        generate(model, 3, x)


@pytest.mark.parametrize("x", [torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4), torch.randn(1, 4)])
def test_x_may_be_observed_in_another_order(x):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(torch.arange(1.0, 5.0)).to_event(1), obs=x.flip(1).to(torch.float32))

    assert generate(model, 2, x).tolist() == [[4.0, 3.0, 2.0, 1.0]] * 2


@pytest.mark.parametrize("length", [lambda x: (x != 0).sum(-1).max(), lambda x: 2 + 2 * (x > 2.5).any()])
def test_a_number_of_sites_that_depends_on_the_data_is_refused(length):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            for t in range(int(length(x))):
                pyro.sample(f"x_{t}", dist.Normal(z.squeeze(-1), 1.0), obs=x[:, t])

    x = torch.tensor([[1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    with pytest.raises(InputError, match="observe the same sites for all data, but it observes 'x_"):
        reconstruct(model, lambda x: labelled_guide(x[:, :1], torch.zeros(len(x))), x)


def test_a_mask_or_a_factor_that_depends_on_x_or_on_a_class_is_found():
    def masked(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with poutine.mask(mask=x[:, 0] != 0):
                pyro.sample("x", dist.Poisson(z.exp()).to_event(1), obs=x)

    with pytest.raises(InputError, match="distributions that do not depend on x"):
        simulate(masked, 3, torch.ones(1, 2))

    def with_factor(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.factor("f", (y > 0) * -50.0 * (z[..., 0] - 1) ** 2)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    assert simulate(with_factor, 3, (torch.ones(1, 2), torch.tensor([0])))[1][0].shape == (3, 2)
    with pytest.raises(InputError, match="depends on the latents to be simulated, but observes 'f' too"):
        simulate(with_factor, 3, (torch.ones(1, 2), torch.tensor([0, 0, 1])))


def test_counts_have_their_mean_and_not_their_mode():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(torch.full((len(x),), 0.9)), obs=x)

    torch.testing.assert_close(generate(model, 3, torch.zeros(1)), torch.full((3,), 0.9))


def test_given_data_leave_the_labels_of_like():
    x = generate(labelled, 3, (torch.zeros(1, 1), torch.tensor([7])), given=torch.zeros(1, 1))
    assert bool(((x - 70).abs() < 5).all())


def test_what_depends_on_x_only_after_a_while_stops_the_sleep_phase():
    skip, encoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    nn.init.zeros_(skip.weight)

    def model(x):
        pyro.module("skip", skip)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + skip(x.roll(1, 1)), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    with pytest.raises(InputError, match="distributions that do not depend on x"):
        fit(model, guide, DataSet(torch.randn(60, 2)), epochs=3, objective=partial(RWS, 2, 0.5), progress=False)


def test_classes_have_their_most_probable_value_for_a_mean():
    model, guide, x = PROGRAMS["classes"]()
    logits = at_the_code(model, guide, x).nodes["x"]["fn"].base_dist.logits
    torch.testing.assert_close(reconstruct(model, guide, x), logits.argmax(-1))
    assert is_discrete(model, x)


def test_a_total_count_comes_from_the_x_that_is_given():
    model, guide, x = PROGRAMS["total_count"]()
    torch.testing.assert_close(reconstruct(model, guide, x).sum(1), x.sum(1))
    torch.testing.assert_close(generate(model, 9, x[:1], given=x).sum(1), x.sum(1))
    with pytest.raises(InputError, match="distributions that do not depend on x"):
        generate(model, 3, x)
    with pytest.raises(InputError, match=r"given must be data for a model whose distributions depend on x"):
        decode(model, encode(guide, x), (4,))


def losses(name, objective):
    """Return the loss of one batch, and the gradients of what the guide alone has, from the same noise."""
    model, guide, batch = PROGRAMS[name]()
    torch.manual_seed(0)
    with private_modules():
        loss = objective.loss_and_grads(model, guide, *batch)
        store = pyro.get_param_store()
        grads = {name: store[name].unconstrained().grad for name in store}
    return loss, {name: grad for name, grad in grads.items() if name.startswith(("outcome", "classifier"))}


@pytest.mark.parametrize(
    "objective",
    [IWAE(1), STL(), Renyi(1), FreeBits(0.0), DReG(1), PIWAE(1, 1)],
    ids=lambda objective: type(objective).__name__,
)
@pytest.mark.parametrize("name", ["outcome_in_both", "factor_in_the_guide"])
def test_what_the_guide_observes_counts_as_in_pyros_elbo(name, objective):
    loss, grads = losses(name, objective)
    expected, expected_grads = losses(name, Trace_ELBO())
    if not isinstance(objective, FreeBits):  # whose KL is in closed form
        assert loss == pytest.approx(expected, rel=1e-5)
    assert grads
    for key, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[key])


@pytest.mark.parametrize("where", ["site", "distribution"])
@pytest.mark.parametrize("program", ["model", "guide"])
def test_latents_that_are_masked_in_one_program_alone_are_refused(program, where):
    def sample(x, loc, masked):
        fn = dist.Normal(loc, 1.0).to_event(1)
        mask = torch.arange(len(x)) > 0
        if masked and where == "distribution":
            return pyro.sample("z", fn.expand((len(x),)).mask(mask))
        with poutine.mask(mask=mask if masked else torch.ones(len(x), dtype=torch.bool)):
            return pyro.sample("z", fn)

    decoder, encoder = nn.Linear(2, 2), nn.Linear(2, 2)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = sample(x, torch.zeros(2), program == "model")
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            sample(x, encoder(x), program == "guide")

    x = torch.randn(20, 2)
    words = f"mask the latent site 'z' alike.*the {program} masks some"
    with pytest.raises(InputError, match=words):
        log_marginal(model, guide, x, num_samples=10)
    with pytest.raises(InputError, match=words):
        fit(model, guide, DataSet(x), epochs=1, progress=False)


@pytest.mark.slow
def test_masks_that_agree_leave_data_out_and_have_no_mutual_information():
    model, guide, x = PROGRAMS["sequence_with_masks"]()
    other = x.clone()
    other[1::2, 2:] = 100.0  # masked there
    torch.manual_seed(0)
    expected = log_weights(model, lambda _: guide(x), x, 9)
    torch.manual_seed(0)
    torch.testing.assert_close(log_weights(model, lambda _: guide(x), other, 9), expected)
    evidence = log_marginal(model, guide, x, num_samples=5, num_draws=0)
    found = diagnose(model, guide, x, evidence, num_samples=3, refinement_steps=0)
    assert "mutual_information" not in found.figures


def test_only_y_is_a_label():
    assert uses_labels(PROGRAMS["another_argument"]().model) == "no"
    assert uses_labels(PROGRAMS["module_as_a_program"]().model) == "always"
    assert uses_labels(PROGRAMS["plate_without_size"]().model) == "where known"
    with pytest.raises(InputError, match="needs 'scale' too"):
        uses_labels(lambda x, scale: None)
    for other in (lambda x, beta=1.0, y=None: None, lambda x, *, y=None: None):
        with pytest.raises(InputError, match="labels must be the second argument"):
            uses_labels(other)
    module = PROGRAMS["module_as_a_program"]().model
    for wrapped in (poutine.scale(module, scale=0.5), partial(module), poutine.mask(mask=True)(module)):
        assert uses_labels(wrapped) == "always"

    def annotated(x, condition: Annotated[Tensor, "labels"]):
        pass

    assert uses_labels(annotated) == "always"

    def elbo(labels):
        model, guide, x = PROGRAMS["another_argument"]()
        torch.manual_seed(0)
        return fit(model, guide, DataSet(x, labels), epochs=1, progress=False).epochs[-1].validation_elbo

    assert elbo(torch.arange(9)) == elbo(None)


def test_programs_that_do_not_broadcast_draw_one_sample_after_the_other():
    model, guide, x = PROGRAMS["subsampled_plate"]()
    with pytest.warns(UserWarning, match="IWAE draws its 5 samples one after the other, as with vectorize_particles"):
        fit(model, guide, DataSet(x), epochs=1, objective=IWAE, progress=False)
    assert log_weights(model, guide, x, num_samples=50).shape == (50, 9)  # of a plate of 20


def test_programs_that_broadcast_to_other_numbers_draw_one_sample_after_the_other():
    decoder, encoder = nn.Linear(2, 4), nn.Linear(4, 2)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z.softmax(1)), 0.1).to_event(1), obs=x)  # over the data, of (K, B, D)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    with pytest.warns(UserWarning, match="IWAE draws its 5 samples one after the other"):
        fit(model, guide, DataSet(torch.randn(30, 4)), epochs=1, objective=IWAE, compile="off", progress=False)


def test_doubles_stay_doubles():
    model, guide, x = PROGRAMS["double_precision"]()
    data = DataSet(x)
    seen = []

    def watching(x):
        seen.append(x)
        return model(x)

    fit(watching, guide, data, epochs=1, compile="off", progress=False)
    assert {part.dtype for part in seen} == {torch.float64}
    assert bool((seen[-1].unsqueeze(1) == x).all(-1).any(1).all())  # not rounded on the way
    assert data.train[:].dtype == torch.float32


def test_what_cannot_be_trained_is_said_before_training():
    model, guide, x = PROGRAMS["x_in_two_parts"]()

    def fixed(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def fixed_model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x[:, :2])

    def failing(x):
        assert x.shape[1] == 3

    def only_enumerated(x):
        """Take a class that is enumerated, and fail where it is sampled."""
        pyro.module("linear", nn.Linear(1, 1))
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
            assert y.dim() == 2
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1) + y, 1.0), obs=x[:, 0])

    def enumerating(x):
        pyro.module("linear", nn.Linear(1, 1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    for programs, words in (
        ((fixed_model, fixed), "register parameters to be trained"),
        ((model, AutoNormal(model)), "guide must be amortized, a function of x, but AutoNormal"),
        ((failing, guide), "cannot be run on data of shape .4,.: assert"),
        ((only_enumerated, enumerating), "cannot be run on data of shape .4,.: assert"),
    ):
        with pytest.raises(InputError, match=words):
            fit(*programs, DataSet(x), epochs=1, objective=TraceEnum_ELBO, progress=False)
