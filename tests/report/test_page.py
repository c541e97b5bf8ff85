"""The page: whole in one file, what evaluations and diagnoses say, and driven in Chromium without a network."""

import json
import re
import shutil
from functools import partial

import pytest
import torch
from browser import browser
from PIL import Image

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    DiagonalNormal,
    InputError,
    StandardNormal,
    decode,
    encode,
    prior_grid,
    reconstruct,
)
from pyrovae.arviz_import import groups_of, inference_data_of, write_inference_data
from pyrovae.cli import main
from pyrovae.report import evaluations, write_report
from pyrovae.runs import Run

DIAGNOSIS = {
    "format": 1,
    "elbo": -26.5,
    "log_prob": -26.25,
    "refined_elbo": None,
    "distortion": 20.0,
    "rate": 6.5,
    "mutual_information": 4.5,
    "marginal_kl": 2.0,
    "active_units": 1,
    "num_units": 2,
    "num_data": 180,
    "notes": ["It was made for this test."],
    "caveats": [],
}
SAMPLED = {f"test-importance-30-{name}" for name in ("pareto", "extremes", "tails", "convergence")}
CHAINS = {f"test-annealed-3-T4-first20-{name}" for name in ("error", "extremes", "tails", "convergence", "paths")}


PIXELS = """
const copy = document.createElement("canvas");
[copy.width, copy.height] = [arguments[0].width, arguments[0].height];
copy.getContext("2d").drawImage(arguments[0], 0, 0);
const data = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data;
return Array.from(data).filter((value, i) => i % 4 == 0);
"""


def trained(folder, latents):
    options = ["--posterior.network.hidden_features=[32]", "--likelihood.network.hidden_features=[32]"]
    options += ["--epochs=8", "--optimizer.lr=4e-3"]
    assert main(["train", f"--run={folder}", f"--latent_dim={latents}", *options]) == 0
    assert main(["evaluate", str(folder), "--num_samples=30", "--num_checked=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one evaluation, and two latents, whose plane can be shown."""
    folder = trained(tmp_path_factory.mktemp("runs") / "a <b> & c", 2)
    assert main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def much(tmp_path_factory):
    """A run with an annealed evaluation, a sandwich and a diagnosis too, and three latents."""
    folder = trained(tmp_path_factory.mktemp("runs") / "much", 3)
    annealing = ["--method=Annealed", "--method.num_chains=3", "--method.num_temperatures=4", "--num_data=20"]
    assert main(["evaluate", str(folder), *annealing, "--sandwich=true", "--num_simulated=5"]) == 0
    (folder / "diagnosis").mkdir()
    (folder / "diagnosis" / "test.json").write_text(json.dumps(DIAGNOSIS))
    write_report(folder)
    return folder


PROGRAM = {"training_curves", "reconstructions", "samples", "latent_map"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "expected"),
    [("run", PROGRAM | SAMPLED | {"manifold"}), ("much", PROGRAM | SAMPLED | CHAINS | {"diagnosis-test-nats"})],
)
def test_the_page_holds_everything_itself(which, expected, request):
    folder = request.getfixturevalue(which)
    page = (folder / "report.html").read_text()
    assert {path.stem for path in (folder / "figures").glob("*.png")} == expected
    assert (
        len(re.findall(r'<img class="\w+" alt="\w', page)) == page.count('src="data:image/png;base64,') == len(expected)
    )
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "://" not in page
    assert len(page) < 2e6
    assert "negative log-likelihood, per datum" in page
    assert "k̂" in page
    assert ("a &lt;b&gt; &amp; c" in page) == (which == "run")
    assert page.count('<th class="number">jackknife</th>') == (1 if which == "run" else 2)


@pytest.mark.slow
def test_the_page_shows_annealed_evaluations_and_where_the_nats_go(much):
    page = (much / "report.html").read_text()
    assert "test likelihood, annealed, K = 3, T = 4" in page
    assert "gap between these two bounds" in page
    assert "On 5 data simulated from the model" in page
    assert "acceptance of moves, median" in page
    assert "It was made for this test." in page
    assert '<th>mutual information of x and z</th><td class="number">4.50</td>' in page
    assert "1 of 2" in page


@pytest.mark.slow
def test_the_page_is_the_same_for_a_seed(run):
    before = (run / "report.html").read_text()
    noise = torch.get_rng_state()
    write_report(run)
    assert (run / "report.html").read_text() == before
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.fixture
def own(much, tmp_path):
    """A copy of a run that a test may change."""
    return shutil.copytree(much, tmp_path / "run")


def rewrite(path, change):
    entry = json.loads(path.read_text())
    change(entry)
    path.write_text(json.dumps(entry))


@pytest.mark.slow
def test_an_older_evaluation_is_shown(own):
    """It has neither the figures nor the values that came later."""
    path = own / "evaluation" / "test-importance-30"
    added = ("num_evaluations", "share_annealed", "acceptance", "convergence", "sandwich", "estimator")

    def outdate(entry):
        for key in added:
            entry.pop(key)
        entry["num_images"] = entry.pop("num_data")

    rewrite(path.with_suffix(".json"), outdate)
    values = Run(own).values(path.name)
    groups = groups_of(values)
    stats = groups["sample_stats"][["log_prob", "standard_error", "pareto_k", "ess", "elbo"]]
    old = inference_data_of({"sample_stats": stats, "observed_data": groups["observed_data"]}, {})
    write_inference_data(old, path.with_suffix(".nc"))
    shown = evaluations.section(Run(own), path.name, Run(own).evaluations())
    assert set(shown["pictures"]) == {"pareto", "extremes"}
    assert shown["title"] == "test likelihood, importance, K = 30"
    assert shown["convergence"] == []
    assert "decoder runs per datum" not in dict(shown["rows"])
    assert "estimated bias, from the weights themselves" in dict(shown["rows"])


@pytest.mark.slow
def test_an_adaptive_evaluation_shows_both_kinds(own):
    path = own / "evaluation" / "test-importance-30"
    values = Run(own).values(path.name)
    groups = groups_of(values)
    groups["sample_stats"]["acceptance"][:60] = 0.8
    groups["sample_stats"]["pareto_k"][:60] = float("nan")
    write_inference_data(inference_data_of(groups, values.attrs), path.with_suffix(".nc"))
    rewrite(path.with_suffix(".json"), lambda entry: entry.update(method="adaptive", share_annealed=1 / 3))
    shown = evaluations.section(Run(own), path.name, Run(own).evaluations())
    assert {"pareto", "error"} <= set(shown["pictures"])
    assert "of 120 data" in shown["pictures"]["pareto"][0].axes[0].get_title()
    assert dict(shown["rows"])["share of data annealed"] == "33.3%"


@pytest.mark.slow
def test_a_bound_is_shown_beside_what_went_further(own):
    run = Run(own)
    entries = run.evaluations()
    entries["test-annealed-3-T4-first20"]["num_data"] = 180
    drawn = evaluations.section(run, "test-importance-30", entries)["pictures"]["convergence"][0]
    told = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert any(text.startswith("annealed, K = 3, T = 4") for text in told)
    alone = evaluations.section(run, "test-importance-30", run.evaluations())["pictures"]["convergence"][0]
    assert len(alone.axes[0].get_legend().get_texts()) == len(told) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test-importance-30.nc", "test-annealed-3-T4-first20.nc"])
@pytest.mark.parametrize("how", ["missing", "broken", "of something else"])
def test_values_that_cannot_be_read_are_named(own, name, how):
    path = own / "evaluation" / name
    if how == "missing":
        path.unlink()
    elif how == "broken":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        values = Run(own).values(path.stem)
        del values.sample_stats["standard_error"]
        values.to_netcdf(str(path), engine="h5netcdf")
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_report(own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("evaluation/test-importance-30.json", "nll"),
        ("evaluation/test-importance-30.json", "convergence"),
        ("evaluation/test-annealed-3-T4-first20.json", "sandwich"),
        ("evaluation/test-annealed-3-T4-first20.json", "acceptance"),
        ("diagnosis/test.json", "elbo"),
        ("diagnosis/test.json", "num_data"),
    ],
)
@pytest.mark.parametrize("value", ["many", [1]])
def test_figures_that_are_no_numbers_are_named(own, name, key, value):
    rewrite(own / name, lambda entry: entry.update({key: value}))
    with pytest.raises(InputError, match=re.escape(name)):
        write_report(own)


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


@pytest.fixture
def page(chrome, run):
    """The run's page, which at the end of the test has said nothing and asked no one."""
    chrome.size(1100, 900)
    chrome.theme("light", motion="reduce")  # else the page would glide while it is clicked
    chrome.open((run / "report.html").as_uri())
    yield Page(chrome)
    assert chrome.errors == []
    assert chrome.requests  # of the page itself
    assert chrome.foreign() == []


class Page:
    def __init__(self, chrome):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        from selenium.webdriver.support.wait import WebDriverWait

        self.chrome, self.driver, self.actions, self.keys = chrome, chrome.driver, ActionChains, Keys
        self.wait = WebDriverWait(self.driver, 10, poll_frequency=0.02)
        self.wait.until(lambda _: self.text("#plane .place") and self.all(".tile"))

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)

    def pixels(self, selector):
        return torch.tensor(self.driver.execute_script(PIXELS, self.one(selector)))

    def point(self, x, y):
        """Move the pointer over the map, by shares of its sides from the top left."""
        box = self.one("#plane .map")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
        left, top = (x - 0.5) * box.size["width"], (y - 0.5) * box.size["height"]
        before = self.text("#plane .place")
        self.actions(self.driver).move_to_element_with_offset(box, round(left), round(top)).perform()
        self.wait.until(lambda _: self.text("#plane .place") != before)

    def press(self, *keys):
        before = self.text("#plane .place")
        self.actions(self.driver).send_keys(*keys).perform()
        self.wait.until(lambda _: self.text("#plane .place") != before)

    @property
    def place(self):
        return [float(part.split("=")[1].strip(" .").replace("−", "-")) for part in self.text(".place").split(",")[:2]]

    @property
    def told(self):
        return json.loads(self.text("#page-data"))

    @property
    def order(self):
        return self.driver.execute_script(
            "return [...document.querySelectorAll('.tile')].map((t) => Number(t.dataset.index))"
        )


def grey(means):
    return means.flatten().mul(255).round().int()


@pytest.mark.slow
def test_the_image_follows_the_pointer_and_the_keys(page, run):
    _, vae = Run(run).load()
    plane = page.told["plane"]
    seen = []
    for x, y in ((0.2, 0.3), (0.7, 0.6)):
        page.point(x, y)
        u = plane["left"] + x * (plane["right"] - plane["left"])
        v = plane["top"] - y * (plane["top"] - plane["bottom"])
        assert page.place == pytest.approx([u, v], abs=0.02)
        expected = grey(decode(vae.model, {"z": torch.tensor([page.place])}, (1, 8, 8)))
        seen.append(page.pixels(".decoded"))
        assert (seen[-1] - expected).abs().max() <= 6  # it is mixed of four neighbours
    assert not torch.equal(*seen)
    page.one("#plane .map").click()
    page.press(page.keys.ARROW_LEFT)
    page.press(page.keys.HOME)
    middle = [(plane["left"] + plane["right"]) / 2, (plane["bottom"] + plane["top"]) / 2]
    assert page.place == pytest.approx(middle, abs=0.006)
    expected = grey(decode(vae.model, {"z": torch.tensor([middle])}, (1, 8, 8)))
    assert (page.pixels(".decoded") - expected).abs().max() <= 1  # one of the sheet itself
    page.press(page.keys.ARROW_RIGHT, page.keys.ARROW_UP)
    page.wait.until(lambda _: page.text("#plane .spoken").startswith(page.text("#plane .place")))
    step = (plane["right"] - plane["left"]) / 100
    assert page.place == pytest.approx([middle[0] + step, middle[1] + step], abs=0.012)
    assert "Decoded image at z[0] = " in page.one(".decoded").get_attribute("aria-label")


@pytest.mark.slow
def test_the_nearest_test_image_and_its_class(page, run):
    data, vae = Run(run).load()
    codes = encode(vae.guide, data.test[:])["z"]
    page.point(0.4, 0.55)
    near = int((codes - torch.tensor(page.place)).norm(dim=1).argmin())
    assert page.pixels(".nearest").tolist() == grey(data.test[near : near + 1]).tolist()
    assert page.text("#plane .seen figure + figure figcaption") == f"nearest test datum: class {data.test.labels[near]}"
    page.one('.classes [value="3"]').click()
    assert [button.get_attribute("value") for button in page.all('.classes [aria-pressed="true"]')] == ["3"]
    page.wait.until(lambda _: page.text("#plane .seen figure + figure figcaption") == "nearest test datum: class 3")


@pytest.mark.slow
def test_test_images_are_sorted_filtered_and_told_of(page, run):
    data, vae = Run(run).load()
    log_prob = torch.from_numpy(Run(run).values("test-importance-30").sample_stats["log_prob"].values)
    assert page.order == log_prob.mul(100).round().argsort(stable=True).tolist()
    page.one('.sorts [value="log_prob"]').click()
    assert page.order[0] == int(log_prob.argmax())
    assert "highest log p(x) first" in page.text("#gallery [role=status]")
    page.one('.sorts [value="squared_error"]').click()
    means = reconstruct(vae.model, vae.guide, data.test[:])
    worst = int((data.test[:] - means).square().flatten(1).mean(1).argmax())
    assert page.order[0] == worst
    assert page.pixels(".original").tolist() == grey(data.test[worst : worst + 1]).tolist()
    assert (page.pixels(".rebuilt") - grey(means[worst])).abs().max() <= 1
    assert f"log p(x){log_prob[worst]:.2f}".replace("-", "−") in page.text(".detail dl")
    page.one(".filter select").send_keys("7")
    page.wait.until(lambda _: len(page.order) < 180)
    assert sorted(page.order) == (data.test.labels == 7).nonzero()[:, 0].tolist()
    assert f"{len(page.order)} data" in page.text("#gallery [role=status]")


@pytest.mark.slow
def test_test_images_are_reached_by_keys_and_by_pointing(page):
    page.one(".filter select").click()
    page.actions(page.driver).send_keys(page.keys.ESCAPE, page.keys.TAB).perform()
    first, second, *_ = page.order
    current = "return document.activeElement.dataset.index"
    assert page.driver.execute_script(current) == str(first)
    ring = "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth]"
    assert page.driver.execute_script(ring) == ["solid", "3px"]
    page.actions(page.driver).send_keys(page.keys.ARROW_RIGHT).perform()
    assert page.driver.execute_script(current) == str(second)
    assert page.all(f'.tile[data-index="{second}"][aria-current="true"]')
    page.actions(page.driver).send_keys(page.keys.ARROW_DOWN).perform()
    assert page.driver.execute_script(current) not in (str(first), str(second))
    page.actions(page.driver).send_keys(page.keys.END).perform()
    assert page.driver.execute_script(current) == str(page.order[-1])
    page.actions(page.driver).send_keys(page.keys.HOME).perform()
    page.actions(page.driver).move_to_element(page.all(".tile")[3]).perform()
    assert page.all('.tile[aria-current="true"]')[0].get_attribute("data-index") == str(page.order[3])


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_on_a_phone(page, theme, tmp_path):
    page.chrome.size(390, 800, mobile=True)
    page.chrome.theme(theme, motion="reduce")
    widths = "return [document.documentElement.scrollWidth, innerWidth]"
    assert page.driver.execute_script(widths) == [390, 390]
    before, box = page.place, page.one("#plane .map")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
    corner = page.driver.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return [box.left, box.top]", box
    )
    for kind, x in (("touchStart", 60), ("touchMove", 90)):
        touch = [{"x": corner[0] + x, "y": corner[1] + 60}]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touch})
    page.wait.until(lambda _: page.place != before)
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.driver.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as picture:
        paper = picture.convert("L").getpixel((4, 4))
    assert (paper > 200) == (theme == "light")
    inverted = "return ['plot', 'picture'].map(kind => getComputedStyle(document.querySelector('img.' + kind)).filter)"
    plot, picture = page.driver.execute_script(inverted)
    assert picture == "none"  # images of data would be negatives
    assert plot.startswith("invert") == (theme == "dark")


@pytest.mark.slow
def test_a_class_is_chosen_to_decode_for(chrome, tmp_path):
    """Of a program that is told labels, in the plane of principal directions."""
    folder = tmp_path / "told"
    small = [f"--program.{part}.network.hidden_features=[16]" for part in ("likelihood", "posterior")]
    options = ["--program=ConditionalVAE", *small, "--latent_dim=3", "--epochs=2", "--optimizer.lr=1e-2"]
    assert main(["train", f"--run={folder}", *options]) == 0
    assert main(["report", str(folder), "--num_data=30"]) == 0
    chrome.size(1100, 900)
    chrome.open((folder / "report.html").as_uri())
    page = Page(chrome)
    assert len(page.order) == 30
    assert "class 0" in page.text(".place")
    zero = page.pixels(".decoded")
    page.one('.classes [value="7"]').click()
    assert "class 7" in page.text(".place")
    assert page.told["plane"]["names"][0].startswith("direction 1 (")
    assert (page.pixels(".decoded") - zero).abs().max() > 2
    page.one('.classes [value="0"]').click()
    assert torch.equal(page.pixels(".decoded"), zero)
    assert chrome.errors == []
    assert chrome.foreign() == []


def test_the_grid_of_codes_lies_at_the_priors_percentiles():
    vae = VAE(StandardNormal(2), Bernoulli((6,), 2, partial(MLP, hidden_features=())), DiagonalNormal((6,), 2))
    torch.manual_seed(0)
    grid = prior_grid(vae.model, torch.zeros(1, 6), columns=5)
    percentiles = (torch.arange(5) + 0.5) / 5
    z = torch.distributions.Normal(0.0, 1.0).icdf(percentiles)
    codes = torch.cartesian_prod(z, z).flip(1)  # the first coordinate varies fastest
    torch.testing.assert_close(grid, decode(vae.model, {"z": codes}, (6,)), atol=0.02, rtol=0)
