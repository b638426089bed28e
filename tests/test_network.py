"""Networks: the whole gradient for every depth and kind, and the book-keeping."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import checks
from helpers.layers import HiddenLayer, Layer, OutputLayer, ResNetLayer
from helpers.losses import CrossEntropy, LeastSquares, softmax
from helpers.network import Network, is_correct, join


def standard(depth):
    widths = [3, 6, 5, 4, 7][:depth]
    hidden = [HiddenLayer(a, b) for a, b in pairwise(widths)]
    return [*hidden, OutputLayer(widths[-1], 4)]


def residual(depth):
    return [*(ResNetLayer(3, 2 + i) for i in range(depth - 1)), OutputLayer(3, 4)]


def mixed(depth):
    layers = [HiddenLayer(3, 5), ResNetLayer(5, 7), HiddenLayer(5, 4)]
    layers = [*layers, ResNetLayer(4, outer=False)][: depth - 1]
    return [*layers, OutputLayer(layers[-1].outputs if layers else 3, 4)]


KINDS = pytest.mark.parametrize("kind", [standard, residual, mixed])
DEPTHS = pytest.mark.parametrize("depth", range(1, 6))


def build(layers, seed=0, replicas=None, dtype=float, **options):
    """Return a network with random biases too, its parameters read-only."""
    rng = np.random.default_rng(seed)
    rngs = rng.spawn(replicas) if replicas else rng
    network = Network(layers, rngs, dtype=dtype, **options)
    network.parameters += 0.1 * rng.normal(size=network.parameters.shape).astype(dtype)
    network.parameters.setflags(write=False)
    return network


@KINDS
@DEPTHS
@pytest.mark.parametrize(("m", "seed"), [(1, 0), (2, 1), (64, 2)])
def test_every_block_and_x_pass_the_checks(draw, kind, depth, m, seed):
    network = build(kind(depth), seed)
    X, C = draw(m=m, seed=seed)
    results = checks.network_tests("net", network, X, C, np.random.default_rng(seed))
    assert len(results) == 2 * (len(network.shapes) + 2) + 1
    assert [str(result) for result in results if not result.passed] == []


@KINDS
def test_the_gradient_of_a_stack_passes_the_checks(draw, kind):
    network = build(kind(4), replicas=3)
    X, C = draw(replicas=(3,))
    results = checks.network_tests("stack", network, X, C, np.random.default_rng(0))
    assert [str(result) for result in results if not result.passed] == []


@KINDS
def test_samples_shared_by_a_stack_have_one_gradient_per_replica(draw, kind):
    network = build(kind(4), replicas=3)
    (X, C), rng = draw(), np.random.default_rng(0)
    shared = checks.gradient_test(
        lambda flat: network.with_parameters(flat).value(X, C),
        network.parameters,
        network.gradient(X, C),
        rng,
    )
    assert [str(result) for result in shared if not result.passed] == []


@KINDS
@pytest.mark.parametrize("loss", [CrossEntropy(), LeastSquares()])
def test_a_stack_equals_its_replicas(draw, kind, loss):
    network = build(kind(4), replicas=3, loss=loss)
    X, C = draw(replicas=(3,))
    values, (gradients, dX) = network.value(X, C), network.gradients(X, C)
    for r in range(3):
        one = network.with_parameters(network.parameters[r])
        gradient, dx = one.gradients(X[r], C[r])
        assert values[r] == pytest.approx(one.value(X[r], C[r]), rel=1e-12)
        np.testing.assert_allclose(gradients[r], gradient, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(dX[r], dx, rtol=1e-12, atol=1e-13)


def test_a_list_of_generators_draws_what_each_draws_alone():
    rngs = [[np.random.default_rng(seed) for seed in (5, 7)] for _ in range(2)]
    stack = Network(mixed(4), rngs[0])
    for parameters, rng in zip(stack.parameters, rngs[1], strict=True):
        np.testing.assert_array_equal(parameters, Network(mixed(4), rng).parameters)
    assert not np.array_equal(*stack.parameters)


@KINDS
def test_jvp_and_backward_are_transposes(draw, kind):
    network, rng = build(kind(5)), np.random.default_rng(1)
    X, _ = draw()
    scores, kept = network.forward(X)
    u, dX = rng.normal(size=scores.shape), rng.normal(size=X.shape)
    d = rng.normal(size=network.parameters.shape)
    flat, gX = network.backward(kept, u)
    left = np.sum(u * network.jvp(kept, dX, d))
    assert left == pytest.approx(np.sum(flat * d) + np.sum(gX * dX), rel=1e-12)


def test_what_a_network_of_another_depth_kept_is_refused(draw):
    network = build(residual(4))
    X, _ = draw()
    scores, kept = network.forward(X)
    for other in (kept[1:], kept[:1] + kept):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            network.backward(other, scores)
    for other in (kept[:-1], kept + kept[-1:]):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            network.jvp(other, X, network.parameters)


def test_layers_added_or_taken_away_afterwards_are_refused(draw):
    network = build(residual(3))
    X, _ = draw()
    for layers in (network.layers[:-1], [*network.layers, OutputLayer(4, 2)]):
        network.layers = layers
        for passed in (network.forward, network.scores):
            with pytest.raises(ValueError, match=r"shorter|longer"):
                passed(X)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (
            [HiddenLayer(2, 5), OutputLayer(4, 3)],
            ["layer 1 (HiddenLayer) has 5", "layer 2 (OutputLayer) takes 4"],
        ),
        (
            [HiddenLayer(2, 5), ResNetLayer(5), ResNetLayer(6), OutputLayer(6, 3)],
            ["layer 2 (ResNetLayer) has 5", "layer 3 (ResNetLayer) takes 6"],
        ),
    ],
)
def test_widths_that_do_not_fit_are_named(layers, names):
    with pytest.raises(ValueError, match="outputs, but") as error:
        Network(layers, np.random.default_rng(0))
    assert all(name in str(error.value) for name in names)


@pytest.mark.parametrize("replicas", [None, 3])
def test_blocks_are_views_of_the_flat_vector_and_join_to_it(replicas):
    network = build(mixed(5), replicas=replicas)
    flat = network.parameters
    blocks = [block for layer in network.split(flat) for block in layer]
    assert [block.shape[-2:] for block in blocks] == network.shapes
    assert all(np.shares_memory(block, flat) for block in blocks)
    np.testing.assert_array_equal(join(blocks), flat)
    first = blocks[0].reshape(*flat.shape[:-1], -1)
    np.testing.assert_array_equal(join(blocks[:1]), first)


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("replicas", [(), (2,)])
def test_a_vector_of_another_length_is_refused(extra, replicas):
    network = build(residual(2))
    size = sum(network.sizes)
    expected = f"vector of {size + extra} numbers .*: the layers have {size}$"
    with pytest.raises(ValueError, match=expected):
        network.parameters = np.zeros((*replicas, size + extra))


def test_a_change_in_place_reaches_the_layers(draw):
    X, _ = draw()
    network = Network(mixed(3), np.random.default_rng(0))
    network.parameters[:] = 0
    assert not network.forward(X)[0].any()


def test_a_copy_of_a_network_can_be_trained(draw):
    X, C = draw()
    network = Network(mixed(3), np.random.default_rng(0), dtype=float)
    before, other = network.value(X, C), copy.deepcopy(network)
    np.testing.assert_array_equal(other.gradient(X, C), network.gradient(X, C))
    other.parameters[:] -= 0.1 * other.gradient(X, C)
    assert other.value(X, C) < before == network.value(X, C)


def test_a_network_without_parameters_can_be_copied_too(draw):
    X, C = draw()
    network = build(mixed(3))
    empty = copy.deepcopy(Network(network.layers, loss=LeastSquares()))
    expected = build(mixed(3), loss=LeastSquares()).value(X, C)
    assert empty.with_parameters(network.parameters).value(X, C) == expected


@pytest.mark.parametrize("replicas", [None, 3])
def test_scores_are_those_of_the_forward_pass(draw, replicas):
    X, _ = draw()
    network = build(mixed(4), replicas=replicas)
    np.testing.assert_array_equal(network.scores(X), network.forward(X)[0])


def test_with_parameters_leaves_the_network_as_it_is(draw):
    X, C = draw()
    network = build(mixed(3))
    before = network.value(X, C)
    other = network.with_parameters(network.parameters + 1)
    assert other.value(X, C) != before == network.value(X, C)


@pytest.mark.parametrize("columns", [1, 2, 5, 23, 24, 8192])
@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("own", [False, True], ids=["shared X", "an X each"])
def test_evaluation_in_chunks_is_evaluation(draw, columns, replicas, own, monkeypatch):
    monkeypatch.setattr("helpers.network.COLUMNS", columns)
    network = build(mixed(3), replicas=replicas)
    X, C = draw(m=23, replicas=(3,) if own and replicas else ())
    loss, accuracy = network.evaluate(X, C)
    scores, _ = network.forward(X)
    right = scores.argmax(axis=-2) == C.argmax(axis=-2)
    np.testing.assert_allclose(loss, network.value(X, C), rtol=1e-12)
    np.testing.assert_allclose(accuracy, right.mean(axis=-1), rtol=1e-12)
    assert np.shape(loss) == np.shape(accuracy) == ((replicas,) if replicas else ())


@pytest.mark.parametrize(
    ("replicas", "m", "columns", "seen"),
    [
        (None, 23, 8, [8, 8, 7]),
        (3, 23, 24, [8, 8, 7]),
        (3, 23, 2, [1] * 23),
        (None, 23, 23, [23]),
        (None, 8193, 8192, [8192, 1]),
    ],
)
def test_a_chunk_counts_the_columns_of_all_replicas(
    draw, replicas, m, columns, seen, monkeypatch
):
    monkeypatch.setattr("helpers.network.COLUMNS", columns)
    found = []

    class Spy(OutputLayer):
        def forward(self, x, W, b):
            found.append(x.shape[-1])
            return super().forward(x, W, b)

    build([Spy(3, 4)], replicas=replicas).evaluate(*draw(m=m))
    assert found == seen


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
    scores = np.zeros((257, 3))
    scores[1, 1], scores[2, 2] = 1, -1
    C = np.eye(257)[:, [0, 1, 2]]
    assert is_correct(scores, C).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_parameters_is_kept(draw, dtype):
    X, C = draw(dtype=dtype)
    network = build(mixed(5), dtype=dtype, replicas=2)
    gradient, dX = network.gradients(X, C)
    values = (network.forward(X)[0], network.value(X, C), gradient, dX)
    assert {value.dtype for value in values} == {np.dtype(dtype)}


def test_probabilities_are_the_softmax_of_the_scores(draw):
    X, _ = draw()
    network = build(mixed(3), replicas=2)
    expected = softmax(network.forward(X)[0])
    np.testing.assert_array_equal(network.probabilities(X), expected)


# --- what does not fit is named -------------------------------------------------------


@pytest.mark.parametrize("use", ["evaluate", "check_samples", "check_gradients"])
def test_samples_in_rows_are_named_with_what_to_do(draw, use):
    X, C = draw(m=16)
    with pytest.raises(ValueError, match=r"shape \(16, 3\) .* columns, give X\.T"):
        getattr(build(standard(2)), use)(X.T, C)


@pytest.mark.parametrize("use", ["evaluate", "check_samples", "check_gradients"])
def test_other_features_classes_or_numbers_of_samples_are_named(draw, use):
    X, C = draw(m=16)
    call = getattr(build(standard(2), replicas=2), use)
    with pytest.raises(ValueError, match=r"3 features.*layer 1 \(HiddenLayer\)") as e:
        call(X[:2], C)
    assert ".T" not in str(e.value)
    with pytest.raises(ValueError, match=r"4 classes.*layer 2 \(OutputLayer\)"):
        call(X, C[:3])
    with pytest.raises(ValueError, match="X has 16 samples"):
        call(X, C[:, :8])


class Unsummed(HiddenLayer):
    def backward(self, kept, dy):
        dx, (dW, _) = super().backward(kept, dy)
        return dx, (dW, dy)


class Unskipped(HiddenLayer):
    def backward(self, kept, dy):
        return super().backward(kept, dy)[0], ()


class Transposed(HiddenLayer):
    def backward(self, kept, dy):
        dx, blocks = super().backward(kept, dy)
        return dx.mT, blocks


class Widened(HiddenLayer):
    def forward(self, x, W, b):
        y, kept = super().forward(x, W, b)
        return np.concatenate([y, y], axis=-2), kept


class OneNetworkOnly(HiddenLayer):
    def backward(self, kept, dy):
        x, W, _ = kept
        return W.T @ dy, (dy @ x.T, dy.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Unsummed, r"gradient of b of layer 1 \(Unsummed\) .*\(2, 5, 4\).*\(2, 5, 1\)"),
        (Unskipped, r"layer 1 \(Unskipped\) has the blocks \['W', 'b'\].*0 gradients"),
        (Transposed, r"dx of layer 1 \(Transposed\) .*\(2, 4, 3\).*\(3, 4\)"),
        (Widened, r"output of layer 1 \(Widened\) has the shape \(2, 10, 4\)"),
        (OneNetworkOnly, r"backward pass of layer 1 \(OneNetworkOnly\) fails"),
    ],
)
def test_a_layer_whose_arrays_do_not_fit_is_named_with_its_block(draw, layer, words):
    X, C = draw(m=16)
    network = build([layer(3, 5), OutputLayer(5, 4)], replicas=2)
    with pytest.raises(ValueError, match=words):
        network.check_gradients(X, C, samples=4)


@KINDS
@pytest.mark.parametrize("replicas", [None, 3])
def test_layers_that_fit_pass_and_change_nothing(draw, kind, replicas):
    network = build(kind(4), replicas=replicas)
    assert network.check_gradients(*draw(m=16)) is None


class Halved(Layer):
    """A layer without parameters."""

    inputs = outputs = 3
    shapes = {}

    def forward(self, x):
        return x / 2, ()

    def backward(self, kept, dy):
        return dy / 2, ()

    def jvp(self, kept, dx):
        return dx / 2


@pytest.mark.parametrize("replicas", [None, 2])
def test_layers_without_parameters_work_alone_and_among_others(draw, replicas):
    X, C = draw(m=16)
    rngs = np.random.default_rng(0)
    alone = Network([Halved()], rngs.spawn(replicas) if replicas else rngs)
    lead = (replicas,) if replicas else ()
    C3 = np.eye(3)[:, C.argmax(axis=0) % 3]
    assert alone.parameters.shape == (*lead, 0)
    assert alone.gradient(X, C3).shape == (*lead, 0)
    alone.check_gradients(X, C3)
    among = build([Halved(), OutputLayer(3, 4)], replicas=replicas)
    gradient, dX = among.gradients(X, C)
    plain = build([OutputLayer(3, 4)], replicas=replicas)
    expected, dx = plain.gradients(X / 2, C)
    np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_array_equal(dX, dx / 2)


def test_a_network_needs_a_layer():
    with pytest.raises(ValueError, match="list of layers is empty"):
        Network([], np.random.default_rng(0))


def test_a_network_of_ones_own_stays_one_with_other_parameters(draw):
    class Mine(Network):
        def value(self, X, C):
            return 7.0

    network = Mine([OutputLayer(3, 4)], np.random.default_rng(0))
    assert network.with_parameters(0 * network.parameters).value(*draw()) == 7
