"""What training reached: accuracies over seeds, failed ones counted and left out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.experiments import Result, Run, run_all
from report import accuracies


@pytest.fixture
def data(blobs):
    return {"blobs": blobs()}


@pytest.fixture
def trained(data):
    return run_all([Run("blobs", "1 hidden", (0, 1, 2), epochs=3)], data, 1)


def faked(train, validation=None):
    """A Result whose replicas end with these accuracies."""
    train = np.array(train)
    history = {"epoch": np.array([1]), "train_accuracy": train[None]}
    history["validation_accuracy"] = np.array(validation or train)[None]
    run = Run("blobs", "1 hidden", range(len(train)))
    network = SimpleNamespace(parameters=np.zeros((len(train), 7)))
    return Result(run, network, history)


def test_a_summary_is_mean_sd_and_interval_of_the_last_epoch(data, trained):
    (row,) = accuracies.summary(trained).to_dict("records")
    values = 100 * trained[0].history["validation_accuracy"][-1]
    assert row["dataset"] == "blobs"
    assert (row["replicas"], row["failed"], row["parameters"]) == (3, 0, 63)
    assert row["validation"] == pytest.approx(values.mean())
    assert row["validation sd"] == pytest.approx(values.std(ddof=1))
    expected = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (row["low"], row["high"]) == pytest.approx(np.clip(expected, 0, 100))
    assert "ceiling" not in row


def test_a_known_ceiling_stands_beside_it():
    sets = {"blobs": SimpleNamespace(ceiling=0.95, Yv=np.zeros((2, 100)))}
    (row,) = accuracies.summary([faked([0.9, 0.9])], sets).to_dict("records")
    assert (row["ceiling"], row["to ceiling"]) == pytest.approx((95, 5))
    sets["blobs"].ceiling = None
    (row,) = accuracies.summary([faked([0.9, 0.9])], sets).to_dict("records")
    assert np.isnan([row["ceiling"], row["to ceiling"]]).all()


def test_failed_replicas_are_counted_and_left_out():
    lost = faked([0.9, np.nan, 0.8, 0.85, 0.3])
    (row,) = accuracies.summary([lost]).to_dict("records")
    assert row["failed"] == 2
    assert row["validation"] == pytest.approx(85)
    assert np.isnan(accuracies.validation(lost)).tolist() == [0, 1, 0, 0, 1]
    (row,) = accuracies.summary([faked([np.nan, np.nan])]).to_dict("records")
    assert row["failed"] == 2
    assert np.isnan(row["validation"])


def test_the_gap_is_training_minus_validation():
    result = faked([0.9, 0.8], [0.7, 0.75])
    np.testing.assert_allclose(accuracies.gap(result), [20, 5])


@pytest.mark.parametrize("chunk", [7, 1000])
def test_averaged_is_the_accuracy_of_the_mean_probabilities(
    data, trained, chunk, monkeypatch
):
    monkeypatch.setattr(accuracies, "CHUNK", chunk)
    one, (result,) = data["blobs"], trained
    mean = result.network.probabilities(one.Yv).mean(axis=0)
    right = mean.argmax(axis=0) == one.Cv.argmax(axis=0)
    assert accuracies.averaged(result, one) == pytest.approx(100 * right.mean())


def test_the_sampling_error_is_that_of_a_share():
    data = SimpleNamespace(Yv=np.zeros((2, 2500)))
    assert accuracies.sampling_error(data, 50) == pytest.approx(1.96)
    assert accuracies.sampling_error(data, [0, 100]) == pytest.approx([0.12, 0.12])


def test_a_printed_table_joins_mean_and_sd_and_counts_failures(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracies.results, "FIGURES", tmp_path)
    sets = {"blobs": SimpleNamespace(ceiling=0.95, Yv=np.zeros((2, 100)))}
    frame = accuracies.summary([faked([0.9, 0.8, np.nan])], sets)
    lines = accuracies.table(frame, "t", digits=1).markdown.split("\n")
    head = [cell.strip() for cell in lines[0].split("|")[1:-1]]
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    row = dict(zip(head, cells, strict=True))
    assert row["validation"] == "85.0 ± 7.1 (1 failed)"
    assert row["95 %"] == "21.5 to 100.0"
    assert (row["ceiling"], row["to ceiling"]) == ("95.0", "+10.0")
    assert "validation sd" not in row


def test_what_is_reached_stands_beside_a_ceiling_or_says_that_it_is_unknown():
    row = {"dataset": "A", "averaged": 93.73, "error": 0.6, "ceiling": 93.59}
    other = row | {"dataset": "B", "ceiling": np.nan}
    told = accuracies.beside_ceiling(pd.DataFrame([row, other]))
    assert told == (
        "A 93.7 ± 0.6 % (best possible 93.6 %); B 93.7 ± 0.6 % (best possible unknown)"
    )
