"""The benchmark times like with like: equal steps, fair ratios, absent peers named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import BATCH, growth, ours, plain, scikit
from benchmarks import __main__ as bench
from helpers.experiments import ARCHITECTURES

LOCAL = ("plain", "ours", "scikit", "limit")
INSTALLED = [
    each
    for each in bench.COMPETITORS
    if each.module in LOCAL and (each.module != "limit" or shutil.which("c++"))
]


@pytest.fixture
def data(blobs):
    return blobs(m=150)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("competitor", INSTALLED, ids=lambda each: each.name)
def test_every_competitor_takes_our_step(data, competitor, architecture):
    layers = ARCHITECTURES[architecture](2, 3)
    if bench.expresses(competitor, layers):
        assert bench.step_error(competitor, layers, data) < bench.TOLERANCE
    else:
        assert competitor.module == "scikit"
        assert architecture not in ("1 hidden", "2 hidden")


class Wrong(plain.Plain):
    def step(self, X, C):
        super().step(X, C)
        self.parts[-1].b[0] *= 1.001


def test_a_competitor_with_another_step_is_not_timed(data, monkeypatch):
    monkeypatch.setattr(plain, "Plain", Wrong)
    with pytest.raises(AssertionError, match="plain layers, float64, softmax: "):
        bench.epoch_times(INSTALLED[:1], {"blobs": data}, 1)


@pytest.mark.parametrize("architecture", ["softmax", "1 hidden + 3 ResNet"])
@pytest.mark.parametrize(
    ("name", "ours", "tolerance"),
    [
        ("helpers without engine, single", "helpers, single", 1e-5),
        ("helpers without engine, R = 10", "helpers, R = 10", 1e-5),
        ("plain layers, float64", "helpers, single", 1e-5),
        *[
            (each.name, "helpers, single", 1e-5)
            for each in INSTALLED
            if each.module == "limit"
        ],
    ],
)
def test_an_epoch_with_its_evaluation_is_ours(
    data, architecture, name, ours, tolerance
):
    layers = ARCHITECTURES[architecture](2, 3)
    ends = []
    for each in (name, ours):
        (competitor,) = [c for c in INSTALLED if c.name == each]
        network = bench.build(competitor, layers, data)
        for _ in range(2):
            rows = network.epoch(bench.generators(competitor))
        rows = rows.values() if isinstance(rows, dict) else np.concatenate(rows)
        ends.append(np.concatenate([network.flat().ravel(), np.ravel(list(rows))]))
    np.testing.assert_allclose(*ends, rtol=tolerance, atol=tolerance)


def test_an_absent_peer_is_named(capsys):
    absent = replace(INSTALLED[0], name="Nobody", module="nobody")
    assert bench.present([INSTALLED[0], absent]) == INSTALLED[:1]
    said = "absent: Nobody needs benchmarks.nobody"
    assert said in capsys.readouterr().out


def test_the_table_sums_networks_and_compares_on_those_shared():
    times = {
        (name, dataset, network): seconds
        for dataset in ("A", "B")
        for name, networks in {
            bench.PLAIN: {"one": 0.008, "two": 0.016},
            bench.OURS[0]: {"one": 0.001, "two": 0.002},
            "some": {"two": 0.004},
        }.items()
        for network, seconds in networks.items()
    }
    frame = bench.table(times, [bench.PLAIN, bench.OURS[0], "some"])
    frame = frame.set_index("competitor")
    assert frame["ms"].tolist() == pytest.approx([48, 6, 8])
    assert frame["A"].tolist() == pytest.approx([24, 3, 4])
    assert frame["networks"].tolist() == [2, 2, 1]
    assert frame["plain / it"].tolist() == pytest.approx([1, 8, 4])
    assert frame["it / ours"].tolist() == pytest.approx([8, 1, 2])


def test_the_table_shows_the_digits_that_a_repetition_would_confirm():
    columns = ["competitor", "networks", "A", "ms", "plain / it", "it / ours"]
    rows = [["plain", 2, 24.04, 48.06, 1, 7.999], ["some", 1, 4, 8, 4, 2]]
    found = pd.DataFrame(rows, columns=columns).assign(**{"peak MB": [192.4, np.nan]})
    assert bench.rounded(found).to_csv(index=False).splitlines()[1:] == [
        "plain,2,24.0,48.1,1.00,8.00,192",
        "some,1,4.0,8.0,4.00,2.00,",
    ]


def test_the_appendix_names_the_settings_of_the_benchmark():
    template = Path(bench.__file__).parents[1] / "report" / "report.typ"
    text = " ".join(template.read_text("utf-8").split())
    assert f"Batches hold {BATCH} samples" in text
    assert f"{bench.SEEDS} seeds and {bench.EPOCHS} epochs on two processes" in text


def test_times_are_per_replica_and_every_competitor_is_timed(data, monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    times = bench.epoch_times(INSTALLED, {"blobs": data}, 3)
    names = {name for name, _, _ in times}
    assert names == {competitor.name for competitor in INSTALLED}
    assert times["helpers, R = 20", "blobs", "softmax"] == 1 / 20
    assert times[bench.PLAIN, "blobs", "softmax"] == 1


def test_what_is_compared_with_ours_has_as_many_replicas():
    assert bench.ours("JAX scan + vmap, R = 20") == "helpers, R = 20"
    assert bench.ours("PyTorch by hand, R = 10") == "helpers, R = 10"
    assert bench.ours("JAX scan") == bench.ours(bench.PLAIN) == "helpers, single"


def test_growth_varies_one_quantity_at_a_time(monkeypatch):
    seen = []

    def spy(kinds, rounds, **size):
        seen.append(size)
        return dict.fromkeys(kinds, 0.002)

    monkeypatch.setattr(growth, "median_epochs", spy)
    frame = growth.measure(1, growth.KINDS)
    assert set(frame["ms"]) == {2.0}
    assert set(frame["quantity"]) == set(growth.GRID)
    assert set(frame["run"]) == set(growth.KINDS)
    for size in seen:
        changed = [q for q in size if size[q] != growth.USUAL[q]]
        assert len(changed) <= 1


def test_growth_trains_networks_of_the_asked_size():
    seen = []

    class Spy(ours.Stack):
        def __init__(self, layers, parameters, data, batch):
            seen.append((len(layers), layers[0].outputs, len(parameters), batch))
            seen.append((data.Yt.shape[1], data.Yv.shape[1]))
            super().__init__(layers, parameters, data, batch)

    size = {"replicas": 2, "samples": 70, "batch": 8, "width": 4, "depth": 2}
    assert growth.median_epochs({"spy": Spy}, 1, **size)["spy"] > 0
    assert seen == [(3, 4, 2, 8), (70, 17)]


def test_scikit_learn_has_no_residual_layers():
    layers = {name: layers(2, 3) for name, layers in ARCHITECTURES.items()}
    known = [name for name in layers if scikit.expresses(layers[name])]
    assert known == ["1 hidden", "2 hidden"]
