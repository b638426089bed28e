"""The playground's page, pressed without a browser: knobs, buttons, line, clicks."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import IPython.display
import nbformat
import numpy as np
import pytest

from helpers.datasets import load
from helpers.sgd import DivergenceError
from playground import board, knobs
from playground.training import OWN, SETTINGS, WRONG, Training, settings_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def page():
    """The names of the playground, its cells run."""
    nb = nbformat.read(ROOT / "notebooks" / "playground.ipynb", as_version=4)
    codes = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    assert len("\n".join(codes).splitlines()) <= 150
    shown, scope = [], {}
    patch = pytest.MonkeyPatch()
    patch.setattr(IPython.display, "display", lambda *found: shown.extend(found))
    for code in codes:
        exec(code, scope)
    patch.undo()
    assert len(shown) == 1
    return SimpleNamespace(**scope)


@pytest.fixture
def anew(page):
    """The same with its knobs as they are at first."""
    page.put(SETTINGS)
    page.message.value = ""
    return page


def press(page, name):
    page.buttons[name].click()
    return page.message.value


def turn(**values):
    for name, value in values.items():
        knobs.KNOBS[name].value = value


def test_every_setting_has_a_knob_and_is_that_of_a_training(anew):
    assert knobs.KNOBS.keys() == SETTINGS.keys()
    assert knobs.read() == SETTINGS
    turn(kind="residual", layers=3, width=7, activation="ReLU")
    assert [type(one).__name__ for one in anew.state.now.network.layers] == [
        "HiddenLayer",
        "ResNetLayer",
        "ResNetLayer",
        "OutputLayer",
    ]
    press(anew, "Step")
    assert len(anew.state.now.history) == 2
    turn(rate=0.5, momentum=0.5, decay=0.001, batch=16)
    assert len(anew.state.now.history) == 2  # these go on
    assert repr(anew.state.now) == anew.line.value
    press(anew, "Reset")
    assert len(anew.state.now.history) == 1


@pytest.mark.parametrize("dataset", ["SwissRoll", "GMM", OWN])
def test_it_trains_until_paused(anew, dataset):
    turn(dataset=dataset, share=5)

    async def a_while():
        before = anew.board.frames
        press(anew, "Train")
        await asyncio.sleep(0.3)
        press(anew, "Pause")
        await anew.state.task
        assert anew.board.frames > before

    asyncio.run(a_while())
    assert len(anew.state.now.history) > 1


def test_the_line_builds_the_same_network_and_is_read_back(anew):
    turn(dataset="Peaks", width=4, noise=0.1, share=10, rate=0.02)
    press(anew, "Step")
    line = anew.line.value
    assert line.startswith("Training(dataset='Peaks', share=10, noise=0.1, width=4")
    other = eval(line, {"Training": Training})
    other.step()
    assert np.array_equal(other.network.parameters, anew.state.now.network.parameters)
    anew.put(SETTINGS)
    anew.line.value = line
    assert knobs.read() == settings_of(line)
    assert repr(anew.state.now) == line


@pytest.mark.parametrize("line", ["", "Training(", "Training(3)", "Training(widht=3)"])
def test_another_line_is_refused_in_one_sentence(anew, line):
    anew.line.value = line
    assert anew.message.value == "This is no line such as Training(width=20)."
    with pytest.raises(ValueError, match="there is no setting 'widht'"):
        Training(widht=3)


def test_a_click_adds_a_point_of_its_class(anew):
    x, y, side = board.PLANE
    anew.attempt(anew.click, x + 0.75 * side, y + 0.25 * side)
    assert "A click adds a point to the dataset" in anew.message.value
    turn(dataset=OWN)
    anew.colour.value = 3
    anew.attempt(anew.click, x + 0.75 * side, y + 0.25 * side)
    assert anew.state.now.points[-1] == (0.5, 0.5, 3)
    assert anew.state.now.data.classes == 3
    assert anew.message.value == ""


def test_a_click_on_a_unit_shows_it_and_another_takes_it_away(anew):
    x, y, size = anew.board.places[1, 4]
    anew.attempt(anew.click, x + size / 2, y + size / 2)
    assert anew.board.unit == (1, 4)
    turn(layers=0)  # where there is no such unit
    assert anew.board.unit is None


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("0.1 0.2", "&#x27;0.1 0.2&#x27; is no point such as 0.5 1 2."),
        ("0 0 1; 1 x", "&#x27;1 x&#x27; is no point such as 0.5 1 2."),
        ("0 0 1; 1 1 1", "Own points want two classes at least: x y class; x y class."),
        ("0 0 1; 1 1 2", ""),
    ],
)
def test_half_typed_points_are_one_sentence(anew, points, said):
    turn(dataset=OWN, points=points)
    assert anew.message.value == said


def test_a_certificate_passes_unless_a_mistake_is_injected(anew):
    turn(kind="residual", layers=3)
    assert press(anew, "Residuals") == "Press Certificate first."
    assert "<b>pass</b>" in press(anew, "Certificate")
    for wrong in [*WRONG][1:]:
        turn(mistake=wrong)
        assert "<b>FAIL</b>" in press(anew, "Certificate"), wrong
        (layer,) = {name.split()[-1] for name in anew.state.failed}
        number = list(map(type, anew.state.now.network.layers)).index(WRONG[wrong]) + 1
        assert layer == f"{number}", anew.state.failed
    turn(layers=0, mistake="skip connection forgotten")
    assert "No layer of this network" in anew.message.value


def test_a_divergence_pauses_and_says_so(anew):
    turn(kind="residual", layers=6, activation="ReLU")
    turn(rate=10.0, momentum=0.99, batch=16)

    async def until_it_ends():
        press(anew, "Train")
        await asyncio.wait_for(anew.state.task, 20)

    asyncio.run(until_it_ends())
    assert "no longer finite" in anew.message.value
    assert not anew.state.playing
    with pytest.raises(DivergenceError):
        anew.state.now.step()


def test_noise_and_share_change_the_samples_and_the_ceiling():
    full, some = Training(share=100), Training(share=10, noise=0.2)
    assert full.data.ceiling == load("SwissRoll").ceiling
    assert some.data.ceiling is None
    assert some.data.Yt.shape[1] == full.data.Yt.shape[1] // 10
    change = some.data.Yv - full.data.Yv
    assert change.std() == pytest.approx(0.2, rel=0.05)


def test_regions_and_units_are_what_the_network_answers(monkeypatch):
    """The picture of the plane is dense where the network is sure, unit by unit."""
    training, view, put = Training(), board.Board(), []
    for _ in range(40):
        training.step()
    monkeypatch.setattr(view, "put", lambda image, *_: put.append(image))
    view.draw(training)
    units, plane = put
    assert plane.shape == (board.RESOLUTION, board.RESOLUTION, 4)
    scores = training.network.scores(view.X).argmax(axis=0)
    shown = plane[::-1].reshape(-1, 4)
    for label in (0, 1):
        assert (shown[scores == label, :3] == board.CLASSES[label]).all()
    x, y, size = view.places[0, 0]  # the first feature: negative left, positive right
    left, top = board.NET[:2]
    tile = units[y - top : y - top + size, x - left : x - left + size]
    assert (tile[:, 0, :3] == board.SIGNS[0]).all()
    assert (tile[:, -1, :3] == board.SIGNS[1]).all()
