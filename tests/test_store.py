"""Kept results are found again only if nothing that decides them has changed."""

import platform
import shutil
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest

from helpers import experiments, files, layers, losses, mistakes, sgd, store
from helpers.experiments import ARCHITECTURES, Run, perform_all, run_all
from helpers.report import dependencies

KEY = store.key  # before conftest takes it away


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep results, and keep them away from the project's own."""
    monkeypatch.setattr(store, "key", KEY)
    monkeypatch.setattr(store, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def data(blobs):
    return {"blobs": blobs()}


RUNS = [
    Run("blobs", "softmax", seeds=(0, 1), epochs=2),
    Run("blobs", "1 hidden + 3 ResNet", seeds=(0, 1), epochs=2),
    Run("blobs", "1 hidden", seeds=(0, 1), epochs=2, loss=losses.LeastSquares()),
]


@pytest.fixture(scope="module")
def fresh(data):
    """The results of RUNS without a store: conftest's patch is still in place."""
    assert store.key is not KEY
    return run_all(RUNS, data, 1)


@pytest.fixture
def nothing_is_performed(monkeypatch):
    def fail(*job):
        raise AssertionError("performed again")

    def forbid():
        monkeypatch.setattr(experiments, "numbered", fail)

    return forbid


@pytest.fixture
def performed(monkeypatch):
    """The architectures of the runs that are performed, in that order."""
    names, numbered = [], experiments.numbered

    def spy(number, run, *job):
        names.append(run.architecture)
        return numbered(number, run, *job)

    monkeypatch.setattr(experiments, "numbered", spy)
    return names


def assert_same(one, two):
    """Every bit, every type and every setting."""
    assert one.run == two.run
    assert list(one.history) == list(two.history)
    arrays = [one.network.parameters, *one.history.values()]
    others = [two.network.parameters, *two.history.values()]
    for a, b in zip(arrays, others, strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def only(folder):
    (path,) = folder.iterdir()
    return path


# Kept and found -----------------------------------------------------------------------


def test_what_was_performed_is_not_performed_again(data, folder, nothing_is_performed):
    first = run_all(RUNS, data, 1)
    assert len(list(folder.iterdir())) == len(RUNS)
    nothing_is_performed()
    for one, two in zip(first, run_all(RUNS, data, 1), strict=True):
        assert_same(one, two)


def test_a_kept_network_is_the_trained_one_with_its_loss(data, nothing_is_performed):
    X, C = data["blobs"].Yv, data["blobs"].Cv
    (first,) = run_all(RUNS[2:], data, 1)
    nothing_is_performed()
    (kept,) = run_all(RUNS[2:], data, 1)
    np.testing.assert_array_equal(
        kept.network.evaluate(X, C), first.network.evaluate(X, C)
    )
    kept.network.parameters[0] += 1  # a network of its own, not the file


def test_results_of_other_processes_are_kept_too(data, folder, nothing_is_performed):
    first = run_all(RUNS, data, 2)
    nothing_is_performed()
    for one, two in zip(first, run_all(RUNS, data, 1), strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("kept", [[], [0], [1], [2, 0]])
def test_kept_and_fresh_results_come_in_the_order_of_the_runs(
    data, fresh, kept, performed
):
    run_all([RUNS[number] for number in kept], data, 1)
    performed.clear()
    results = run_all(RUNS, data, 1)
    missing = [run.architecture for run in RUNS if RUNS.index(run) not in kept]
    assert sorted(performed) == sorted(missing)
    for run, result, expected in zip(RUNS, results, fresh, strict=True):
        assert result.run == run
        assert_same(result, expected)


def test_a_run_that_is_cut_short_has_kept_what_was_done(data, folder, performed):
    stream = perform_all(RUNS, data, n_jobs=1)
    number, result = next(stream)
    stream.close()
    found = store.load(only(folder).name)
    np.testing.assert_array_equal(found[0], result.network.parameters)
    performed.clear()
    run_all(RUNS, data, 1)
    assert RUNS[number].architecture not in performed
    assert len(performed) == 2


def test_diverged_replicas_are_named_again_from_what_was_kept(
    data, nothing_is_performed, capsys
):
    wild = replace(RUNS[2], learning_rate=(1e30, 0.1))
    (first,) = run_all([wild], data, 1)
    said = capsys.readouterr().out
    nothing_is_performed()
    (kept,) = run_all([wild], data, 1)
    assert_same(first, kept)
    assert kept.diverged() == {0: 1}
    assert capsys.readouterr().out == said != ""


# The key ------------------------------------------------------------------------------

CHANGED = {
    "dataset": "other",
    "architecture": "other",
    "seeds": (0, 2),
    "epochs": 3,
    "batch_size": 65,
    "learning_rate": 0.1000001,
    "momentum": (0.9,),
    "weight_decay": 1e-9,
    "schedule": sgd.constant,
    "loss": losses.LeastSquares(),
    "samples": 50,
    "draws": (1,),
    "held_out": 1,
    "record": experiments.gradient_norms,
    "every": 2,
}
LAYERS = [layers.HiddenLayer(2, 4), layers.ResNetLayer(4, 3), layers.OutputLayer(4, 3)]


def key(run=RUNS[0], stack=LAYERS, *, data):
    return store.key(run, stack, data["blobs"])


@pytest.mark.parametrize("field", [field.name for field in fields(Run)])
def test_every_setting_is_in_the_key(data, field):
    run = Run("blobs", samples=40)
    changed = replace(run, **{field: CHANGED[field]})
    assert key(changed, data=data) not in {key(run, data=data), None}


def test_the_precision_of_the_samples_is_in_the_key(data):
    double = replace(data["blobs"], Yt=data["blobs"].Yt.astype(float))
    assert key(data={"blobs": double}) != key(data=data)


def test_what_other_modules_of_helpers_define_is_not_kept(data):
    assert key(stack=[mistakes.ForgottenBias(2, 3)], data=data) is None


def test_a_result_that_cannot_be_kept_is_there_all_the_same(folder, data, capsys):
    folder.write_text("a file where the folder should be")
    (result,) = run_all(RUNS[:1], data, 1)
    assert result.run == RUNS[0]
    assert "could not be kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "stack",
    [
        [layers.HiddenLayer(2, 5), layers.ResNetLayer(5, 3), layers.OutputLayer(5, 3)],
        [*LAYERS[:1], layers.ResNetLayer(4), *LAYERS[2:]],
        [*LAYERS[:1], layers.ResNetLayer(4, 3, outer=False), *LAYERS[2:]],
        [*LAYERS[:1], layers.ResNetLayer(4, 3, layers.ReLU()), *LAYERS[2:]],
        [layers.HiddenLayer(2, 4, layers.ReLU()), *LAYERS[1:]],
        [*LAYERS[:2], layers.HiddenLayer(4, 3)],
        [*LAYERS[:2], *LAYERS[1:]],
        [LAYERS[0], LAYERS[2]],
    ],
    ids=["width", "inner", "outer", "τ", "σ", "kind", "more", "fewer"],
)
def test_every_layer_is_in_the_key(data, stack):
    assert key(stack=stack, data=data) not in {key(data=data), None}


@pytest.mark.parametrize("name", ["Yt", "Ct", "Yv", "Cv"])
def test_every_sample_is_in_the_key(data, name):
    samples = getattr(data["blobs"], name).copy()
    samples[1, 7] = np.nextafter(samples[1, 7], np.float32(9))
    changed = {"blobs": replace(data["blobs"], **{name: samples})}
    assert key(data=changed) not in {key(data=data), None}


def test_equal_runs_have_equal_keys_wherever_they_come_from(data):
    stack = ARCHITECTURES["1 hidden + 3 ResNet"]
    copy = {"blobs": replace(data["blobs"], Yt=data["blobs"].Yt.copy())}
    one = key(Run("blobs", learning_rate=np.float64(0.2)), stack(2, 3), data=data)
    two = key(Run("blobs", learning_rate=0.2), stack(2, 3), data=copy)
    assert one == two


def test_the_code_is_in_the_key(data, monkeypatch):
    before = key(data=data)
    monkeypatch.setattr(store, "CODE", "other")
    assert key(data=data) not in {before, None}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Return the folder of a copy of helpers, which store.code() looks at."""
    shutil.copytree(files.ROOT / "helpers", tmp_path / "helpers")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return tmp_path / "helpers"


def test_the_same_code_elsewhere_has_the_same_digest(copied):
    assert store.code() == store.CODE


@pytest.mark.parametrize("name", store.DECIDE)
def test_every_module_that_trains_is_in_the_code(copied, name):
    before = store.code()
    with open(copied / f"{name}.py", "a", encoding="utf-8") as file:
        file.write("#")
    assert store.code() != before


def test_a_line_that_moves_to_the_next_module_changes_the_code(copied):
    """Lengths are part of the digest."""
    before = store.code()
    first, second = (copied / f"{name}.py" for name in store.DECIDE[:2])
    content = first.read_bytes()
    first.write_bytes(content[:-10])
    second.write_bytes(content[-10:] + second.read_bytes())
    assert store.code() != before


def test_what_experiments_import_decides_or_only_reads(monkeypatch):
    monkeypatch.chdir(files.ROOT)
    needed = {path.stem for path in dependencies.files(["experiments"])}
    assert needed - set(store.DECIDE) == {"files", "statistics", "store"}
    assert set(store.DECIDE) <= needed


OTHER = {"name": "another", "version": "1"}


def test_libraries_and_processor_are_in_the_code(monkeypatch):
    digests = {store.code()}
    with monkeypatch.context() as patch:
        patch.setattr(platform, "python_version", lambda: "3.99")
        digests.add(store.code())
    with monkeypatch.context() as patch:
        patch.setattr(np, "__version__", "9.9")
        digests.add(store.code())
    ours = np.show_config(mode="dicts")
    for part in ({"SIMD Extensions": "none"}, {"Build Dependencies": {"blas": OTHER}}):
        with monkeypatch.context() as patch:
            other = ours | part
            patch.setattr(np, "show_config", lambda mode, other=other: other)
            digests.add(store.code())
    assert len(digests) == 5


# What is never kept -------------------------------------------------------------------


class Mine(layers.Tanh):
    """An activation that is not among the helpers."""


class MyLayer(layers.OutputLayer):
    """A layer that is not among the helpers."""


class MyLoss(losses.CrossEntropy):
    """A loss that is not among the helpers."""


def my_record(network, data):
    return sgd.evaluation(network, data)


def lambda_of_helpers():
    schedule = lambda progress: 1.0  # noqa: E731 - it is the lambda that matters
    schedule.__module__ = "helpers.sgd"
    return schedule


def closure_of_helpers(data):
    return experiments.set_aside(data["blobs"], 1, sgd.evaluation)[1]


def test_what_is_defined_elsewhere_is_never_kept(data):
    assert key(data=data) is not None
    for setting in [
        {"schedule": lambda progress: 1.0},
        {"schedule": lambda_of_helpers()},
        {"schedule": partial(sgd.cosine)},
        {"schedule": abs},
        {"record": my_record},
        {"record": closure_of_helpers(data)},
        {"loss": MyLoss()},
        {"learning_rate": np.ones(2)},
    ]:
        assert key(replace(RUNS[0], **setting), data=data) is None, setting


@pytest.mark.parametrize(
    "layer",
    [
        MyLayer(2, 3),
        layers.HiddenLayer(2, 3, Mine()),
        layers.HiddenLayer(2, 3, np.tanh),
        layers.ResNetLayer(2, activation=Mine(), outer=False),
    ],
)
def test_a_layer_defined_elsewhere_is_never_kept(data, layer):
    assert key(stack=[layer], data=data) is None


def test_a_layer_whose_method_was_replaced_is_never_kept(data):
    layer = layers.OutputLayer(2, 3)
    layer.forward = lambda x, W, b: (W @ x, (x, W))
    assert key(stack=[layer], data=data) is None


def test_a_run_without_a_key_is_performed_each_time(data, folder, performed):
    mine = {"mine": lambda n, c: [layers.HiddenLayer(n, c, Mine())]}
    runs = [Run("blobs", "mine", epochs=1), replace(RUNS[0], schedule=lambda p: 1.0)]
    architectures = {**ARCHITECTURES, **mine}
    one, two = (run_all(runs, data, 1, architectures) for _ in range(2))
    assert performed == 2 * ["mine", "softmax"]
    assert not folder.exists()
    for first, second in zip(one, two, strict=True):
        assert_same(first, second)


def test_results_of_other_code_are_refused(data, folder, monkeypatch):
    """A worker that started later may have imported files that were edited since."""
    numbered = experiments.numbered
    assert numbered(0, RUNS[0], ARCHITECTURES["softmax"](2, 3), data["blobs"])[2] == (
        store.CODE
    )

    def by_other_code(*job):
        return *numbered(*job)[:2], ("other code", store.CODE[1])

    monkeypatch.setattr(experiments, "numbered", by_other_code)
    with pytest.raises(RuntimeError, match=r"helpers/ is not the same .* restart"):
        run_all(RUNS[:1], data, 1)
    assert not folder.exists()


def test_results_of_another_machine_are_used_but_not_kept(data, folder, monkeypatch):
    numbered = experiments.numbered

    def elsewhere(*job):
        return *numbered(*job)[:2], (store.CODE[0], "another processor")

    monkeypatch.setattr(experiments, "numbered", elsewhere)
    assert run_all(RUNS[:1], data, 1)[0].run == RUNS[0]
    assert not folder.exists()


# Damage -------------------------------------------------------------------------------

SAVED = (
    np.arange(6, dtype=np.float32).reshape(2, 3),
    {"loss": np.array([[1.0, np.nan]])},
)


@pytest.fixture
def saved(folder):
    """The file of a small result."""
    store.save("key", *SAVED)
    return folder / "key"


def test_a_result_comes_back_as_it_was_saved(saved):
    parameters, history = store.load("key")
    np.testing.assert_array_equal(parameters, SAVED[0], strict=True)
    np.testing.assert_array_equal(history["loss"], SAVED[1]["loss"], strict=True)
    assert list(history) == ["loss"]
    assert [path.name for path in saved.parent.iterdir()] == ["key"]


def test_nothing_is_found_where_nothing_is_kept(saved):
    assert store.load("another key") is None
    shutil.rmtree(saved.parent)
    assert store.load("key") is None


def test_a_truncated_file_counts_as_absent(saved):
    content = saved.read_bytes()
    for length in [*range(0, len(content), 97), store.SEAL, len(content) - 1]:
        saved.write_bytes(content[:length])
        assert store.load("key") is None
    saved.write_bytes(content)
    assert store.load("key") is not None


def test_a_file_with_a_changed_byte_counts_as_absent(saved):
    content = saved.read_bytes()
    for position in [*range(0, len(content), 97), store.SEAL, len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 1
        saved.write_bytes(damaged)
        assert store.load("key") is None
    saved.write_bytes(content + b"\0")
    assert store.load("key") is None


def test_the_result_of_another_key_counts_as_absent(saved):
    saved.rename(saved.with_name("another key"))
    assert store.load("another key") is None


@pytest.mark.parametrize("damage", [slice(0), slice(300), slice(1, None)])
def test_a_damaged_result_is_computed_again_and_replaced(
    data, folder, damage, performed
):
    (first,) = run_all(RUNS[:1], data, 1)
    path = only(folder)
    path.write_bytes(path.read_bytes()[damage])
    for _ in range(2):
        assert_same(run_all(RUNS[:1], data, 1)[0], first)
    assert performed == 2 * ["softmax"]
    assert only(folder) == path
