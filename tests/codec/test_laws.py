"""Numbers on a stack of bits: what goes in comes out, at the price of its probability."""

import sys

import numpy as np
import pytest

from tfdvae.codec.files import spare_words
from tfdvae.codec.laws import Bins, Classes, Coins, Stack, Writer, sigmoid, softmax

RNG = np.random.default_rng(0)
COINS = Coins(RNG.uniform(0.02, 0.98, [400, 3]))
CLASSES = Classes(RNG.dirichlet(np.ones(5), [400, 3]))
BINS = Bins(RNG.normal(0.0, 5.0, [400, 3]), RNG.uniform(0.2, 9.0, [400, 3]), np.array([64, 32, 64]))


def entropy_of(law, values: np.ndarray) -> float:
    """Bits of these values by their probabilities."""
    if isinstance(law, Coins):
        mass = np.where(values == 1, law.probability, 1.0 - law.probability)
    elif isinstance(law, Classes):
        mass = np.take_along_axis(law.probability, values[..., None], axis=-1)
    else:
        scipy = pytest.importorskip("scipy.stats")
        above, below = ((values + half - law.mean) / law.scale for half in (0.5, -0.5))
        mass = scipy.norm.cdf(above) - scipy.norm.cdf(below)
    return float(-np.log2(mass).sum())


@pytest.mark.parametrize("law", [COINS, CLASSES, BINS], ids=["coins", "classes", "bins"])
def test_a_sample_of_a_law_costs_its_entropy_and_comes_back(law) -> None:
    values = Stack(spare_words(7, 1000)).pop(law)
    stack = Stack()
    stack.push(law, values)
    assert stack.bits == pytest.approx(entropy_of(law, values), rel=0.01, abs=32)
    np.testing.assert_array_equal(stack.pop(law), values)
    assert len(stack.words) == 0


def test_what_is_pushed_back_leaves_the_stack_as_it_was() -> None:
    words = spare_words(1, 600)
    stack = Stack(words)
    taken = [stack.pop(law) for law in (BINS, COINS)]
    assert stack.low < 600 and len(stack.words) < 600
    for law, values in zip((COINS, BINS), reversed(taken), strict=True):
        stack.push(law, values)
    np.testing.assert_array_equal(stack.words, words)


def test_a_writer_is_read_in_its_own_order() -> None:
    writer, stack = Writer(), Stack()
    given = [(COINS, RNG.integers(0, 2, [400, 3])), (CLASSES, RNG.integers(0, 5, [400, 3]))]
    for law, values in given:
        assert writer.add(law, values) is values
    writer.flush(stack)
    for law, values in given:
        np.testing.assert_array_equal(stack.pop(law), values)


def test_probabilities_of_zero_and_one_can_be_wrong() -> None:
    """No number is impossible, or a frame that surprises the model could not be written."""
    stack, sure = Stack(), Coins(np.tile([0.0, 1.0], [50, 1]))
    wrong = np.tile([1, 0], [50, 1])
    stack.push(sure, wrong)
    assert stack.bits == pytest.approx(50 * 2 * 20, rel=0.02)
    np.testing.assert_array_equal(stack.pop(sure), wrong)
    narrow = Bins(np.array([[0.0]]), np.array([[1e-3]]), np.array([8]))
    stack.push(narrow, np.array([[-8]]))
    np.testing.assert_array_equal(stack.pop(narrow), [[-8]])


def test_rows_without_a_number_put_nothing_on_the_stack() -> None:
    stack = Stack()
    none = COINS.rows(np.zeros(0, int))
    stack.push(none, np.zeros([0, 3]))
    assert stack.bits == 0 and stack.pop(none).shape == (0, 3)


def test_probabilities_of_logits_of_any_size() -> None:
    np.testing.assert_allclose(sigmoid(np.float32([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(softmax(np.float32([[1e4, 0.0], [1.0, 1.0]])), [[1.0, 0.0], [0.5, 0.5]])


def test_initial_words_follow_from_the_seed() -> None:
    np.testing.assert_array_equal(spare_words(5, 9)[:4], spare_words(5, 4))
    assert (spare_words(5, 4) != spare_words(6, 4)).any() and (spare_words(5, 100) > 0).all()
    # numpy's PCG64 as it is documented to stay.
    assert spare_words(0, 2).tolist() == [2735729615, 1158725112]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r'constriction: pip install "tfdvae\[codec\]"'):
        Stack()
