"""The page to explore a run: what it computes, and the page itself, driven in Chromium."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browser
from sklearn.datasets import load_wine

from pyrovae import (
    MLP,
    VAE,
    Autoencoder,
    Bernoulli,
    ConditionalVAE,
    DataSet,
    DiagonalNormal,
    Digits,
    DiscretizedLogistic,
    FlowPosterior,
    Gaussian,
    HierarchicalVAE,
    InputError,
    SemiSupervisedVAE,
    SphericalVAE,
    StandardNormal,
    Table,
    TableEncoder,
    TableLikelihood,
    decode,
    encode,
    log_marginal,
)
from pyrovae.cli import main
from pyrovae.explore import Session, TableSession, as_picture, chart_of, read_picture, sliders_of

SHAPE, D = (1, 8, 8), 3
small = partial(MLP, hidden_features=(8,))


def plain(latent_dim=D):
    q = DiagonalNormal(SHAPE, latent_dim, small)
    return VAE(StandardNormal(latent_dim), Bernoulli(SHAPE, latent_dim, small), q)


def grey():
    return VAE(StandardNormal(12), DiscretizedLogistic(SHAPE, 12, small, levels=17), FlowPosterior(SHAPE, 12, small))


PROGRAMS = {
    "VAE": (plain, "dynamic"),
    "one latent": (partial(plain, 1), "dynamic"),
    "twelve latents": (grey, "none"),
    "HierarchicalVAE": (partial(HierarchicalVAE, SHAPE, D, dims=(5,)), "dynamic"),
    "ladder": (partial(HierarchicalVAE, SHAPE, D, dims=(5,), inference="ladder"), "static"),
    "SphericalVAE": (partial(SphericalVAE, SHAPE, D), "threshold"),
    "ConditionalVAE": (partial(ConditionalVAE, SHAPE, D), "dynamic"),
    "SemiSupervisedVAE": (partial(SemiSupervisedVAE, SHAPE, D), "dynamic"),
    "Autoencoder": (partial(Autoencoder, SHAPE, D), "dynamic"),
}


def session_of(name, **options):
    make, binarization = PROGRAMS[name]
    return Session(Digits(binarization=binarization), make(), num_data=20, num_samples=10, **options)


class TestEveryProgram:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", PROGRAMS)
    def test_all_that_the_page_asks(self, name):
        session = session_of(name)
        label = 3 if session.classes else None
        assert (session.classes is None) == (name not in ("ConditionalVAE", "SemiSupervisedVAE"))
        for axes in session.axes:
            image = session.move(axes, session.coordinates_of(axes, 4), label)
            assert image.shape == SHAPE
            assert torch.equal(
                image, session.move(axes, session.coordinates_of(axes, 4), label)
            )  # nothing is left to chance
            height, width, _ = session.chart(axes, 0, len(session.axes[axes].names) - 1).pixels.shape
            assert width == 480 <= height < 600  # the legend is above the plane
        assert session.between(2, 5, count=4).shape == (6, *SHAPE)
        assert session.sample(3, label).shape == (3, *SHAPE)
        found = session.explain(session.datum(1), label)
        assert 0 <= found.share_better <= 1
        assert (found.log_prob is None) == (name == "Autoencoder")
        assert (found.label is None) == (name != "SemiSupervisedVAE")
        assert len(found.rows()) == sum(z.numel() for z in found.code.values())
        assert "of test data are explained better" in str(found)


class TestSession:
    def test_a_code_is_decoded_as_the_program_does(self):
        session = session_of("VAE")
        x = session.datum(4)
        expected = decode(session.program.model, encode(session.program.guide, x), SHAPE)[0]
        for axes in session.axes:
            torch.testing.assert_close(session.move(axes, session.coordinates_of(axes, 4)), expected)

    def test_the_narrowest_site_moves_and_the_others_follow_it(self):
        session = session_of("HierarchicalVAE")
        assert session.site == "z2"
        program, z = session.program, session.codes[:1]
        expected = program.likelihood(program.layers[0](z).mean).mean
        torch.testing.assert_close(session.move("latents", z[0].tolist()), expected[0])

    def test_a_class_that_is_chosen_is_the_one_that_is_decoded(self):
        session = session_of("ConditionalVAE")
        program, z = session.program, session.codes[:1]
        expected = program.likelihood(torch.cat((z, torch.eye(10)[[7]]), 1)).mean
        torch.testing.assert_close(session.move("latents", z[0].tolist(), 7), expected[0])

    def test_a_datum_is_weighed_as_log_marginal_does(self):
        session = session_of("VAE")
        session.num_samples = 5000
        found = session.explain(session.datum(0))
        exact = log_marginal(session.program.model, session.program.guide, session.datum(0), num_samples=5000)
        assert found.log_prob == pytest.approx(exact.log_prob.item(), abs=0.1)
        assert found.elbo == pytest.approx(exact.elbo.item(), abs=0.2)
        assert found.elbo < found.log_prob

    @pytest.mark.slow
    def test_what_is_explained_worse_than_all_is_an_anomaly(self):
        program = plain().eval()
        data = Digits()
        program.initialize(data.train[:1000])
        session = Session(data, program, num_data=50, num_samples=10)
        found = session.explain(1 - session.datum(0))
        assert found.share_better == 1
        assert "an anomaly" in str(found)
        ranks = [session.explain(session.datum(i)).share_better for i in range(50)]
        assert np.mean(ranks) == pytest.approx(0.5, abs=0.1)  # of one test datum, each share is equally likely

    def test_samples_differ_by_seed_alone(self):
        session = session_of("VAE")
        assert torch.equal(session.sample(2, seed=1), session.sample(2, seed=1))
        assert not torch.equal(session.sample(2, seed=1), session.sample(2, seed=2))
        assert set(session.sample(2, noise=True).unique().tolist()) <= {0.0, 1.0}

    def test_the_way_ends_at_the_images(self):
        session = session_of("VAE")
        way = session.between(3, 8, count=5, spherical=True)
        assert torch.equal(way[[0, -1]], session.x[[3, 8]])
        torch.testing.assert_close(way[1], session.move("latents", session.codes[3].tolist()))

    @pytest.mark.parametrize(
        ("ask", "sentence"),
        [
            (lambda s: s.between(0, 20), "the datum's number must be from 0 to 19, but 20 was given"),
            (lambda s: s.move("planes", [0.0]), "axes must be one of latents, principal directions"),
        ],
    )
    def test_bad_questions(self, ask, sentence):
        with pytest.raises(InputError, match=sentence):
            ask(session_of("VAE"))


class TestSliders:
    def test_they_are_the_latents_that_vary_most(self):
        codes = torch.randn(500, 4) * torch.tensor([1.0, 0.1, 2.0, 0.1])
        found = sliders_of(codes, "z", most=2)
        assert found["latents"].names == ["z[0]", "z[2]"]
        assert len(found["principal directions"].names) == 2
        for sliders in found.values():
            furthest = sliders.coordinates(codes).abs().amax(0)
            assert all(far <= reach for far, reach in zip(furthest.tolist(), sliders.reach, strict=True))

    def test_one_latent_has_no_directions(self):
        assert list(sliders_of(torch.randn(10, 1))) == ["latents"]


class TestPictures:
    def test_black_on_white_becomes_the_digits_white_on_black(self):
        pixels = np.full((96, 96, 3), 255, np.uint8)
        pixels[24:72, 36:60] = 0
        x = read_picture(pixels, Digits(binarization="threshold"))
        expected = torch.zeros(SHAPE)
        expected[0, 2:6, 3:5] = 1
        torch.testing.assert_close(x[0], expected)
        assert torch.equal(read_picture(255 - pixels, Digits(binarization="threshold")), x)

    def test_what_is_transparent_is_white_and_what_is_long_is_padded(self):
        pixels = np.zeros((40, 160, 4), np.uint8)  # a canvas with nothing on it but a bar
        pixels[:, 60:100, 3] = 255
        x = read_picture(pixels, Digits(binarization="threshold"))
        rows = x[0, 0].sum(1)
        assert rows[:3].sum() == rows[5:].sum() == 0
        assert x.sum() == 4

    def test_grey_levels_stay_what_they_are(self):
        data = Digits(binarization="none")
        pixels = (data.test.stored[0, 0].numpy().astype(int) * 255 // 16).astype(np.uint8)
        torch.testing.assert_close(read_picture(pixels, data), data.test[:1], atol=1 / 16, rtol=0)

    def test_colours_stay(self):
        data = DataSet((torch.rand(50, 3, 4, 4) * 255).to(torch.uint8))
        red = np.zeros((8, 8, 3), np.uint8)
        red[..., 0] = 255
        x = read_picture(red, data)
        assert x.shape == (1, 3, 4, 4)
        assert x[0, 0].unique().tolist() in ([1.0], [0.0])  # inverted or not
        assert x[0, 1].unique().tolist() == x[0, 2].unique().tolist() == [1 - x[0, 0, 0, 0].item()]

    def test_vectors_cannot_be_drawn(self):
        with pytest.raises(InputError, match="data must be pictures to be drawn"):
            read_picture(np.zeros((8, 8, 3), np.uint8), DataSet(torch.randn(50, 5)))

    def test_every_pixel_is_a_square(self):
        x = torch.rand(1, 1, 2, 2)
        picture = as_picture(x)
        assert picture.shape == (280, 280, 3)
        assert (picture[:140, :140] == picture[0, 0]).all()


def test_one_test_image_is_too_few():
    with pytest.raises(InputError, match="data must have 2 test data or more to be explored, but have 1"):
        Session(DataSet(torch.rand(20, *SHAPE), test_size=1), plain())


def test_a_class_that_is_unknown_is_grey():
    known, grey = torch.zeros(5, 2), torch.ones(5, 2)
    labels = torch.tensor([0] * 5 + [-1] * 5)
    chart = chart_of(torch.cat((known, grey)), labels, ("a", "b"), (2.0, 2.0))
    for point, colour in (((0, 0), (0x00, 0x72, 0xB2)), ((1, 1), (0xBB, 0xBB, 0xBB))):
        across, down = map(round, chart.pixel(point))
        assert tuple(chart.pixels[down, across].tolist()) == colour


def test_a_chart_marks_the_point_that_it_gives_back():
    chart = chart_of(torch.randn(30, 2), torch.arange(30) % 3, ("a", "b"), (2.0, 3.0))
    for point in ((0.5, -1.0), (-2.0, 3.0)):
        assert chart.point(chart.pixel(point)) == pytest.approx(point)
    across, down = map(round, chart.pixel((0.5, -1.0)))
    changed = (chart.marked((0.5, -1.0)) != chart.pixels).any(-1)
    assert changed[down, across - 20]
    assert not changed[down, across]  # the point itself stays visible
    assert chart.point((0, 0)) == (-2.0, 3.0)


def test_the_classes_are_named_off_the_plane():
    """The plane is the same with a legend and without, but for the colours of the points."""
    points = torch.tensor([[1.9, 2.9], [-1.0, 0.0], [0.0, -1.0]])
    chart, plain = (chart_of(points, labels, ("a", "b"), (2.0, 3.0)) for labels in (torch.arange(3), None))
    assert plain.pixels.shape == (480, 480, 3)
    assert chart.pixels.shape == (508, 480, 3)
    assert (chart.pixels[:28] < 128).any()
    differs = (chart.pixels[28:] != plain.pixels).any(-1)
    assert 0 < differs.sum() < 150
    for point in points[1:].tolist():
        across, down = map(round, chart.pixel(tuple(point)))
        assert differs[down - 28, across]
        assert chart.point(chart.pixel(tuple(point))) == pytest.approx(point)


def wine():
    """A session of a table with gaps, labels, a column of categories, and one whose name is HTML and Markdown."""
    rows = load_wine(as_frame=True).frame
    rows["<b>hue</b> *high*"] = np.where(rows["hue"] > 1, "yes", "no")
    rows["target"] = np.array(["a", "b", "c"])[rows["target"]]
    rows.loc[::3, "hue"] = np.nan
    table = Table(rows, label="target")
    shape, schema = table.data_shape, table.schema
    torch.manual_seed(0)
    q = DiagonalNormal(shape, D, partial(TableEncoder, network=small, schema=schema))
    program = VAE(StandardNormal(D), TableLikelihood(shape, D, small, schema=schema), q)
    program.initialize(table.train[:])
    return TableSession(table, program, num_samples=20)


of_wine = pytest.fixture(scope="module", name="of_wine")(wine)


@pytest.mark.slow
class TestTables:
    def test_the_column_to_blame_is_the_one_that_was_spoiled(self, of_wine):
        x = of_wine.x.clone()
        x[2, of_wine.schema.names.index("ash")] += 10.0  # 36 standard deviations
        data = DataSet(x, test_x=x)
        words, cells = TableSession(data, of_wine.program, num_samples=20).row(2)
        assert "ash takes most" in words
        assert f"{(len(x) - 1) / len(x):.0%} of test data are explained better" in words
        first = re.search(r"<tbody><tr>(.*?)</tr>", cells)[1]
        assert re.findall(r">([^<]+)<", first)[0] == "ash"
        assert cells.count("<tr>") == len(of_wine.schema) + 1
        assert "&lt;b&gt;hue&lt;/b&gt; *high*" in cells

    @pytest.mark.parametrize("colour", ["target", "alcohol", "hue", "<b>hue</b> *high*"])
    def test_the_map_finds_the_row_at_a_pixel(self, colour, of_wine):
        assert colour in of_wine.colours
        plane = of_wine.axes["principal directions"]
        chart = of_wine.map(colour)
        assert chart.pixels.shape == (508, 480, 3)  # with a legend or a scale
        place = plane.coordinates(of_wine.codes[5:6])[0, :2].tolist()
        assert of_wine.nearest(colour, chart.pixel(place)) == 5
        assert (of_wine.marked(colour, 5) != chart.pixels).any()

    def test_marginals_differ_by_seed_alone(self, of_wine):
        first = of_wine.marginals(seed=1)
        assert not np.array_equal(of_wine.marginals(seed=2), first)
        assert np.array_equal(of_wine.marginals(seed=1), first)

    def test_other_programs_of_rows_are_refused(self, of_wine):
        x = torch.randn(30, 4)
        with pytest.raises(InputError, match="program must have the columns of its table"):
            TableSession(DataSet(x), VAE(StandardNormal(2), Gaussian((4,), 2), DiagonalNormal((4,), 2)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a_b_ <img src=x> $y$"
    assert main(["train", "--latent_dim", "2", "--epochs", "2", "--compile", "off", "--run", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_bad_input_is_one_sentence(run, tmp_path, capsys, monkeypatch):
    assert main(["explore", str(tmp_path)]) == 2
    assert "run must be a folder that pyrovae train made" in capsys.readouterr().err
    assert main(["explore", str(run), "--port", "65536"]) == 2
    assert "port must be at most 65535, but 65536 was given" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", str(run)]) == 2
    assert "pip install 'pyrovae[explore]', but gradio is missing" in capsys.readouterr().err


@contextmanager
def served(*command):
    """Run a Python command that serves a page, and yield the page's address."""
    pytest.importorskip("selenium")
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        line = process.stdout.readline()
        while line and "the page is http://127.0.0.1:" not in line:
            line = process.stdout.readline()
        try:
            yield line.split()[3].strip("/;")
        finally:
            process.terminate()


@pytest.fixture
def address(run):
    """Serve the run's page in a process of its own, as a user does."""
    with served("-m", "pyrovae", "explore", str(run), "--port", "0", "--num_data", "30") as address:
        yield address


@pytest.fixture(scope="module")
def opened():
    with browser(1200, 1000) as opened:
        yield opened


class Page:
    """The page, opened in a view of a size: its parts, which are waited for."""

    def __init__(self, opened, address, *size, **options):
        from selenium.webdriver.support.ui import WebDriverWait

        self.driver, self.wait = opened.driver, WebDriverWait(opened.driver, 60)
        opened.size(*size, **options)
        opened.open(address)

    def find(self, selector):
        return self.wait.until(lambda d: next(iter(d.find_elements("css selector", selector)), None))

    def source(self, name):
        return self.find(f"#{name} img").get_attribute("src")

    def changed(self, name, before):
        return self.wait.until(lambda d: self.source(name) != before)

    def tab(self, text):
        tabs = self.driver.find_elements("css selector", "button[role=tab]")
        next(button for button in tabs if button.text == text).click()


@pytest.mark.slow
def test_the_page_in_a_browser(address, opened):
    pytest.importorskip("gradio")
    from selenium.webdriver import ActionChains, Keys

    opened.theme("light")
    page = Page(opened, address, 1200, 1000)
    driver, wait, find, source, changed, tab = page.driver, page.wait, page.find, page.source, page.changed, page.tab

    assert find("h1").text == "VAE: a_b_ <img src=x> $y$"  # a folder's name is neither HTML nor Markdown

    # Move: a slider by the keyboard, the plane by the pointer.
    before = source("decoded")
    slider = find("#slider-0 input[type=range]")
    slider.send_keys(*[Keys.ARROW_RIGHT] * 20)
    changed("decoded", before)
    before, number = source("decoded"), find("#slider-1 input[type=number]")
    was = number.get_attribute("value")
    plane = find("#plane img")
    ActionChains(driver).move_to_element_with_offset(plane, 40, -90).click().perform()
    changed("decoded", before)
    wait.until(lambda d: number.get_attribute("value") != was)
    before = source("decoded")
    path = ActionChains(driver).move_to_element_with_offset(plane, 40, -90).click_and_hold()
    path.move_by_offset(-30, 60).move_by_offset(-30, 60).release().perform()
    changed("decoded", before)

    # Draw a bar, and explain it; then a test datum, and a picture from a file.
    tab("Draw")
    find("#editor button[aria-label='Brush']").click()
    canvas = find("#editor canvas")
    ActionChains(driver).move_to_element(canvas).click_and_hold().move_by_offset(0, 40).move_by_offset(
        0, -80
    ).release().perform()
    time.sleep(1)  # the editor sends what is drawn after a while
    find("#explain-picture").click()
    first = wait.until(lambda d: find("#explanation").text)
    assert "of test data are explained better" in first
    drawn = source("explained")
    find("#explain-test-datum").click()
    changed("explained", drawn)
    wait.until(lambda d: find("#explanation").text != first)

    tab("Interpolate")
    before = source("strip")
    find("#to input[type=range]").send_keys(*[Keys.ARROW_RIGHT] * 5)
    changed("strip", before)

    tab("Sample")
    before = source("samples")
    find("#again").send_keys(Keys.ENTER)
    changed("samples", before)

    assert opened.foreign(address.removeprefix("http://")) == []
    opened.read()
    assert [entry for entry in opened._console if entry["level"] == "SEVERE"] == []
    unlabelled = """
        return [...document.querySelectorAll("input:not([type=file]), textarea, select")].filter(
            (part) => part.offsetParent && !part.labels?.length && !part.ariaLabel && !part.title
                && !part.getAttribute("aria-labelledby")).map((part) => part.outerHTML.slice(0, 200))"""
    assert driver.execute_script(unlabelled) == []

    # On a phone, no tab is hidden in a menu, nothing is wider than the page, and the plane is dark in the dark.
    opened.size(390, 844, mobile=True)
    opened.theme("dark")
    opened.open(address)
    find("#plane img")
    tabs = driver.find_elements("css selector", "[role=tablist] button[role=tab]")
    assert [part.text for part in tabs if part.is_displayed()] == ["Move", "Draw", "Interpolate", "Sample"]
    assert driver.execute_script("return document.documentElement.scrollWidth") == 390
    assert "invert" in driver.execute_script("return getComputedStyle(document.querySelector('#plane img')).filter")
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    kinds = {*["button", "tab", "slider", "spinbutton", "textbox", "radio", "checkbox", "listbox", "combobox"]}
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node]
    assert len([kind for kind, _ in named if kind in kinds]) > 10
    assert [kind for kind, name in named if kind in kinds and not name.strip()] == []
    assert driver.execute_script("return [...document.images].filter((part) => !part.alt).length") == 0


@pytest.fixture
def table_address():
    """Serve the page of a table in a process of its own, which closes what Gradio leaves open."""
    pytest.importorskip("gradio")
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    code = f"import sys; sys.path[:0] = {folders}; from test_explore import wine\n"
    code += "from pyrovae.explore import serve; serve(wine(), 'VAE: wine', 0)"
    with served("-c", code) as address:
        yield address


@pytest.mark.slow
def test_the_page_of_a_table_on_a_phone(table_address, opened, of_wine):
    from selenium.webdriver import ActionChains, Keys

    opened.theme("light")
    page = Page(opened, table_address, 390, 844, mobile=True)
    run, columns = page.driver.execute_script, len(of_wine.schema)

    def assert_fits():
        assert run("return document.documentElement.scrollWidth") == 390
        assert run("return document.documentElement.clientWidth") == 390

    def shown(selector):
        """Wait until a picture or table is there; return its left and right side in the view."""
        part = page.find(selector)
        page.wait.until(lambda d: part.is_displayed() and run("return arguments[0].naturalWidth ?? 1", part) > 0)
        return run("const place = arguments[0].getBoundingClientRect(); return [place.left, place.right]", part)

    def cells():
        return [part.text for part in page.driver.find_elements("css selector", "#cells tbody td:first-child")]

    # The map and the cells are whole; both react to a number, and the number to a touch of the map.
    for part in ("#map img", "#cells table"):
        left, right = shown(part)
        assert 0 <= left < right - 250 < right <= 390, part
    assert len(cells()) == columns
    assert {*cells()} == {*of_wine.schema.names}
    assert_fits()
    before, number = page.source("map"), page.find("#row input[type=number]")
    words = page.find("#explanation").text
    number.send_keys(Keys.BACKSPACE, "7", Keys.ENTER)  # the field is empty for a moment
    page.changed("map", before)
    page.wait.until(lambda d: page.find("#explanation").text != words)
    first = of_wine.schema.names[int(of_wine.report.excess[7].nan_to_num(-torch.inf).argmax())]
    page.wait.until(lambda d: cells()[0] == first)
    assert f"{first} takes most" in page.find("#explanation").text
    ActionChains(page.driver).move_to_element_with_offset(page.find("#map img"), 60, 30).click().perform()
    page.wait.until(lambda d: number.get_attribute("value") != "7")
    assert 0 <= int(number.get_attribute("value")) < len(of_wine.x)
    assert_fits()

    # A slider moves the decoded row, whose table fits too.
    page.tab("Move")
    left, right = shown("#decoded table")
    assert 0 <= left < right <= 390
    decoded = page.find("#decoded").text
    page.find("#slider-0 input[type=range]").send_keys(*[Keys.ARROW_RIGHT] * 20)
    page.wait.until(lambda d: page.find("#decoded").text != decoded)
    assert_fits()

    # Marginals are large enough to be read, scroll within their frame, and are drawn anew.
    page.tab("Sample")
    left, right = shown("#marginals img")
    assert right - left >= 700
    before = page.source("marginals")
    page.find("#again").send_keys(Keys.ENTER)
    page.changed("marginals", before)
    assert_fits()
    opened.read()
    assert [entry for entry in opened._console if entry["level"] == "SEVERE"] == []
