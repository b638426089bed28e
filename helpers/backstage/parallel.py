"""Independent jobs side by side: on the cores here, or on the machines of a cluster.

The workers are sent the code of `helpers` as it is in this process along with every
job, whatever has been edited, reloaded or replaced here since they started.
"""

import os
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Thread

import cloudpickle
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

import helpers

PATIENCE = 10  # seconds to wait for a scheduler
WATCHED = set()  # in a worker: the process that it works for


def perform_jobs(function, jobs, n_jobs=-1):
    """Yield function(*job) for every job, in any order.

    joblib decides where: n_jobs processes, or what a `joblib.parallel_config` of the
    caller says; or else the workers of the Dask scheduler whose address, tcp://host:port,
    is in the environment variable SCHEDULER. Raises ConnectionError if none answers.
    """
    cloudpickle.register_pickle_by_value(helpers)
    if address := os.environ.get("SCHEDULER"):
        with cluster(address) as client:
            from distributed import as_completed  # noqa: PLC0415

            futures = [client.submit(function, *job, pure=False) for job in jobs]
            try:
                for _, done in as_completed(futures, with_results=True):
                    yield done
            finally:
                client.cancel(futures)
        return
    streams = get_active_backend()[0].supports_return_generator
    kind = "generator_unordered" if streams else "list"
    work = partial(perform_for, os.getpid(), function)
    yield from Parallel(n_jobs, return_as=kind)(delayed(work)(*job) for job in jobs)


def perform_for(caller, function, *job):
    """Perform a job; a worker ends with the process that it works for."""
    if os.getppid() == caller and caller not in WATCHED:
        WATCHED.add(caller)
        Thread(target=end_with, args=(caller,), daemon=True).start()
    return function(*job)


def end_with(caller):
    """End this process when its parent is gone, however that ended."""
    while os.getppid() == caller:
        time.sleep(1)
    os._exit(1)


@contextmanager
def cluster(address):
    """Connect to a Dask cluster once a worker is there."""
    try:
        from distributed import Client  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise ConnectionError(
            "SCHEDULER needs Dask: install it here and on every machine by "
            ".venv/bin/python -m pip install -r requirements-cluster.lock"
        ) from error
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, timeout=PATIENCE))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler with a worker answers at SCHEDULER={address}: "
                "start both, by `.venv/bin/python -m dask scheduler` and `... worker`"
            ) from error
        yield client
