"""The programs: exact answers where models are linear and Gaussian, training, and what is refused."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.distributions import constraints

from pyrovae import (
    IWAE,
    MLP,
    MMD,
    Autoencoder,
    Bernoulli,
    ConditionalVAE,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DiagonalNormal,
    Digits,
    FreeBits,
    Gaussian,
    GaussianMixture,
    HierarchicalVAE,
    InputError,
    PointPosterior,
    Posterior,
    Prior,
    SemiSupervisedVAE,
    SphericalVAE,
    StandardNormal,
    VampPrior,
    VonMisesFisher,
    encode,
    fit,
    generate,
    log_marginal,
    log_weights,
    reconstruct,
)
from pyrovae.compilation import TrainingStep
from pyrovae.programs import private_modules
from pyrovae.vae import GaussianLayer

SHAPE, D, C = (1, 8, 8), 3, 10
small = partial(MLP, hidden_features=(32,))
linear = partial(MLP, hidden_features=())
bernoulli, normal = partial(Bernoulli, network=small), partial(DiagonalNormal, network=small)
parts = {"likelihood": bernoulli, "posterior": normal}
layers = {"layer": partial(GaussianLayer, network=small), "layer_posterior": normal}
enumerated = partial(TraceEnum_ELBO, max_plate_nesting=1, strict_enumeration_warning=False)

ALONE = {  # those that are called with x alone and have a likelihood
    "bottom-up": partial(HierarchicalVAE, dims=(5,), **parts, **layers),
    "ladder": partial(HierarchicalVAE, dims=(5,), inference="ladder", **parts, **layers),
    "three layers": partial(HierarchicalVAE, dims=(6, 5), **parts, **layers),
    "ladder of three": partial(HierarchicalVAE, dims=(6, 5), inference="ladder", **parts, **layers),
    "semi-supervised": partial(SemiSupervisedVAE, classifier=small, **parts),
    "spherical": partial(SphericalVAE, likelihood=bernoulli, posterior=partial(VonMisesFisher, network=small)),
}
DETERMINISTIC = {
    "autoencoder": partial(Autoencoder, likelihood=bernoulli, encoder=small),
    "regularised autoencoder": partial(Autoencoder, likelihood=bernoulli, encoder=small, z_penalty=0.1),
}


@pytest.fixture(scope="module")
def data():
    return Digits()


@pytest.fixture
def surroundings():
    with private_modules(), pyro.validation_enabled(False):  # as in fit
        yield


def set_linear(network, weight, bias):
    """Let a linear network compute ``weight @ x + bias``."""
    with torch.no_grad():
        network.layers[-1].weight.copy_(weight)
        network.layers[-1].bias.copy_(bias)


def set_normal(posterior, weight, bias, scale):
    """Let a linear posterior be the normal of mean ``weight @ x + bias`` and the given scale."""
    raw = posterior.positive.inverse(torch.as_tensor(scale, dtype=torch.float64)).expand(len(bias))
    set_linear(posterior.network, torch.cat((weight, torch.zeros_like(weight))), torch.cat((bias, raw)))


class TestAlone:
    @pytest.mark.slow
    @pytest.mark.parametrize("make", ALONE.values(), ids=ALONE)
    def test_trains_evaluates_and_predicts(self, make, data):
        vae = make(SHAPE, D)
        options = {"objective": enumerated} if isinstance(vae, SemiSupervisedVAE) else {}
        history = fit(vae.model, vae.guide, data, epochs=4, batch_size=64, compile="off", progress=False, **options)
        assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo + 3
        x = data.test[:10]
        ml = log_marginal(vae.model, vae.guide, x, num_samples=200)
        assert ml.log_prob.isfinite().all()
        assert (ml.log_prob > ml.elbo).all()
        assert -ml.nll > history.epochs[-1].validation_elbo - 3
        codes = encode(vae.guide, x)
        assert all(len(code) == 10 and code.isfinite().all() for code in codes.values())
        assert F.mse_loss(reconstruct(vae.model, vae.guide, x), x) < 0.2  # 0.25 for coins
        assert generate(vae.model, 7, x, noise=True).shape == (7, *SHAPE)

    @pytest.mark.slow
    @pytest.mark.parametrize("make", ALONE.values(), ids=ALONE)
    def test_weights_do_not_depend_on_how_samples_are_laid_out(self, make, data):
        vae = make(SHAPE, D)
        x = data.test[:4]
        means = []
        for repeat in (False, True):
            torch.manual_seed(0)
            xs = x.repeat(300, 1, 1, 1) if repeat else x
            lw = log_weights(vae.model, vae.guide, xs, num_samples=1 if repeat else 300)
            means.append(lw.reshape(300, 4))
        error = (means[0].std(0) + means[1].std(0)) / math.sqrt(300)
        assert ((means[0].mean(0) - means[1].mean(0)).abs() < 4 * error).all()


def recorded(model, guide, modules, x):
    """Compare the gradients of recorded steps with those of Pyro, from the same noise."""
    found = {}
    for compile in ("off", "graph"):
        step = TrainingStep(Trace_ELBO(), compile, modules)
        found[compile] = []
        for i in range(4):
            torch.manual_seed(i)
            step.loss_and_grads(model, guide, x)
            for module in modules:
                found[compile].append({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
                module.zero_grad()
    assert step.compile == "graph"
    assert len(step._graphs) == 1
    for expected, grads in zip(found["off"], found["graph"], strict=True):
        assert expected.keys() == grads.keys()
        assert all(torch.equal(expected[name], grads[name]) for name in expected)


@pytest.mark.usefixtures("surroundings")
@pytest.mark.filterwarnings("ignore:y:UserWarning")  # Pyro's hint that the class could be enumerated
class TestRecording:
    @pytest.mark.slow
    @pytest.mark.parametrize("make", (ALONE | DETERMINISTIC).values(), ids=ALONE | DETERMINISTIC)
    def test_steps_without_labels(self, make, data):
        vae = make(SHAPE, D)
        recorded(vae.model, vae.guide, [vae], data.train[:16])

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [ConditionalVAE, SemiSupervisedVAE])
    def test_steps_with_labels(self, kind, data):
        vae = kind(SHAPE, D, **parts)
        y = data.train.labels[:16]
        recorded(partial(vae.model, y=y), partial(vae.guide, y=y), [vae], data.train[:16])


class TestHierarchical:
    """Two layers of two independent columns each: z2 ~ N(0, 1), z1 ~ N(a z2, s²), x ~ N(w z1 + b, t²)."""

    a, w, b = (torch.tensor(v, dtype=torch.float64) for v in ([0.7, -1.3], [1.5, 0.4], [0.3, -2.0]))
    s, t = 0.6, 0.8
    zero = torch.zeros(2, dtype=torch.float64)

    def make(self, inference):
        vae = HierarchicalVAE(
            (2,),
            2,
            dims=(2,),
            likelihood=partial(Gaussian, network=linear, scale="fixed", initial_scale=self.t),
            posterior=partial(DiagonalNormal, network=linear),
            layer=partial(GaussianLayer, network=linear, initial_scale=self.s),
            layer_posterior=partial(DiagonalNormal, network=linear),
            inference=inference,
        ).double()
        a, w = self.a, self.w
        set_linear(vae.likelihood.network, w.diag(), self.b)
        vae.layers[0].raw_scale.copy_(vae.layers[0].positive.inverse(torch.tensor(self.s, dtype=torch.float64)))
        vae.likelihood.raw_scale.copy_(vae.likelihood.positive.inverse(torch.tensor(self.t, dtype=torch.float64)))
        set_linear(vae.layers[0].network, torch.cat((a.diag(), 0 * a.diag())), torch.zeros(4, dtype=torch.float64))
        if inference == "bottom_up":
            precision = w**2 / self.t**2 + 1 / (a**2 + self.s**2)
            slope = w / self.t**2 / precision
            set_normal(vae.posteriors[0], slope.diag(), -slope * self.b, precision.rsqrt())
            precision = 1 + a**2 / self.s**2
            set_normal(vae.posteriors[1], (a / self.s**2 / precision).diag(), self.zero, precision.rsqrt())
        else:
            set_normal(vae.posteriors[0], (1 / w).diag(), -self.b / w, self.t / w)
            noise = self.s**2 + self.t**2 / w**2  # of what the lower layer says about z2
            precision = 1 + a**2 / noise
            set_normal(vae.posteriors[1], (a / noise / precision).diag(), self.zero, precision.rsqrt())
        return vae

    @pytest.mark.parametrize("inference", ["bottom_up", "ladder"])
    def test_every_weight_is_the_exact_likelihood_under_the_exact_posterior(self, inference):
        vae = self.make(inference)
        x = torch.randn(5, 2, dtype=torch.float64)
        variance = self.w**2 * (self.a**2 + self.s**2) + self.t**2
        exact = dist.Normal(self.b, variance.sqrt()).to_event(1).log_prob(x)
        torch.testing.assert_close(log_weights(vae.model, vae.guide, x, num_samples=50), exact.expand(50, 5))

    def test_a_wrong_guide_is_weighed_right(self):
        vae = self.make("bottom_up")
        set_normal(vae.posteriors[1], torch.zeros(2, 2, dtype=torch.float64), self.zero, 1.2)
        x = torch.randn(5, 2, dtype=torch.float64)
        variance = self.w**2 * (self.a**2 + self.s**2) + self.t**2
        exact = dist.Normal(self.b, variance.sqrt()).to_event(1).log_prob(x)
        ml = log_marginal(vae.model, vae.guide, x, num_samples=5000)
        assert (ml.elbo < exact - 0.1).all()
        assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error).all()

    def test_the_ladder_multiplies_the_normals(self):
        vae = ALONE["ladder of three"](SHAPE, D)
        x = torch.rand(4, *SHAPE)
        trace = pyro.poutine.trace(vae.guide).get_trace(x)
        with torch.no_grad():
            for i, z_above in ((1, "z2"), (2, "z3")):
                upward = vae.posteriors[0](x)
                for posterior in vae.posteriors[1:i]:
                    upward = posterior(upward.mean)
                downward = vae.layers[i - 1](trace.nodes[z_above]["value"])
                z = torch.randn(20, 4, vae.dims[i - 1])
                ratio = upward.log_prob(z) + downward.log_prob(z) - trace.nodes[f"z{i}"]["fn"].log_prob(z)
                torch.testing.assert_close(ratio, ratio[:1].expand(20, 4), rtol=1e-4, atol=1e-4)
        pyro.clear_param_store()

    def test_images_may_be_encoded_by_convolutions_and_codes_by_layers(self, data):
        vae = HierarchicalVAE(
            SHAPE,
            D,
            dims=(5,),
            likelihood=partial(Bernoulli, network=ConvolutionalDecoder),
            posterior=partial(DiagonalNormal, network=ConvolutionalEncoder),
            **layers,
        )
        assert log_weights(vae.model, vae.guide, data.test[:3], num_samples=4).isfinite().all()

    def test_a_layer_starts_at_unit_scale(self):
        layer = GaussianLayer((4,), 3, linear)
        nn.init.zeros_(layer.network.layers[-1].weight)
        nn.init.zeros_(layer.network.layers[-1].bias)
        torch.testing.assert_close(layer(torch.randn(2, 3)).stddev, torch.ones(2, 4))


class Lines:
    """x ~ N(w z + V[y], t²) in two independent columns, with z ~ N(0, 1): all that is asked of it is in closed form."""

    w, t = torch.tensor([1.5, -0.4], dtype=torch.float64), 0.7
    V = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-1.0, -1.5]], dtype=torch.float64)  # (C, 2)

    def __init__(self, kind, **options):
        self.vae = vae = kind(
            (2,),
            2,
            num_classes=3,
            likelihood=partial(Gaussian, network=linear, scale="fixed"),
            posterior=partial(DiagonalNormal, network=linear),
            **options,
        ).double()
        vae.likelihood.raw_scale.copy_(vae.likelihood.positive.inverse(torch.tensor(self.t, dtype=torch.float64)))
        zero = torch.zeros(2, dtype=torch.float64)
        set_linear(vae.likelihood.network, torch.cat((self.w.diag(), self.V.T), 1), zero)
        precision = 1 + self.w**2 / self.t**2
        slope = (self.w / self.t**2 / precision).diag()
        set_normal(vae.posterior, torch.cat((slope, -slope @ self.V.T), 1), zero, precision.rsqrt())
        self.variance = self.w**2 + self.t**2
        self.x = torch.randn(6, 2, dtype=torch.float64)
        self.y = torch.tensor([0, 1, 2, 2, 1, 0])

    def log_prob(self, x):
        """log p(x|y) for each class, (B, C)."""
        return dist.Normal(self.V, self.variance.sqrt()).to_event(1).log_prob(x[:, None])


class TestConditional:
    def test_every_weight_is_the_exact_likelihood_under_the_exact_posterior(self):
        lines = Lines(ConditionalVAE)
        exact = lines.log_prob(lines.x).gather(1, lines.y[:, None])[:, 0]
        weights = log_weights(lines.vae.model, lines.vae.guide, (lines.x, lines.y), num_samples=50)
        torch.testing.assert_close(weights, exact.expand(50, 6))

    @pytest.mark.slow
    @pytest.mark.parametrize("convolutional", [False, True])
    def test_trains_and_generates_what_the_label_says(self, convolutional, data):
        networks = (ConvolutionalDecoder, ConvolutionalEncoder) if convolutional else (small, small)
        vae = ConditionalVAE(
            SHAPE, D, likelihood=partial(Bernoulli, network=networks[0]), posterior=partial(normal, network=networks[1])
        )
        vae.initialize(data.train[:200])
        options = {"optimizer": partial(torch.optim.Adam, lr=5e-3), "compile": "off", "progress": False}
        history = fit(vae.model, vae.guide, data, epochs=8, batch_size=64, **options)
        assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo + 1
        batch = data.test[:], data.test.labels
        ml = log_marginal(vae.model, vae.guide, batch, num_samples=20)
        assert ml.log_prob.isfinite().all()
        assert -ml.nll > history.epochs[-1].validation_elbo - 2
        assert reconstruct(vae.model, vae.guide, batch).shape == batch[0].shape
        new = generate(vae.model, 200, (batch[0], torch.arange(10))).unflatten(0, (20, 10)).mean(0)  # (10, *SHAPE)
        means = torch.stack([data.train[:][data.train.labels == c].mean(0) for c in range(10)])
        nearest = torch.cdist(new.flatten(1), means.flatten(1)).argmin(1)
        assert (nearest == torch.arange(10)).sum() >= 9


def train(vae, batches, elbo, steps):
    """Take steps on random 100 data of each part, (x, y) or (x,), by hand; return the losses."""
    losses = []
    with private_modules():
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 3e-3}), elbo)
        for _ in range(steps):
            loss = 0.0
            for part in batches:
                chosen = torch.randperm(len(part[0]))[:100]
                loss += svi.step(*(tensor[chosen] for tensor in part)) / len(chosen)
            losses.append(loss)
    return losses


class TestSemiSupervised:
    def exact(self, **options):
        """Return lines whose classifier is exact too: the classes' log-odds are linear in x."""
        lines = Lines(SemiSupervisedVAE, classifier=linear, **options)
        scaled = lines.V / lines.variance
        set_linear(lines.vae.classifier, scaled, -0.5 * (scaled * lines.V).sum(1))
        return lines

    def test_the_classifier_is_the_posterior(self):
        lines = self.exact()
        torch.testing.assert_close(lines.vae.classify(lines.x), lines.log_prob(lines.x).softmax(1))

    def test_every_weight_is_the_exact_likelihood_under_the_exact_posterior(self):
        lines = self.exact()
        exact = lines.log_prob(lines.x).logsumexp(1) - math.log(3)
        weights = log_weights(lines.vae.model, lines.vae.guide, lines.x, num_samples=50)
        torch.testing.assert_close(weights, exact.expand(50, 6))

    def test_in_evaluation_labels_give_the_exact_joint_likelihood(self):
        lines = self.exact()
        exact = lines.log_prob(lines.x).gather(1, lines.y[:, None])[:, 0] - math.log(3)
        weights = log_weights(lines.vae.model, lines.vae.guide, (lines.x, lines.y), num_samples=50)
        torch.testing.assert_close(weights, exact.expand(50, 6))

    @pytest.mark.usefixtures("surroundings")
    def test_training_adds_the_classifiers_log_likelihood_to_labelled_data(self):
        lines = self.exact(classification_weight=7.0)
        labels = lines.y[:, None]
        loss = Trace_ELBO().loss(lines.vae.model, lines.vae.guide, lines.x, lines.y)
        exact = lines.log_prob(lines.x).gather(1, labels) - math.log(3)
        extra = 7.0 * lines.vae.classify(lines.x).log().gather(1, labels)
        assert loss == pytest.approx(-(exact + extra).sum().item())

    @pytest.mark.usefixtures("surroundings")
    @pytest.mark.parametrize("shape", [(5,), (2, 3, 3)])
    def test_enumeration_is_the_sum_over_the_classes(self, shape):
        vae = SemiSupervisedVAE(shape, D, num_classes=4, classifier=small, **parts)
        x = (torch.rand(6, *shape) < 0.5).float()
        torch.manual_seed(3)
        loss = enumerated().loss(vae.model, vae.guide, x)
        torch.manual_seed(3)
        eps = torch.randn(4, 6, D)
        rows, total = torch.eye(4), 0.0
        for c in range(4):
            planes = rows[c].reshape(4, *(1 for _ in shape[1:])).expand(6, 4, *shape[1:])
            q = vae.posterior(torch.cat((x, planes), 1))
            z = q.base_dist.loc + q.base_dist.scale * eps[c]
            p = vae.likelihood(torch.cat((z, rows[c].expand(6, 4)), 1))
            bound = p.log_prob(x) + vae.prior().log_prob(z) - q.log_prob(z) - math.log(4)
            weight = vae.classify(x)[:, c]
            total = total + (weight * (bound - weight.log())).sum()
        assert loss == pytest.approx(-total.item(), rel=1e-4)

    @pytest.mark.slow
    def test_a_hundred_labels_go_far(self, data):
        x, labels = data.train[:], data.train.labels
        few = torch.cat([(labels == c).nonzero()[:10, 0] for c in range(10)])
        vae = SemiSupervisedVAE(SHAPE, 5, classifier=small, **parts)
        losses = train(vae, [(x,), (x[few], labels[few])], enumerated(), steps=150)
        assert sum(losses[-10:]) < sum(losses[:10])
        predicted = vae.classify(data.test[:]).argmax(1)
        assert (predicted == data.test.labels).float().mean() > 0.6
        new = generate(vae.model, 200, (x, torch.arange(10)))
        assert (vae.classify(new).argmax(1) == torch.arange(200) % 10).float().mean() > 0.9
        assert torch.equal(encode(vae.guide, x[:50])["y"].argmax(1), vae.classify(x[:50]).argmax(1))


class TestSpherical:
    def test_codes_are_directions(self, data):
        vae = ALONE["spherical"](SHAPE, D)
        x = data.test[:5]
        torch.testing.assert_close(encode(vae.guide, x)["z"].norm(dim=-1), torch.ones(5))
        torch.testing.assert_close(vae.prior().log_prob(vae.guide(x)), torch.full((5,), -math.log(4 * math.pi)))
        pyro.clear_param_store()


class TestAutoencoder:
    @pytest.mark.usefixtures("surroundings")
    @pytest.mark.parametrize("z_penalty", [0.0, 1.0, 0.3])
    def test_the_loss_is_cross_entropy_plus_the_squared_norm_of_the_code(self, z_penalty, data):
        vae = Autoencoder(SHAPE, D, z_penalty=z_penalty)
        x = data.train[:20]
        z = vae.posterior.network(x)
        expected = F.binary_cross_entropy_with_logits(vae.likelihood.network(z), x, reduction="sum")
        expected = expected + z_penalty * (0.5 * z.square() + 0.5 * math.log(2 * math.pi)).sum()
        for _ in range(2):
            assert Trace_ELBO().loss(vae.model, vae.guide, x) == pytest.approx(expected.item(), rel=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("make", DETERMINISTIC.values(), ids=DETERMINISTIC)
    def test_trains_and_predicts(self, make, data):
        vae = make(SHAPE, D)
        vae.initialize(data.train[:200])
        options = {"optimizer": partial(torch.optim.Adam, lr=5e-3), "compile": "off", "progress": False}
        history = fit(vae.model, vae.guide, data, epochs=6, batch_size=64, **options)
        assert history.epochs[-1].validation_reconstruction > history.epochs[0].validation_reconstruction + 3
        x = data.test[:10]
        codes = encode(vae.guide, x)["z"]
        torch.testing.assert_close(codes, vae.posterior.network(x).detach())
        assert F.mse_loss(reconstruct(vae.model, vae.guide, x), x) < 0.18  # 0.25 for coins
        assert generate(vae.model, 7, x).shape == (7, *SHAPE)

    @pytest.mark.usefixtures("surroundings")
    def test_only_a_penalty_trains_the_prior(self, data):
        for z_penalty in (0.0, 0.5):
            vae = Autoencoder(SHAPE, D, prior=GaussianMixture, encoder=small, z_penalty=z_penalty)
            Trace_ELBO().loss_and_grads(vae.model, vae.guide, data.train[:20])
            moved = any(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.prior.parameters())
            assert moved == (z_penalty > 0)
            pyro.clear_param_store()


def subclasses(base):
    found = [kind for kind in base.__subclasses__() if kind.__module__.startswith("pyrovae.")]
    return found + [below for kind in found for below in subclasses(kind)]


def composed(**conditionals):
    """Make a program of each kind with the same conditionals, and what it is called with."""
    x, y = torch.rand(6, 5).round(), torch.tensor([0, 1, 2, 0, 1, 2])
    upper = {"layer_posterior": conditionals.get("posterior", normal), "layer": layers["layer"]}
    yield HierarchicalVAE((5,), 2, dims=(3,), **{**parts, **conditionals}, **upper), (x,)
    yield ConditionalVAE((5,), 2, num_classes=3, **{**parts, **conditionals}), (x, y)
    yield SemiSupervisedVAE((5,), 2, num_classes=3, **{**parts, **conditionals}), (x,)


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("prior", [kind for kind in subclasses(Prior) if kind.support is constraints.real_vector])
def test_any_prior_over_vectors_goes_with_any_program(prior):
    for vae, arguments in composed(prior=prior):
        vae.initialize(arguments[0])
        assert math.isfinite(Trace_ELBO().loss_and_grads(vae.model, vae.guide, *arguments))
        assert any(p.grad is not None for p in vae.prior.parameters()) == any(True for _ in vae.prior.parameters())
        assert generate(vae.model, 3, arguments).shape == (3, 5)
        pyro.clear_param_store()


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("kind", [kind for kind in subclasses(Posterior) if kind.support is constraints.real_vector])
def test_any_posterior_over_vectors_goes_with_any_program(kind):
    for vae, arguments in composed(posterior=partial(kind, network=small)):
        assert math.isfinite(Trace_ELBO().loss_and_grads(vae.model, vae.guide, *arguments))
        if kind is not PointPosterior:  # which has no weights
            assert log_weights(vae.model, vae.guide, arguments, num_samples=3).isfinite().all()
        pyro.clear_param_store()


class Odd(Posterior):
    """A normal with a full covariance, which a ladder cannot multiply by another."""

    def forward(self, x):
        return dist.MultivariateNormal(x.flatten(-len(self.data_shape))[..., : self.latent_dim], torch.eye(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(HierarchicalVAE, dims=()), r"^dims must be a shape of positive integers"),
        (partial(HierarchicalVAE, dims=(5, 0)), r"^dims must be a shape of positive integers.*\(5, 0\)"),
        (
            partial(HierarchicalVAE, inference="top_down"),
            r"^inference must be one of bottom_up, ladder, but 'top_down'",
        ),
        (
            partial(HierarchicalVAE, layer=Bernoulli),
            r"^layer and posterior must have one support.*Bernoulli is \[0, 1\]",
        ),
        (partial(ConditionalVAE, num_classes=0), r"^num_classes must be an integer of at least 1, but 0"),
        (partial(SemiSupervisedVAE, num_classes=2.0), r"^num_classes must be an integer of at least 1, but 2.0"),
        (partial(SemiSupervisedVAE, classification_weight=-1.0), r"^classification_weight must be a finite number"),
        (
            partial(SphericalVAE, posterior=DiagonalNormal),
            r"^prior and posterior must have one support.*SphericalUniform",
        ),
        (partial(Autoencoder, prior=VampPrior), r"^posterior must .* but PointPosterior"),
        (partial(Autoencoder, z_penalty=-0.1), r"^z_penalty must be a finite number of at least 0, but -0.1"),
        (partial(SemiSupervisedVAE, classifier=nn.Linear), r"^network must be a class that takes the shapes"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(make, message):
    with pytest.raises(InputError, match=message):
        make((5,), 2)


def test_a_ladder_refuses_what_is_not_normal():
    vae = HierarchicalVAE((5,), 2, dims=(3,), layer_posterior=Odd, inference="ladder")
    with pytest.raises(InputError, match=r"^inference=ladder .* but Odd gives a MultivariateNormal"):
        log_weights(vae.model, vae.guide, torch.rand(4, 5))


@pytest.mark.parametrize("kind", [ConditionalVAE, SemiSupervisedVAE])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3], r"^y must hold classes from 0 to 2 \(num_classes is 3\), but holds 0 to 3"),
        ([0, -1, 2], r"^y must hold classes from 0 to 2"),
        ([0, 1], r"^y must hold one integer for each of the 3 data, but has shape \(2,\)"),
        ([0.0, 1.0, 2.0], r"^y must hold one integer .* type torch.float32"),
    ],
)
def test_bad_labels_are_refused_in_one_sentence(kind, y, message):
    vae = kind((5,), 2, num_classes=3)
    for program in (vae.model, vae.guide):
        with pytest.raises(InputError, match=message), pyro.validation_enabled(True):
            program(torch.rand(3, 5), torch.tensor(y))
    pyro.clear_param_store()


@pytest.mark.usefixtures("surroundings")
def test_a_label_that_is_no_class_is_never_taken_for_another():
    vae = ConditionalVAE((5,), 2, num_classes=3)
    with pytest.raises(IndexError):
        vae.model(torch.rand(3, 5), torch.tensor([0, -1, 2]))


def test_the_prior_that_learns_of_its_posterior_is_told(data):
    class Told(StandardNormal):
        def connect(self, posterior):
            self.data_shape = posterior.data_shape

        def initialize(self, x):
            self.given = x.shape[1:]

    for vae, shape in (
        (HierarchicalVAE(SHAPE, D, dims=(7, 4), prior=Told, **layers), (4,)),
        (ConditionalVAE(SHAPE, D, prior=Told), (11, 8, 8)),
        (SemiSupervisedVAE((5, 3), D, num_classes=2, prior=Told), (7, 3)),
    ):
        assert vae.prior.data_shape == shape
        x = data.train[:20] if vae.likelihood.data_shape == SHAPE else torch.rand(20, 5, 3)
        vae.initialize(x)
        assert vae.prior.given == shape


@pytest.mark.parametrize(
    "objective", [TraceMeanField_ELBO, FreeBits, IWAE, partial(MMD, 0.0, 1.0), partial(FreeBits, 0.0)]
)
@pytest.mark.parametrize("z_penalty", [0.0, 0.1])
def test_every_objective_counts_the_penalty_of_a_code_as_much_as_it_should(objective, z_penalty):
    torch.manual_seed(0)
    program = Autoencoder((4,), 2, z_penalty=z_penalty)
    x = torch.rand(5, 4).round()
    z = program.posterior(x).mean
    with private_modules():
        found = objective().loss(program.model, program.guide, x)
    reconstruction = program.likelihood(z).log_prob(x).sum()
    penalty = -z_penalty * StandardNormal(2)().log_prob(z).sum()
    if objective is FreeBits:
        penalty = max(penalty, torch.tensor(5 * 2 * 0.1 * (z_penalty or 1.0)))
    assert found == pytest.approx((penalty - reconstruction).item(), rel=1e-4)
