"""Runs on a Dask cluster: real scheduler and workers, on this machine's loopback."""

import os
import signal

import numpy as np
import pytest
from distributed import LocalCluster

from helpers import experiments
from helpers.experiments import Result, Run, perform_all, run_all

RUNS = [
    Run("blobs", architecture, seeds=(seed, seed + 1), epochs=3)
    for architecture in ("softmax", "1 hidden + 3 ResNet")
    for seed in range(6)
]


@pytest.fixture(scope="module")
def cluster():
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", processes=True, **settings) as cluster:
        yield cluster


@pytest.fixture
def scheduler(cluster, monkeypatch):
    monkeypatch.setenv("SCHEDULER", cluster.scheduler_address)


@pytest.fixture(scope="module")
def data(blobs):
    return {"blobs": blobs(m=2000)}


@pytest.fixture(scope="module")
def local(data):
    return run_all(RUNS, data, n_jobs=1)


def assert_equal(results, local):
    for one, two in zip(results, local, strict=True):
        assert one.run == two.run
        np.testing.assert_array_equal(one.network.parameters, two.network.parameters)
        for name, values in two.history.items():
            np.testing.assert_array_equal(one.history[name], values)


def test_a_cluster_gives_the_numbers_of_one_process(scheduler, data, local):
    assert_equal(run_all(RUNS, data), local)


def test_runs_are_performed_by_the_workers(cluster, scheduler, data, monkeypatch):
    """A record that brings the number of the process it is made in."""
    monkeypatch.setattr(experiments, "numbered", numbered_by_process)
    stream = perform_all(RUNS, data)
    found = {result.history["process"] for _, result in stream}
    assert found <= {worker.process.pid for worker in cluster.workers.values()}
    assert os.getpid() not in found


def numbered_by_process(number, run, layers, data):
    return number, Result(run, None, {"process": os.getpid()}), "no code"


def test_a_killed_worker_costs_time_but_no_results(cluster, scheduler, data, local):
    stream = perform_all(RUNS, data)
    results = dict([next(stream)])
    victim = next(iter(cluster.workers.values()))
    os.kill(victim.process.pid, signal.SIGKILL)
    results |= dict(stream)
    assert_equal([results[number] for number in range(len(RUNS))], local)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch, data):
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:9")
    monkeypatch.setattr(experiments, "PATIENCE", 0.5)
    with pytest.raises(ConnectionError, match=r"SCHEDULER=tcp://127.0.0.1:9: start"):
        run_all(RUNS, data)
