# SPDX-License-Identifier: Apache-2.0
"""One rule for images: integers are codes, floats the module's own values; a mix-up of the two is never silent."""

import warnings

import numpy as np
import pytest

from command_line import small_net
from networks import float_graph
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.convert.evaluate import evaluate
from onespike.model.convert.image_tensor import check_images
from onespike.model.convert.layerwise import layer_losses
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.energy import estimate
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.golden import run
from onespike.model.network.operations import count
from onespike.model.network.pixels import from_white, real_values
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet

RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (4, 1, 6, 6), dtype=np.uint8)
DIGIT = np.where(RNG.random((9, 1, 6, 6)) < 0.1, BYTES[:1], 0)  # mostly black, as handwriting is
UNIT = Image(shape=(1, 6, 6))
RAW = Image(shape=(1, 6, 6), scale=(1.0,))
COLOUR = Image(shape=(3, 2, 2), scale=(1 / 255 / 0.25,) * 3, offset=(-2.0,) * 3)


def linear(*shape):
    """A network without a hidden layer on images of this shape."""
    source = Source(tensor=INPUT, weights=RNG.integers(-9, 9, (3, *shape)))
    return SpikeNet(
        image=Image(shape=shape),
        layers=(Layer(name="out", sources=(source,), bias=np.zeros(3, int), shift=np.zeros(3, int), groups=0),),
    )


def test_bytes_are_codes_everywhere():
    """The same picture as bytes and as floats gives the same answers, counts, energy and mapping."""
    net, floats = small_net(), BYTES / np.float32(255)
    logits = run(net, BYTES)
    for images in (BYTES, BYTES.astype(np.int64), BYTES.tolist(), floats, floats.astype(np.float64)):
        assert np.array_equal(net.golden(images), logits)
    config = EngineConfig(banks=2, lanes=8)
    mappings = [choose_mapping(net, config, images) for images in (BYTES, floats)]
    assert mappings[0].needs == mappings[1].needs
    assert count(net, BYTES) == count(net, floats)
    assert estimate(mappings[0], BYTES) == estimate(mappings[0], floats)


def test_float_network_and_integers_see_the_same_picture():
    graph, images = float_graph()
    conversion = prepare(graph, None, images[:64])
    codes = conversion.net.image.quantise(images[:40])
    exact, labels = real_values(conversion.image, codes), np.arange(40) % 3
    assert evaluate(conversion, codes, labels) == evaluate(conversion, exact, labels)
    found, wanted = (layer_losses(graph, conversion.net, kind, labels) for kind in (codes, exact))
    assert found.layers == wanted.layers


@pytest.mark.parametrize(("shape", "flat"), [((5, 1, 1), (7, 5)), ((2, 1, 9), (7, 2, 9))])
def test_shapes_as_for_convert(shape, flat):
    net = linear(*shape)
    images = RNG.random(flat).astype(np.float32)
    maps = check_images(images, net.image)  # what `convert` makes of its calibration images
    assert np.array_equal(net.golden(images), net.golden(maps))
    codes = net.image.quantise(images)
    assert codes.shape == maps.shape and np.array_equal(net.golden(codes.reshape(flat)), net.golden(images))
    assert net.golden(images, operations=True).operations == count(net, maps)
    with pytest.raises(OneSpikeError, match=rf"^Images must have the shape \(N, {shape[0]}.*\) or \(N, {shape[0]}, 1"):
        net.golden(np.zeros((3, 4)))


SENTENCES = {
    "codes beyond their bits": (
        Image(shape=(1, 6, 6), bits=4), BYTES, "Integer images are codes 0..15, but these range from 0 to 25.; give ",
    ),
    "negative codes": (UNIT, BYTES.astype(int) - 1, "Integer images are codes 0..255, but these range from -1 to "),
    "bytes as floats": (UNIT, BYTES * 1.0, "range from 0 to 25., but the network takes 0 to 1, so that .* clipped; "),
    "handwriting as floats": (UNIT, DIGIT * 1.0, "but the network takes 0 to 1, so that .* % of their values would be"),
    "normalised twice": (UNIT, (DIGIT / 255 - 0.13) / 0.31, "but the network takes 0 to 1"),
    "-1..1 for 0..1": (UNIT, BYTES / 127.5 - 1, "The images range from -1 to "),
    "white": (UNIT, np.full((1, 1, 6, 6), 255.0), "100 % of their values would be clipped"),
    "bool": (UNIT, BYTES > 99, r"must be integers \(codes 0..255\) or floating-point numbers \(0 to 1\), not bool\.$"),
    "complex": (UNIT, BYTES * 1j, "not complex128"),
    "text": (UNIT, np.full((1, 1, 6, 6), "a"), "not <U1"),
    "ragged": (UNIT, [[1, 2], [3]], "^Images must be one array of numbers, not list"),
    "nothing": (UNIT, None, "not object"),
    "not a number": (UNIT, np.full((1, 1, 6, 6), np.nan), "NaN or infinite"),
    "one image": (UNIT, BYTES[0], r"^Images must have the shape \(N, 1, 6, 6\), not \(1, 6, 6\)\.$"),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_refused(name):
    image, images, sentence = SENTENCES[name]
    with pytest.raises(OneSpikeError, match=sentence):
        image.quantise(images)


@pytest.mark.parametrize(
    ("image", "images"),
    [(RAW, BYTES[:, :, ::-1] / 255), (UNIT, (BYTES > 99).astype(int)), (RAW, BYTES / 1000)],
    ids=["0..1 for 0..255", "one-hot integers", "all black"],
)
def test_a_scale_that_is_too_small_is_warned_of(image, images):
    with pytest.warns(UserWarning, match=r"^All values of the images become the codes 0 and [01] of 0\.\.255"):
        image.quantise(images)


def test_what_is_meant_is_taken():
    """Outliers are clipped, dark and blank images, single bits and values on the edge are nothing to talk of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outlier = BYTES / 255
        outlier[0, 0, 0, 0], outlier[1, 0, 0, 0] = 1e9, -1e9
        assert [UNIT.quantise(outlier)[i, 0, 0, 0] for i in (0, 1)] == [255, 0]
        wide = Image(shape=(1, 6, 6), scale=(6 / 255,), offset=(-3.0,))
        wide.quantise(RNG.standard_normal((50, 1, 6, 6)) * 1.2)
        for value in (0, 0.0, 1.0, 1.001, -0.001, 7):
            UNIT.quantise(np.full((2, 1, 6, 6), value))
        UNIT.quantise(BYTES[:0])
        COLOUR.quantise(np.zeros((1, 3, 2, 2)))
        Image(shape=(1, 6, 6), bits=1).quantise(BYTES >> 7)
        Image(shape=(1, 6, 6), bits=1).quantise(BYTES / 255)


def test_black_to_white():
    for image in (UNIT, RAW, Image(shape=(1, 6, 6), scale=(0.013,), offset=(-1.7,))):
        assert np.array_equal(image.quantise(from_white(image, BYTES / np.float32(255))), BYTES)
    few = Image(shape=(1, 6, 6), bits=4)
    assert np.array_equal(few.quantise(from_white(few, BYTES / np.float32(255))), np.rint(BYTES / 17))


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    net = small_net()
    leaf = torch.tensor(BYTES / np.float32(255), requires_grad=True)
    assert np.array_equal(net.golden(leaf), net.golden(BYTES))
    with pytest.raises(OneSpikeError, match=r"^Images must be one array of numbers, not Tensor\.$"):
        net.golden(leaf.bfloat16())


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_pixels_of_a_sensor(bits):
    """More than 8 bits: codes of 16, every real number to the nearest of them, and a network that tells neighbours."""
    top = 2**bits - 1
    image = Image(shape=(1, 1, 2), bits=bits, scale=(2 / top,), offset=(-1.0,))
    codes = RNG.integers(0, top + 1, (50, 1, 1, 2))
    assert image.quantise(codes).dtype == np.uint16 and np.array_equal(image.quantise(codes), codes)
    assert np.array_equal(image.quantise(real_values(image, codes)), codes)
    assert np.array_equal(image.quantise(codes * 2 / top - 1 + 0.9 / top), codes)
    with pytest.raises(OneSpikeError, match=f"codes 0..{top}, but these range from 0 to {top + 1}; give"):
        image.quantise(np.array([[[[0, top + 1]]]]))
    source = Source(tensor=INPUT, weights=np.array([127, -127]).reshape(1, 1, 1, 2))
    last = Layer(name="out", sources=(source,), bias=np.zeros(1, int), shift=np.zeros(1, int), groups=0)
    net = SpikeNet(image=image, layers=(last,))
    assert np.array_equal(net.golden(codes)[:, 0], 127 * (codes[:, 0, 0, 0] - codes[:, 0, 0, 1]))
    events = count(net, np.full((1, 1, 1, 2), top)).events_radix
    digits = 2 * sum(1 if digit in (1, 3) else 2 for digit in (15,) * (bits // 4) + (2 ** (bits % 4) - 1,) if digit)
    assert events == digits
    with pytest.raises(OneSpikeError, match=r"Input bits must lie in 1\.\.16, not 17"):
        Image(shape=(1, 1, 2), bits=17)


def test_a_baseline_far_above_the_signal():
    """A signal of a 500th of the range on any baseline: 12 bits show it to a network of differences, 8 do not."""
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(32) * np.pi / 4) * 0.002
    signal = rng.choice([-1, 1], (200, 1, 1, 1)) * wave + rng.uniform(-0.9, 0.9, (200, 1, 1, 1))
    matched = Term(tensor=INPUT, weights=np.stack([wave, -wave]).reshape(2, 1, 1, 32) * 1e6)
    same = Term(tensor="a", weights=np.eye(2).reshape(2, 2, 1, 1))
    first = Node(name="a", terms=(matched,), bias=np.zeros(2))
    last = Node(name="b", terms=(same,), bias=np.zeros(2), fires=False)
    graph = Graph(shape=(1, 1, 32), nodes=(first, last))
    right = {}
    for bits in (8, 12, 16):
        net = prepare(graph, None, signal.astype(np.float32), input_bits=bits, input_range=(-1, 1)).net
        right[bits] = (net.golden(signal).argmax(1) == (signal[:, 0, 0, 2] < signal[:, 0, 0, 6])).mean()
    assert right[12] > 0.99 and right[16] > 0.99 and right[8] < 0.95, right
