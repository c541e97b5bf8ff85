"""Programs that owe nothing to pyrovae: the VAE of Pyro's tutorial, and one of two latent sites."""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import nn


class Decoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(z_dim, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, 64)
        self.softplus = nn.Softplus()
        self.sigmoid = nn.Sigmoid()

    def forward(self, z):
        return self.sigmoid(self.fc21(self.softplus(self.fc1(z))))


class Encoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, z_dim)
        self.fc22 = nn.Linear(hidden_dim, z_dim)
        self.softplus = nn.Softplus()

    def forward(self, x):
        x = x.reshape(-1, 64)
        hidden = self.softplus(self.fc1(x))
        return self.fc21(hidden), torch.exp(self.fc22(hidden))


class TutorialVAE(nn.Module):
    """The VAE of Pyro's tutorial: two modules registered by name, Bernoulli over probabilities, x flattened."""

    def __init__(self, z_dim=4, hidden_dim=32):
        super().__init__()
        self.encoder = Encoder(z_dim, hidden_dim)
        self.decoder = Decoder(z_dim, hidden_dim)
        self.z_dim = z_dim

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = x.new_zeros(torch.Size((x.shape[0], self.z_dim)))
            z_scale = x.new_ones(torch.Size((x.shape[0], self.z_dim)))
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder.forward(z)
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, 64))

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder.forward(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


class TwoSites(nn.Module):
    """z1 ~ N(0, 1), z2 ~ N(w z1, 1), x ~ N(z2, 1)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.2))
        self.q = nn.Linear(1, 2)
        self.r = nn.Linear(1, 2)

    def model(self, x):
        pyro.module("two", self)
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(self.w * z1, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z2, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("two", self)
        with pyro.plate("data", len(x)):
            loc, raw = self.q(x).chunk(2, -1)
            z2 = pyro.sample("z2", dist.Normal(loc, F.softplus(raw)).to_event(1))
            loc, raw = self.r(z2).chunk(2, -1)
            pyro.sample("z1", dist.Normal(loc, F.softplus(raw)).to_event(1))
