"""Sentences of a history on its curves: each fault is made and found, and healthy curves of ten seeds get none."""

import dataclasses
import math

import pytest
import torch

from pyrovae.training import History
from pyrovae.training.health_notes import HealthNotes
from pyrovae.training.history import Epoch


def curves(seed=0, count=60, noise=0.05):
    """Return epochs that come to rest at -20 nats by a KL of 4, with noise."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for epoch in range(1, count + 1):
        shaken = noise * torch.randn(2, generator=generator)
        train, validation = (-20 - 10 * math.exp(-epoch / 5) + float(part) for part in shaken)
        rows.append(Epoch(epoch, train, train + 4, 4.0, validation - 0.5, validation + 3.5, 4.0, 0.1, 1e-3))
    return rows


def changed(rows, **columns):
    return [dataclasses.replace(row, **{name: change(row) for name, change in columns.items()}) for row in rows]


@pytest.mark.parametrize("seed", range(10))
def test_healthy_curves_say_nothing(seed):
    assert History(curves(seed)).health() == []
    assert History(curves(seed)[:1]).health() == []
    assert History([]).health() == []


def test_a_collapse_is_told():
    dead = changed(curves(), validation_kl=lambda row: 0.03, train_kl=lambda row: 0.02)
    (sentence,) = History(dead).health()
    assert sentence.startswith("The posterior has collapsed: the KL on validation data is 0.03 nats per datum")


def test_a_deterministic_encoder_has_not_collapsed():
    assert History(changed(curves(), validation_kl=lambda row: 0.0, train_kl=lambda row: 0.0)).health() == []


def test_overfitting_is_told_with_the_epoch():
    worse = changed(
        curves(noise=0.0),
        train_elbo=lambda row: row.train_elbo + 0.1 * max(0, row.epoch - 20),
        validation_elbo=lambda row: row.validation_elbo - 0.1 * max(0, row.epoch - 20),
    )
    (sentence,) = History(worse).health()
    assert "overfits: since epoch 2" in sentence
    assert "the validation ELBO fell by" in sentence


def test_one_poor_validation_is_no_overfitting():
    noisy = changed(curves(noise=0.0), validation_elbo=lambda row: row.validation_elbo - 5.0 * (row.epoch == 60))
    noisy = changed(noisy, train_elbo=lambda row: row.train_elbo + 0.01 * row.epoch)
    assert "overfitting" not in History(noisy).findings()


def test_what_is_wrong_is_told_once_while_training_goes_on(capsys):
    """Three epochs without a KL are told after the warm-up, and not before; overfitting later on."""
    dead = changed(curves(noise=0.0), validation_kl=lambda row: 0.03 if row.epoch < 20 else 4.0)
    dead = changed(dead, validation_elbo=lambda row: row.validation_elbo - 0.1 * max(0, row.epoch - 30))
    dead = changed(dead, train_elbo=lambda row: row.train_elbo + 0.1 * max(0, row.epoch - 30))
    notes, hidden = HealthNotes(5, hidden=False), HealthNotes(5, hidden=True)
    said = {}
    for count in range(1, len(dead) + 1):
        notes.epoch(dead[:count])
        if told := capsys.readouterr().err:
            said[count] = told
        hidden.epoch(dead[:count])
    assert capsys.readouterr() == ("", "")
    first, second = said.values()
    assert next(iter(said)) == 8
    assert first.startswith("The posterior is collapsed at epoch 8: the KL on validation data was at most 0.03 nats")
    assert second.startswith("The model overfits: since epoch ")


def test_a_climb_is_told():
    rising = changed(curves(), validation_elbo=lambda row: -40 + 0.2 * row.epoch)
    (sentence,) = History(rising).health()
    assert sentence.startswith("The validation ELBO still climbs, by 1.20 nats per datum over the last 6 epochs")


def test_spikes_are_told():
    spiked = changed(curves(), train_elbo=lambda row: row.train_elbo - 15 * (row.epoch in (30, 45)))
    (sentence,) = History(spiked).health()
    assert "dropped suddenly 2 times" in sentence
    assert "max_norm" in sentence
