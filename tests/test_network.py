"""Networks: the whole gradient for every depth and kind, and the book-keeping."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import checks
from helpers.backstage import compiled
from helpers.backstage.rehearsal import rehearse
from helpers.layers import HiddenLayer, Layer, OutputLayer
from helpers.losses import CrossEntropy, LeastSquares, softmax
from helpers.mistakes import chain
from helpers.network import Network, is_correct, join
from helpers.sgd import SGD

KINDS = pytest.mark.parametrize("kind", ["standard", "residual", "mixed"])
REPLICAS = pytest.mark.parametrize("replicas", [None, 3])


def build(layers, seed=0, replicas=None, dtype=float, **options):
    """Return a network with random biases too, its parameters read-only."""
    rng = np.random.default_rng(seed)
    if isinstance(layers, str):
        layers = chain(layers, 4, 3, 4)
    rngs = rng.spawn(replicas) if replicas else rng
    network = Network(layers, rngs, dtype=dtype, **options)
    network.parameters += 0.1 * rng.normal(size=network.parameters.shape).astype(dtype)
    network.parameters.setflags(write=False)
    return network


def failures(tests):
    return [str(test) for test in tests if not test.passed]


@KINDS
@pytest.mark.parametrize(("depth", "m"), [(1, 64), (2, 1), (5, 2)])
def test_every_block_and_x_pass_the_checks(draw, kind, depth, m):
    network, rng = build(chain(kind, depth, 3, 4)), np.random.default_rng(0)
    results = checks.network_tests("net", network, *draw(m=m), rng)
    assert len(results) == 2 * (len(network.shapes) + 2) + 1
    assert failures(results) == []


@KINDS
def test_the_gradient_of_a_stack_passes_the_checks(draw, kind):
    network, rng = build(kind, replicas=3), np.random.default_rng(0)
    tests = checks.network_tests("stack", network, *draw(replicas=(3,)), rng)
    X, C = draw()  # shared by all
    tests += checks.gradient_test(
        lambda flat: network.with_parameters(flat).value(X, C),
        network.parameters,
        network.gradient(X, C),
        rng,
    )
    assert failures(tests) == []


@KINDS
@pytest.mark.parametrize("loss", [CrossEntropy(), LeastSquares()])
def test_a_stack_equals_its_replicas(draw, kind, loss):
    network = build(kind, replicas=3, loss=loss)
    X, C = draw(replicas=(3,))
    stacks = network.value(X, C), *network.gradients(X, C)
    for r in range(3):
        one = network.with_parameters(network.parameters[r])
        singles = one.value(X[r], C[r]), *one.gradients(X[r], C[r])
        for stack, single in zip(stacks, singles, strict=True):
            np.testing.assert_allclose(stack[r], single, rtol=1e-12, atol=1e-13)


def test_a_list_of_generators_draws_what_each_draws_alone():
    rngs = [[np.random.default_rng(seed) for seed in (5, 7)] for _ in range(2)]
    layers = chain("mixed", 4, 3, 4)
    stack = Network(layers, rngs[0])
    for parameters, rng in zip(stack.parameters, rngs[1], strict=True):
        np.testing.assert_array_equal(parameters, Network(layers, rng).parameters)
    assert not np.array_equal(*stack.parameters)


def test_what_a_network_of_another_depth_kept_is_refused(draw):
    network, (X, _) = build("residual"), draw()
    scores, kept = network.forward(X)
    for first, last in ((kept[1:], kept[:-1]), (kept[:1] + kept, kept + kept[-1:])):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            network.backward(first, scores)
        with pytest.raises(ValueError, match=r"shorter|longer"):
            network.jvp(last, X, network.parameters)
    for layers in (network.layers[:-1], [*network.layers, OutputLayer(4, 2)]):
        network.layers = layers
        with pytest.raises(ValueError, match=r"shorter|longer"):
            network.forward(X)


def test_a_seed_draws_what_its_generator_draws():
    layers = [HiddenLayer(2, 4), OutputLayer(4, 3)]
    drawn = Network(layers, np.random.default_rng(5)).parameters
    assert np.array_equal(Network(layers, 5).parameters, drawn)
    assert np.array_equal(Network(layers, [4, 5]).parameters[1], drawn)


@REPLICAS
def test_blocks_are_views_of_the_flat_vector_and_join_to_it(replicas):
    network = build("mixed", replicas=replicas)
    flat = network.parameters
    blocks = [block for layer in network.split(flat) for block in layer]
    assert [block.shape[-2:] for block in blocks] == network.shapes
    assert all(np.shares_memory(block, flat) for block in blocks)
    np.testing.assert_array_equal(join(blocks), flat)


@pytest.mark.parametrize(("extra", "replicas"), [(-1, ()), (1, (2,))])
def test_a_vector_of_another_length_is_refused(extra, replicas):
    network = build("residual")
    size = sum(network.sizes)
    expected = f"^a vector of {size + extra} numbers .*: the layers have {size}$"
    with pytest.raises(ValueError, match=expected):
        network.parameters = np.zeros((*replicas, size + extra))


def test_a_copy_of_a_network_can_be_trained(draw):
    X, C = draw()
    network = Network(chain("mixed", 3, 3, 4), np.random.default_rng(0), dtype=float)
    before, other = network.value(X, C), copy.deepcopy(network)
    np.testing.assert_array_equal(other.gradient(X, C), network.gradient(X, C))
    other.parameters[:] -= 0.1 * other.gradient(X, C)
    assert other.value(X, C) < before == network.value(X, C)
    empty = copy.deepcopy(Network(network.layers))  # without parameters
    assert empty.with_parameters(network.parameters).value(X, C) == before


def test_with_parameters_leaves_the_network_as_it_is(draw):
    class Mine(Network):
        def probabilities(self, X):
            return 7

    X, C = draw()
    network = Mine([OutputLayer(3, 4)], np.random.default_rng(0))
    before = network.value(X, C)
    other = network.with_parameters(network.parameters + X.sum())
    assert other.value(X, C) != before == network.value(X, C)
    assert other.probabilities(X) == 7


@pytest.mark.parametrize("columns", [1, 5, 24, 8192])
@pytest.mark.parametrize(("replicas", "own"), [(None, ()), (3, ()), (3, (3,))])
def test_evaluation_in_chunks_is_evaluation(draw, columns, replicas, own, monkeypatch):
    """A chunk counts the columns of all replicas."""
    monkeypatch.setattr("helpers.backstage.compiled.COLUMNS", columns)
    found = []

    class Spy(OutputLayer):
        def forward(self, x, W, b):
            found.append(x.shape[-1])
            return super().forward(x, W, b)

    network = build([Spy(3, 4)], replicas=replicas)
    X, C = draw(m=23, replicas=own)
    loss, accuracy = network.evaluate(X, C)
    n = max(1, columns // (replicas or 1))
    assert found == [min(n, 23 - start) for start in range(0, 23, n)]
    right = network.scores(X).argmax(axis=-2) == C.argmax(axis=-2)
    np.testing.assert_allclose(loss, network.value(X, C), rtol=1e-12)
    np.testing.assert_allclose(accuracy, right.mean(axis=-1), rtol=1e-12)
    assert np.shape(loss) == np.shape(accuracy) == ((replicas,) if replicas else ())


@pytest.mark.parametrize(("m", "batch"), [(23, 23), (600, 512)])
def test_single_precision_is_judged_by_the_engine_in_chunks(draw, m, batch):
    samples = draw(m=m, replicas=(2,), dtype=np.float32)
    network = build("mixed", replicas=2, dtype=np.float32)
    assert compiled.recorded(network, *samples).programs.batch == batch
    assert compiled.recorded(build("mixed", replicas=2), *samples).programs is False


@given(
    arrays(float, (3, 4, 6), elements=st.floats(-1e3, 1e3), unique=True),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_without_ties_is_correct_is_argmax(scores, labels):
    expected = scores.argmax(axis=-2) == np.array(labels)
    np.testing.assert_array_equal(is_correct(scores, np.eye(4)[:, labels]), expected)


@pytest.mark.parametrize("level", [-2.5, 0, 1e4])
def test_a_tie_is_wrong(level):
    scores = np.array([[level, level, level], [level, level - 1, level - 1]])
    C = np.array([[1, 1, 0], [0, 0, 1]])
    assert is_correct(scores, C).tolist() == [False, True, False]


def test_a_tie_of_257_classes_is_no_single_winner():
    assert is_correct(np.zeros((257, 1)), np.eye(257)[:, :1]).tolist() == [False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_parameters_is_kept(draw, dtype):
    X, C = draw(dtype=dtype)
    network = build("mixed", dtype=dtype, replicas=2)
    values = network.scores(X), network.value(X, C), *network.gradients(X, C)
    assert {value.dtype for value in values} == {np.dtype(dtype)}
    assert Network(network.layers, np.random.default_rng(0)).parameters.dtype == "f4"


def test_probabilities_are_the_softmax_of_the_scores(draw):
    network, (X, _) = build("mixed", replicas=2), draw()
    expected = softmax(network.forward(X)[0])
    np.testing.assert_array_equal(network.probabilities(X), expected)


class Halved(Layer):
    """A layer without parameters."""

    inputs = outputs = 3
    shapes = {}

    def forward(self, x):
        return x / 2, ()

    def backward(self, kept, dy):
        return dy / 2, ()


@pytest.mark.parametrize("lead", [(), (2,)])
def test_layers_without_parameters_work_alone_and_among_others(draw, lead):
    X, C = draw(classes=3)
    alone = Network([Halved()]).with_parameters(np.zeros((*lead, 0)))
    assert Network([Halved()], np.random.default_rng(0)).parameters.shape == (0,)
    assert alone.gradient(X, C).shape == (*lead, 0)
    for layers in (alone, build([OutputLayer(3, 3), Halved()], replicas=2)):
        rehearse(layers, SGD(0.1), X, C)
    among = build([Halved(), OutputLayer(3, 3)], replicas=2)
    plain = Network([OutputLayer(3, 3)]).with_parameters(among.parameters)
    gradient, dX = among.gradients(X, C)
    expected, dx = plain.gradients(X / 2, C)
    np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_array_equal(dX, dx / 2)
