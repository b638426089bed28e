"""The benchmark times like with like: equal steps, fair ratios, absent peers named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import BATCH, growth, ours, plain
from benchmarks import __main__ as bench
from helpers.architectures import ARCHITECTURES

LOCAL = ("plain", "ours", "scikit", *(["limit"] if shutil.which("c++") else []))
INSTALLED = {each.name: each for each in bench.COMPETITORS if each.module in LOCAL}
DEEPEST = ARCHITECTURES[bench.DEEPEST](2, 3)


@pytest.fixture
def data(blobs):
    return blobs(m=150)


@pytest.mark.parametrize("name", INSTALLED)
def test_every_competitor_takes_our_step(data, name):
    for architecture in ("softmax", "2 hidden", bench.DEEPEST):
        layers = ARCHITECTURES[architecture](2, 3)
        if INSTALLED[name].expresses(layers):
            assert bench.step_error(INSTALLED[name], layers, data) < bench.TOLERANCE
        else:
            assert INSTALLED[name].module == "scikit"
            assert architecture != "2 hidden"


class Wrong(plain.Plain):
    def step(self, X, C):
        super().step(X, C)
        self.parts[-1].b[0] *= 1.001


def test_a_competitor_with_another_step_is_not_timed(data, monkeypatch):
    monkeypatch.setattr(plain, "Plain", Wrong)
    with pytest.raises(AssertionError, match="plain layers, float64, softmax: "):
        bench.epoch_times([INSTALLED[bench.PLAIN]], {"blobs": data}, 1)


def test_an_epoch_with_its_evaluation_is_ours(data):
    def end(name):
        """Return parameters, losses and accuracies after two epochs."""
        network = INSTALLED[name].build(DEEPEST, data)
        for _ in range(2):
            rows = network.epoch(growth.generators(INSTALLED[name].replicas))
        rows = rows.values() if isinstance(rows, dict) else np.concatenate(rows)
        return np.concatenate([network.flat().ravel(), np.ravel(list(rows))])

    singles = ("helpers without engine, single", bench.PLAIN, "C++ for these sizes")
    pairs = [(name, "helpers, single") for name in singles if name in INSTALLED]
    for name, same in [*pairs, ("helpers without engine, R = 10", "helpers, R = 10")]:
        np.testing.assert_allclose(end(name), end(same), rtol=1e-5, atol=1e-5)


def test_an_absent_peer_is_named(capsys):
    known = INSTALLED[bench.PLAIN]
    assert bench.present([known, replace(known, name="X", module="x")]) == [known]
    assert "absent: X needs benchmarks.x" in capsys.readouterr().out


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
    assert frame["competitor"].tolist() == [bench.PLAIN, bench.OURS[0], "some"]
    assert frame["ms"].tolist() == pytest.approx([48, 6, 8])
    assert frame["A"].tolist() == pytest.approx([24, 3, 4])
    assert frame["networks"].tolist() == [2, 2, 1]
    assert frame["plain / it"].tolist() == pytest.approx([1, 8, 4])
    assert frame["it / ours"].tolist() == pytest.approx([8, 1, 2])
    shown = bench.rounded(frame.assign(**{"peak MB": [192.4, 1, np.nan]}))
    assert shown.to_csv(index=False).splitlines() == [
        "competitor,networks,A,B,ms,plain / it,it / ours,peak MB",
        '"plain layers, float64",2,24.0,24.0,48.0,1.00,8.00,192',
        '"helpers, single",2,3.0,3.0,6.0,8.00,1.00,1',
        "some,1,4.0,4.0,8.0,4.00,2.00,",
    ]


def test_what_is_compared_with_ours_has_as_many_replicas():
    assert bench.ours("JAX scan + vmap, R = 20") == "helpers, R = 20"
    assert bench.ours("PyTorch by hand, R = 10") == "helpers, R = 10"
    assert bench.ours("JAX scan") == bench.ours(bench.PLAIN) == "helpers, single"


def test_the_supplement_names_the_settings_of_the_benchmark():
    speed = Path("notebooks", "supplement", "5_speed.ipynb")
    text = (Path(bench.__file__).parents[1] / speed).read_text("utf-8")
    assert f"Batches hold {BATCH} samples" in text
    assert f"{bench.SEEDS} seeds and {bench.EPOCHS} epochs on two processes" in text


def test_times_are_per_replica_and_every_competitor_is_timed(data, monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(growth.time, "perf_counter", lambda: next(ticks))
    few = {name: ARCHITECTURES[name] for name in ("softmax", "1 hidden")}
    monkeypatch.setattr(bench, "ARCHITECTURES", few)
    names = [bench.PLAIN, "helpers, R = 20", "scikit-learn MLPClassifier"]
    timed = [INSTALLED[name] for name in names]
    times = bench.epoch_times(timed, {"blobs": data}, 3)
    assert [name for name, _, _ in times] == [*names[:2], *names]
    assert times["helpers, R = 20", "blobs", "softmax"] == 1 / 20
    assert times[bench.PLAIN, "blobs", "softmax"] == 1


def test_growth_varies_one_quantity_at_a_time(monkeypatch):
    seen = []

    def spy(kinds, rounds, **size):
        seen.append(size)
        return dict.fromkeys(kinds, 0.002)

    monkeypatch.setattr(growth, "median_epochs", spy)
    frame = growth.measure(1, growth.KINDS)
    assert set(frame["ms"]) == {2.0}
    assert set(frame["run"]) == set(growth.KINDS)
    varied = [(q, v) for q, values in growth.GRID.items() for v in values]
    rows = frame[["quantity", "value"]].drop_duplicates().itertuples(index=False)
    assert [tuple(row) for row in rows] == varied
    assert seen == [growth.USUAL | {q: v} for q, v in varied]


def test_cells_are_all_widths_batches_and_replicas_beside_ours(monkeypatch):
    seen = []

    def spy(kinds, rounds, **size):
        seen.append((kinds, size))
        return {"engine": 0.002, "NumPy": 0.005}

    monkeypatch.setattr(growth, "median_epochs", spy)
    cells = growth.measure_cells(1, {"NumPy": 1}, {"NumPy": 10})
    assert len(seen) == 48
    assert all(kinds["NumPy"] == size["replicas"] for kinds, size in seen)
    assert {size["samples"] for _, size in seen} == {growth.FEW}
    panels = growth.draw_cells(cells).axes
    titles = [ax.get_title() for ax in panels]
    assert titles[::7] == ["batch 16, R = 1", "batch 1024, R = 10"]
    for ax in panels:
        _, line = ax.lines
        assert line.get_ydata().tolist() == [2.5] * len(growth.CELLS["width"])


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
