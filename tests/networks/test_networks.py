"""One contract for every network there is, found by its constructor, and what each of them computes."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import pyrovae.networks
from pyrovae import (
    MLP,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    GatedMLP,
    InputError,
    ResNetDecoder,
    ResNetEncoder,
    WithLinear,
)
from pyrovae.networks import NetworkFactory, ResidualBlock, init_output_bias, make_network, post_layers
from pyrovae.parsing import Parser

IMAGES = [(1, 9, 6), (3, 32, 32), (1, 28, 28)]
LAYERS = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
NORMALIZATIONS = [nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, partial(nn.GroupNorm, 2)]


def layers(module, kind):
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def takes_shapes(cls):
    names = list(inspect.signature(cls).parameters) if isinstance(cls, type) and issubclass(cls, nn.Module) else []
    return names[:2] == ["in_features", "out_features"]


NETWORKS = [cls for cls in map(vars(pyrovae.networks).get, pyrovae.networks.__all__) if takes_shapes(cls)]


def accepted(cls, *arguments, **options):
    try:
        cls(*arguments, **options)
    except InputError:
        return False
    return True


def ends(cls, image):
    """Return the shapes that a network maps between: it encodes images, or decodes to them, or both."""
    found = [pair for pair in ((image, 6), (6, image)) if accepted(cls, *pair)]
    assert found, f"{cls.__name__} takes no images"
    return found


def variants(cls, pair):
    """Yield each option that networks share, where the network has it, and each normalization that it takes."""
    names = inspect.signature(cls).parameters
    if "activation" in names:
        yield {"activation": nn.ELU}
    fitting = [{"normalization": norm} for norm in NORMALIZATIONS if accepted(cls, *pair, normalization=norm)]
    assert len(fitting) >= 2
    yield from fitting
    yield {"dropout": 0.5}


def cases(images, *, options):
    for cls in NETWORKS:
        for image in images:
            for pair in ends(cls, image):
                for chosen in [{}, *variants(cls, pair)] if options else [{}]:
                    text = [getattr(value, "__name__", "GroupNorm") for value in chosen.values() if value != 0.5]
                    name = "-".join([cls.__name__, *map(str, pair), *chosen, *text])
                    yield pytest.param(partial(cls, *pair, **chosen), *pair, id=name)


def shaped(shape):
    return (shape,) if isinstance(shape, int) else shape


@pytest.mark.parametrize(("make", "into", "out"), [*cases(IMAGES[:1], options=True), *cases(IMAGES[1:], options=False)])
class TestContract:
    def test_shapes_for_any_leading_dimensions(self, make, into, out):
        network = make().eval()
        for leading in ((), (4,), (1, 4), (2, 1, 3), (0,)):
            assert network(torch.rand(*leading, *shaped(into))).shape == (*leading, *shaped(out))

    def test_leading_dimensions_do_not_change_the_result(self, make, into, out):
        network = make().eval()
        x = torch.rand(2, 3, *shaped(into))
        every = network(x)
        torch.testing.assert_close(every[1], network(x[1]))
        torch.testing.assert_close(every[1, 2], network(x[1, 2]))
        expanded = x[:1].expand(5, *x.shape[1:])  # not contiguous, as chunks of samples are
        torch.testing.assert_close(network(expanded)[4], every[0])

    def test_training_takes_particles(self, make, into, out):
        network, x = make(), torch.rand(2, 3, *shaped(into))
        torch.manual_seed(1)
        every = network(x)
        torch.manual_seed(1)
        torch.testing.assert_close(every.flatten(0, 1), network(x.flatten(0, 1)))

    def test_gradients_reach_every_parameter(self, make, into, out):
        network = make().eval()  # the batch's statistics would take the biases before them away
        network(torch.randn(8, *shaped(into))).square().sum().backward()
        assert list(network.parameters())
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_dtype_and_device_follow(self, make, into, out):
        assert make().double()(torch.rand(4, *shaped(into), dtype=torch.float64)).dtype == torch.float64
        assert make().to("meta")(torch.rand(4, *shaped(into), device="meta")).device.type == "meta"

    def test_state_loads(self, make, into, out):
        first, second = make(), make()
        x = torch.rand(4, *shaped(into))
        first(x)  # moves the statistics of batches, where there are any
        second.load_state_dict(first.state_dict())
        assert torch.equal(first.eval()(x), second.eval()(x))

    @pytest.mark.slow
    def test_can_be_recorded(self, make, into, out):
        network = make().eval()
        recorded = make_fx(network)(torch.rand(4, *shaped(into)))
        x = torch.rand(4, *shaped(into))
        torch.testing.assert_close(recorded(x), network(x))

    def test_output_starts_where_it_should(self, make, into, out):
        network = make().eval()
        nn.init.zeros_(layers(network, LAYERS)[-1].weight)
        value = torch.rand(shaped(out))
        init_output_bias(network, value)
        expected = value
        if isinstance(network, ConvolutionalDecoder | ResNetDecoder):
            expected = value.mean((1, 2), keepdim=True).expand_as(value)  # one bias a channel
        torch.testing.assert_close(network(torch.rand(2, *shaped(into)))[1], expected)

    def test_is_what_conditionals_are_given(self, make, into, out):
        assert isinstance(make_network(partial(make.func, **make.keywords), into, out), make.func)


@pytest.mark.parametrize(("make", "into", "out"), list(cases(IMAGES[:1], options=False)))
class TestOptions:
    def test_activation(self, make, into, out):
        if "activation" not in inspect.signature(make.func).parameters:
            pytest.skip("the gate is its activation")
        network = make(activation=nn.ELU)
        assert not layers(network, nn.ReLU)
        assert len(layers(network, nn.ELU)) == len(layers(make(), nn.ReLU)) > 0

    @pytest.mark.parametrize("norm", NORMALIZATIONS)
    def test_normalization_comes_before_each_activation(self, make, into, out, norm):
        if not accepted(make.func, into, out, normalization=norm):
            pytest.skip("it is for the other kind of layers")
        modules = [m for m in make(normalization=norm).modules() if not list(m.children())]
        kind = type(norm(8))
        places = [i for i, m in enumerate(modules) if isinstance(m, kind)]
        assert places == [i - 1 for i, m in enumerate(modules) if isinstance(m, nn.ReLU | nn.GLU)] != []

    def test_dropout_is_for_training_only(self, make, into, out):
        plain, network = make(), make(dropout=0.5)
        network.load_state_dict(dict(zip(network.state_dict(), plain.state_dict().values(), strict=True)))
        assert not layers(plain, nn.Dropout | nn.Dropout2d)
        x = torch.rand(4, *shaped(into))
        assert not torch.equal(network(x), network(x))
        assert torch.equal(network.eval()(x), plain(x))

    def test_dropout_keeps_the_mean(self, make, into, out):
        """The mean over masks of a map that is linear in the dropped features is the map without dropout."""
        if make.func in (ResNetEncoder, ResNetDecoder):
            pytest.skip("not linear behind the dropped features")
        one = {"hidden_features": (50,)} if make.func in (MLP, GatedMLP) else {"channels": (20,)}
        network = make(dropout=0.3, **one)
        x = torch.rand(shaped(into)).expand(4000, *shaped(into))
        y = network(x)
        mean, error = y.mean(0), y.std(0) / len(y) ** 0.5
        assert ((mean - network.eval()(x[0])).abs() < 5 * error + 1e-6).all()

    def test_weight_decay_is_kept(self, make, into, out):
        assert make().weight_decay == 0
        assert make(weight_decay=1e-5).weight_decay == 1e-5

    @pytest.mark.parametrize(
        "options",
        [
            *({"dropout": value} for value in (1.0, -0.1, 2, float("nan"), True, "0.1")),
            *({"weight_decay": value} for value in (-1e-5, float("inf"), float("nan"), None)),
            *({"normalization": value} for value in (nn.GroupNorm, nn.Linear, nn.BatchNorm3d, dict, 3)),
        ],
    )
    def test_bad_options_are_named(self, make, into, out, options):
        with pytest.raises(InputError, match=f"^{next(iter(options))} must be .* but .* was given"):
            make(**options)

    @pytest.mark.parametrize("activation", [nn.Linear, nn.GLU, nn.Bilinear, dict])
    def test_bad_activation_is_named(self, make, into, out, activation):
        if "activation" not in inspect.signature(make.func).parameters:
            pytest.skip("the gate is its activation")
        with pytest.raises(InputError, match=f"^activation must be .* but {activation.__name__} was given"):
            make(activation=activation)


def test_every_network_is_found():
    assert {MLP, GatedMLP, ConvolutionalEncoder, ConvolutionalDecoder, ResNetEncoder, ResNetDecoder} <= set(NETWORKS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(6, 5, hidden_features=(8, 0)), "hidden_features must be an integer of at least 1, but 0"),
        (lambda: MLP(6, 5, normalization=nn.BatchNorm2d), "normalization must be .* but BatchNorm2d was given"),
        (lambda: MLP((2, 0), 5), "in_features must be a shape"),
        (lambda: MLP(6, "many"), "out_features must be a shape"),
        (lambda: GatedMLP(6, 5, hidden_features=(1.5,)), "hidden_features must be an integer"),
        (lambda: ConvolutionalEncoder((6,), 5), "in_features .* must have 3 dimensions"),
        (lambda: ConvolutionalDecoder(5, (6,)), "out_features .* must have 3 dimensions"),
        (lambda: ConvolutionalEncoder((1, 8, 8), 5, channels=(0,)), "channels must be an integer"),
        (lambda: ConvolutionalEncoder((1, 8, 8), 5, kernel_size=4), "kernel_size must be odd, but 4"),
        (lambda: ConvolutionalDecoder(5, (1, 8, 8), kernel_size=2), "kernel_size must be odd, but 2"),
        (lambda: ResNetEncoder((6,), 5), "in_features .* must have 3 dimensions"),
        (lambda: ResNetDecoder(5, (6,)), "out_features .* must have 3 dimensions"),
        (lambda: ResNetEncoder((1, 8, 8), 5, channels=(-1,)), "channels must be an integer"),
        (lambda: ResNetDecoder(5, (1, 8, 8), blocks_per_stage=0), "blocks_per_stage must be an integer"),
        # Where an image has as many columns as channels, it would run, and normalise the wrong dimension.
        (
            lambda: ConvolutionalEncoder((1, 32, 32), 5, channels=(16,), normalization=nn.LayerNorm),
            "normalization must be .* but LayerNorm was given",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()


def test_layers_keep_their_names():
    """Weights that were stored before there were options still load."""
    widths = {"hidden_features": (7, 7)}
    assert list(MLP(6, 5, **widths).state_dict()) == [f"layers.{i}.{n}" for i in (0, 2, 4) for n in ("weight", "bias")]
    for network in (ConvolutionalEncoder((1, 8, 8), 5), ConvolutionalDecoder(5, (1, 8, 8))):
        assert list(network.state_dict()) == [f"layers.{i}.{n}" for i in (0, 2, 4) for n in ("weight", "bias")]


def test_convolutional_pair_is_the_one_of_the_introduction():
    """Source C: 1 -> 16 -> 32 channels, 3x3, stride 2, padding 1, then 7x7 to 2x20, and the mirror image."""
    encoder, decoder = ConvolutionalEncoder((1, 28, 28), 40), ConvolutionalDecoder(20, (1, 28, 28))
    shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in layers(encoder, nn.Conv2d)]
    assert shapes == [
        (1, 16, (3, 3), (2, 2), (1, 1)),
        (16, 32, (3, 3), (2, 2), (1, 1)),
        (32, 40, (7, 7), (1, 1), (0, 0)),
    ]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in layers(decoder, nn.ConvTranspose2d)]
    assert shapes == [(20, 32, (7, 7), (1, 1)), (32, 16, (3, 3), (2, 2)), (16, 1, (3, 3), (2, 2))]
    assert len(layers(encoder, nn.ReLU)) == len(layers(decoder, nn.ReLU)) == 2


@pytest.mark.parametrize("pair", [(ConvolutionalEncoder, ConvolutionalDecoder), (ResNetEncoder, ResNetDecoder)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 28, 20), (3, 7, 9), (1, 8, 8), (2, 5, 1), (6, 32, 32)])
@pytest.mark.parametrize("channels", [(), (4,), (4, 8), (4, 8, 16)])
def test_image_shapes(pair, shape, channels):
    encoder, decoder = pair
    assert encoder(shape, (6,), channels)(torch.zeros(2, 3, *shape)).shape == (2, 3, 6)
    assert decoder((6,), shape, channels)(torch.zeros(2, 3, 6)).shape == (2, 3, *shape)
    assert encoder(shape, (2, 3), channels)(torch.zeros(3, *shape)).shape == (3, 2, 3)
    assert decoder((2, 3), shape, channels)(torch.zeros(3, 2, 3)).shape == (3, *shape)


def test_mlp_takes_and_gives_shapes():
    assert MLP((2, 3), (4, 5))(torch.zeros(7, 2, 3)).shape == (7, 4, 5)
    assert MLP(6, 5, hidden_features=())(torch.zeros(7, 6)).shape == (7, 5)


def test_mlp_of_source_a():
    """784-500-500-50, ELU, dropout that keeps 0.9, L2 1e-5."""
    network = MLP(784, 50, hidden_features=(500, 500), activation=nn.ELU, dropout=0.1, weight_decay=1e-5)
    assert [(c.in_features, c.out_features) for c in layers(network, nn.Linear)] == [(784, 500), (500, 500), (500, 50)]
    assert [type(layer) for layer in network.layers] == [*(nn.Linear, nn.ELU, nn.Dropout) * 2, nn.Linear]
    assert [layer.p for layer in layers(network, nn.Dropout)] == [0.1, 0.1]


def test_mlp_is_its_formula():
    network = MLP(6, 5, hidden_features=(8, 7), activation=nn.Tanh, normalization=nn.LayerNorm)
    h = x = torch.randn(3, 6)
    for linear in layers(network, nn.Linear)[:-1]:
        h = h @ linear.weight.T + linear.bias
        h = torch.tanh((h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(network(x), layers(network, nn.Linear)[-1](h))


@pytest.mark.parametrize(
    ("initialization", "variance"),
    [("torch", lambda n, m: 1 / (3 * n)), ("glorot", lambda n, m: 2 / (n + m)), ("he", lambda n, m: 2 / n)],
)
@pytest.mark.parametrize("make", [MLP, GatedMLP])
def test_weights_start_with_their_variance(make, initialization, variance):
    for linear in layers(make(300, 500, hidden_features=(400,), initialization=initialization), nn.Linear):
        m, n = linear.weight.shape
        assert linear.weight.var().item() == pytest.approx(variance(n, m), rel=0.03)
        assert linear.weight.mean().item() == pytest.approx(0, abs=0.005)


def test_gated_mlp_is_its_formula():
    network = GatedMLP(6, 5, hidden_features=(8, 7))
    h = x = torch.randn(3, 6)
    for linear in layers(network, nn.Linear)[:-1]:
        (W, V), (b, c) = linear.weight.chunk(2), linear.bias.chunk(2)
        h = (h @ W.T + b) * torch.sigmoid(h @ V.T + c)
    torch.testing.assert_close(network(x), layers(network, nn.Linear)[-1](h))


@pytest.mark.parametrize(("into", "out"), [(3, (2, 4)), ((1, 2, 2), 5)])
def test_with_linear_is_a_network_plus_a_linear_map(into, out):
    made = WithLinear(into, out, partial(MLP, hidden_features=(7,)))
    x = torch.randn(6, 2, *made.in_shape)
    flat = x.flatten(2) @ made.linear.weight.T + made.linear.bias
    assert torch.allclose(made(x), made.network(x) + flat.reshape(6, 2, *made.out_shape), atol=1e-5)
    target = torch.randn(made.out_shape)
    init_output_bias(made, target)
    for layer in (made.network.layers[-1].bias, made.network.layers[-1].weight):
        nn.init.zeros_(layer)
    assert torch.allclose(made(torch.zeros(made.in_shape)), target)


def test_residual_block_is_its_formula():
    block = ResidualBlock(2, nn.ReLU, nn.BatchNorm2d, 0.0)
    first, second = layers(block, nn.Conv2d)
    x = torch.randn(3, 2, 5, 4)

    def normalized(h):
        return (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    torch.testing.assert_close(block(x), x + second(normalized(first(normalized(x).relu())).relu()))


def test_residual_networks_have_their_blocks():
    for network in (ResNetEncoder((1, 28, 28), 40, (4, 8), 3), ResNetDecoder(40, (1, 28, 28), (8, 4), 3)):
        widths = [layers(block, nn.Conv2d)[0].in_channels for block in layers(network, ResidualBlock)]
        assert sorted(widths) == [4, 4, 4, 8, 8, 8]
    assert [layer.out_channels for layer in layers(network, nn.ConvTranspose2d)] == [8, 4, 1]


@pytest.mark.parametrize("make", [make for make in NETWORKS if accepted(make, (1, 28, 28), 40)])
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_encoders_start_small(make, depth):
    """A posterior's scale goes through an exponential or softplus: features of many units would start it far out."""
    names = inspect.signature(make).parameters
    deeper = {"hidden_features": (100,) * 5, "channels": (16, 32, 64), "blocks_per_stage": 4}
    options = {name: value for name, value in deeper.items() if name in names and depth == "deep"}
    y = make((1, 28, 28), 40, **options)((torch.rand(50, 1, 28, 28) < 0.13).float())
    assert 0.01 < y.std() < 0.3
    assert y.std(0).mean() > 1e-5


def test_dropout_of_images_takes_whole_channels():
    *_, dropout = post_layers(16, nn.ReLU, dropout=0.5, image=True)
    kept = dropout(torch.ones(8, 16, 3, 3)) != 0
    assert (kept.all((2, 3)) | ~kept.any((2, 3))).all()
    assert 0 < kept.sum() < kept.numel()


@pytest.mark.parametrize(
    ("arguments", "kind", "momentum"),
    [
        (["--network.normalization", "torch.nn.LayerNorm"], nn.LayerNorm, None),
        (["--network.normalization=torch.nn.BatchNorm1d", "--network.normalization.momentum=0.5"], nn.BatchNorm1d, 0.5),
    ],
)
def test_command_line_gives_a_normalization_and_its_options(arguments, kind, momentum):
    parser = Parser()
    parser.add_argument("--network", type=NetworkFactory, default=MLP)
    parsed = parser.parse_string(parser.dump(parser.parse_args(arguments)))  # as a configuration is stored and read
    network = make_network(parser.instantiate(parsed).network, 6, 5)
    assert [getattr(layer, "momentum", None) for layer in layers(network, kind)] == [momentum, momentum]
