"""Labels: batches with and without them, data of which few are known, and programs that take them."""

from functools import partial

import pytest
import torch

from pyrovae import (
    MLP,
    Bernoulli,
    ConditionalVAE,
    DataSet,
    DiagonalNormal,
    Digits,
    InputError,
    PartlyLabelled,
    SemiSupervisedVAE,
    TraceEnum_ELBO,
    fit,
    log_marginal,
    log_weights,
)
from pyrovae.programs import arguments_of, uses_labels
from pyrovae.training.batching import batches, count_batches, labels_for

small = partial(MLP, hidden_features=(32,))
PARTS = {"likelihood": partial(Bernoulli, network=small), "posterior": partial(DiagonalNormal, network=small)}


def labelled_batches(split, shuffle=False):
    return [split.labelled(position) for position in split.positions(8, shuffle=shuffle, by_label=True)]


def test_labelled_batches_hold_each_image_once_with_its_own_label():
    labels = torch.arange(97) % 7
    labels[::5] = -1
    data = DataSet(torch.arange(97 * 4).reshape(97, 4).double(), labels, validation_size=1, test_size=1)
    seen = []
    for part in labelled_batches(data.train, shuffle=True):
        x = part[0]
        assert len(x) <= 8
        if len(part) == 2:
            assert (part[1] >= 0).all()
            assert torch.equal(part[1], labels[(x[:, 0] / 4).long()])
        else:
            assert (labels[(x[:, 0] / 4).long()] == -1).all()
        seen += x[:, 0].tolist()
    assert sorted(seen) == sorted(data.train.stored[:, 0].tolist())
    kinds = [len(part) for part in labelled_batches(data.train)]
    assert kinds != sorted(kinds)  # the rarer ones are spread among the others
    assert kinds != sorted(kinds, reverse=True)
    assert len(kinds) == count_batches("where known", data.train, 8)


def test_a_split_without_labels_has_only_batches_of_x():
    data = DataSet(torch.rand(50, 4))
    assert {len(part) for part in labelled_batches(data.train)} == {1}
    assert [len(part) for part in batches("no", data.train, 8)] == [1] * count_batches("no", data.train, 8)


def test_partly_labelled_data_keep_as_many_of_each_class_and_nothing_else_changes():
    whole, partly = Digits(), PartlyLabelled(Digits, num_labels=57)
    known = partly.train.labels[partly.train.labels >= 0]
    assert len(known) == 57
    assert set(known.bincount().tolist()) == {5, 6}
    assert torch.equal(known, whole.train.labels[partly.train.labels >= 0])
    assert torch.equal(partly.test.labels, whole.test.labels)
    assert torch.equal(partly.train.stored, whole.train.stored)
    assert torch.equal(PartlyLabelled(Digits, num_labels=57).train.labels, partly.train.labels)
    assert not torch.equal(PartlyLabelled(Digits, num_labels=57, seed=1).train.labels, partly.train.labels)
    assert repr(partly).startswith("PartlyLabelled(train=1437")
    PartlyLabelled(lambda: whole, num_labels=10)
    assert (whole.train.labels >= 0).all()


def test_partly_labelled_data_need_labels_and_enough_of_them():
    with pytest.raises(InputError, match="data must have labels, but DataSet has none"):
        PartlyLabelled(lambda: DataSet(torch.rand(50, 4)))
    with pytest.raises(InputError, match=r"num_labels .* and 5000 were given for 10 classes"):
        PartlyLabelled(Digits, num_labels=5000)


def test_what_programs_take_is_read_off_their_signature():
    conditional, semi = ConditionalVAE((4,), 2, **PARTS), SemiSupervisedVAE((4,), 2, **PARTS)
    assert uses_labels(conditional.model) == "always"
    assert uses_labels(semi.guide) == "where known"
    assert uses_labels(lambda x, *, option=1: None) == "no"
    with pytest.raises(InputError, match="model and guide must both take labels y, or neither"):
        labels_for(conditional.model, lambda x: None)


def test_programs_that_need_labels_say_that_the_data_have_none():
    program = ConditionalVAE((4,), 2, **PARTS)
    with pytest.raises(InputError, match="data must have the labels that the program needs, but some train data"):
        fit(program.model, program.guide, DataSet(torch.rand(50, 4).round()), epochs=1)


@pytest.mark.slow
def test_a_few_labels_teach_the_class():
    data = PartlyLabelled(Digits, num_labels=200)
    torch.manual_seed(0)
    program = SemiSupervisedVAE((1, 8, 8), 4, **PARTS, classifier=small)
    fit(
        program.model,
        program.guide,
        data,
        epochs=12,
        batch_size=50,
        objective=TraceEnum_ELBO,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        progress=False,
    )
    told = program.classify(data.test[:]).argmax(-1)
    assert (told == data.test.labels).double().mean() > 0.7


@pytest.mark.slow
def test_a_conditional_likelihood_is_higher_for_the_true_class():
    data = Digits()
    torch.manual_seed(0)
    program = ConditionalVAE((1, 8, 8), 3, **PARTS)
    options = {"batch_size": 50, "optimizer": partial(torch.optim.Adam, lr=4e-3), "progress": False}
    fit(program.model, program.guide, data, epochs=12, **options)
    x, y = data.test[:60], data.test.labels[:60]
    true = log_marginal(program.model, program.guide, (x, y), num_samples=100)
    other = log_marginal(program.model, program.guide, (x, (y + 1) % 10), num_samples=100)
    assert true.log_prob.mean() > other.log_prob.mean() + 1
    in_parts = log_marginal(program.model, program.guide, [(x[:30], y[:30]), (x[30:], y[30:])], num_samples=100)
    assert in_parts.log_prob.shape == (60,)
    assert in_parts.log_prob.mean().item() == pytest.approx(true.log_prob.mean().item(), abs=0.3)
    assert log_weights(program.model, program.guide, (x, y), num_samples=7).shape == (7, 60)


def test_x_and_y_hold_as_many_data():
    with pytest.raises(InputError, match="x and y must hold as many data each, but hold 3 and 2"):
        arguments_of((torch.zeros(3, 4), torch.zeros(2)))


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (torch.tensor([[0, 5], [3, 700]] * 10), "counts"),
        (torch.tensor([[0, -5], [3, 7]] * 10), "discrete"),
        (torch.tensor([[0, 1], [1, 0]] * 10), "binary"),
        (torch.tensor([[0, 5], [3, 200]] * 10, dtype=torch.uint8), "scaled"),
        (torch.tensor([[0.0, 5.0], [3.0, 7.0]] * 10), "counts"),
        (torch.tensor([[0.0, 5.0], [3.5, 7.0]] * 10), "discrete"),
        (torch.tensor([[0.0, 5.0], [3.14159, 7.0]] * 10), "real"),
    ],
)
def test_whole_numbers_from_zero_up_are_counts(images, kind):
    data = DataSet(images, test_size=2, validation_size=2)
    assert data.kind == kind
    assert (data.bits_per_dim(10.0) is None) == (kind == "real")
    if kind == "counts":
        assert torch.equal(data.train[:2], data.train.stored[:2].float())


@pytest.mark.slow
def test_an_unknown_class_may_be_sampled_instead_of_enumerated_without_a_warning():
    data = PartlyLabelled(Digits, num_labels=100)
    torch.manual_seed(0)
    program = SemiSupervisedVAE((1, 8, 8), 2, **PARTS, classifier=small)
    history = fit(program.model, program.guide, data, epochs=2, progress=False)
    assert len(history.epochs) == 2
