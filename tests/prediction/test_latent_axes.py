"""Coordinates of codes, and the site whose codes are shown."""

import torch
from torch import nn

from pyrovae.prediction.latent_axes import narrowest_site, principal_directions, single_latents


def test_principal_directions_are_those_of_the_codes():
    long, short = torch.tensor([0.6, 0.8]), torch.tensor([0.8, -0.6])
    codes = torch.randn(2000, 1) * 3 * long + torch.randn(2000, 1) * short + 5.0
    axes = principal_directions(codes, 2)
    torch.testing.assert_close(axes.axes, torch.stack((long, short)), atol=0.05, rtol=0)
    assert axes.names[0] in [f"direction 1 ({share}%)" for share in (89, 90, 91)]
    torch.testing.assert_close(axes.codes(axes.coordinates(codes)), codes)


def test_there_are_as_many_directions_as_latents_for_one_datum_too():
    axes = principal_directions(torch.ones(1, 3), 2)
    assert axes.axes.shape == (2, 3)
    torch.testing.assert_close(axes.codes(torch.zeros(1, 2)), torch.ones(1, 3))


def test_latents_that_are_no_coordinates_stay_at_their_mean():
    codes = torch.randn(500, 4) + 7.0
    axes = single_latents(codes, (2, 0), "code")
    assert axes.names == ["code[2]", "code[0]"]
    z = axes.codes(torch.tensor([[1.0, 2.0]]))[0]
    expected = torch.stack((z.new_tensor(2.0), codes[:, 1].mean(), z.new_tensor(1.0), codes[:, 3].mean()))
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(axes.coordinates(codes), codes[:, [2, 0]])


def test_directions_stay_on_the_sphere():
    codes = nn.functional.normalize(torch.randn(100, 3), dim=-1)
    for axes in (single_latents(codes, (0, 1)), principal_directions(codes, 2)):
        assert axes.directions
        torch.testing.assert_close(axes.codes(torch.randn(5, 2)).norm(dim=-1), torch.ones(5))
    assert not single_latents(codes[:, :1], (0,)).directions
    assert not principal_directions(torch.randn(100, 3), 2).directions


def test_the_narrowest_site_of_real_numbers_is_shown():
    assert narrowest_site({"y": torch.eye(3)[:, :2], "z": torch.randn(3, 4)}) == "z"
    assert narrowest_site({"y": torch.arange(3)}) is None
