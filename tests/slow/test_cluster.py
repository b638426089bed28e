"""Runs on a Dask cluster: real scheduler and workers, on this machine's loopback."""

import gc
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from distributed import Client, LocalCluster

from helpers import experiments, layers
from helpers.backstage import parallel
from helpers.experiments import Run, perform_all, run_all

RUNS = [
    Run("blobs", architecture, seeds=(seed, seed + 1), epochs=3)
    for architecture in ("softmax", "1 hidden + 3 ResNet")
    for seed in range(6)
]


@pytest.fixture(autouse=True)
def no_client_left():
    """Close what a client that found no scheduler leaves: if another client's thread
    happened to collect it, both would wait for one lock of Dask's.
    """
    gc.collect()


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


def assert_equal(results, local):
    for one, two in zip(results, local, strict=True):
        assert one.run == two.run
        np.testing.assert_array_equal(one.network.parameters, two.network.parameters)
        for name, values in two.history.items():
            np.testing.assert_array_equal(one.history[name], values)


def test_a_cluster_gives_the_numbers_of_one_process(scheduler, data):
    assert_equal(run_all(RUNS, data), run_all(RUNS, data, n_jobs=1))


def test_runs_are_performed_by_the_workers(cluster, scheduler, data, monkeypatch):
    """A record that brings the number of the process it is made in."""
    monkeypatch.setattr(experiments, "perform", perform_with_process)
    stream = perform_all(RUNS, data)
    found = {result.history["process"] for _, result in stream}
    assert found <= {worker.process.pid for worker in cluster.workers.values()}
    assert os.getpid() not in found


def perform_with_process(number, run, layers, data, watch, perform=experiments.perform):
    *found, history = perform(number, run, layers, data, watch)
    return *found, history | {"process": os.getpid()}


def test_the_workers_perform_the_code_of_this_process(scheduler, data, monkeypatch):
    monkeypatch.setattr(layers.Tanh, "__call__", lambda self, z: 0 * z)
    assert_equal(run_all(RUNS[-2:], data), run_all(RUNS[-2:], data, n_jobs=1))


@pytest.mark.parametrize("killed", [1, 2])
def test_killed_workers_cost_time_but_no_results(cluster, scheduler, data, killed):
    """Their nannies start others."""
    runs = [replace(run, epochs=40) for run in RUNS]
    stream = perform_all(runs, data)
    results = dict([next(stream)])
    for worker in [*cluster.workers.values()][:killed]:
        os.kill(worker.process.pid, signal.SIGKILL)
    results |= dict(stream)
    local = run_all(runs, data, n_jobs=1)
    assert_equal([results[number] for number in range(len(runs))], local)


def test_without_dask_the_extra_is_named(monkeypatch, data):
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConnectionError, match=r"pip install -r requirements-cluster"):
        run_all(RUNS, data)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "localhost"])
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch, data, address):
    monkeypatch.setenv("SCHEDULER", address)
    monkeypatch.setattr(parallel, "PATIENCE", 0.5)
    with pytest.raises(ConnectionError, match=f"SCHEDULER={address}: start"):
        run_all(RUNS, data)


def test_a_scheduler_without_workers_is_named(scheduler, monkeypatch, data):
    def nobody_comes(client, workers, timeout):
        raise TimeoutError

    monkeypatch.setattr(Client, "wait_for_workers", nobody_comes)
    with pytest.raises(ConnectionError, match="no Dask scheduler with a worker"):
        run_all(RUNS, data)
