# SPDX-License-Identifier: Apache-2.0
"""Damaged TFLite files: cut short, bytes changed, other formats: one sentence, or a network."""

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.frontend.tflite_file import read
from onespike.model.frontend.tflite_import import import_tflite
from tflite_files import NONE, RELU, constant, conv, small, tensor, write

FILES = 200  # damaged copies


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small(tmp_path_factory.mktemp("tflite") / "m.tflite")


def outcome(path) -> str:
    """A network, or the sentence; anything else is raised."""
    try:
        import_tflite(path)
    except OneSpikeError as error:
        text = str(error)
        assert text.endswith(".") and "\n" not in text and "Traceback" not in text, text
        return text
    return "network"


def test_files_cut_short(network, tmp_path):
    content, path = network.read_bytes(), tmp_path / "cut.tflite"
    found = set()
    for length in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:length])
        found.add(outcome(path).replace(str(path), "FILE"))
    assert "FILE is not a TFLite file (bytes 4 to 7 are not TFL3); give what TFLiteConverter writes." in found
    assert "FILE is not a complete TFLite file; copy or convert it again." in found


def test_bytes_changed(network, tmp_path):
    content, path, rng = network.read_bytes(), tmp_path / "changed.tflite", np.random.default_rng(1)
    found = []
    for _ in range(FILES):
        damaged = bytearray(content)
        for place in rng.integers(8, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        path.write_bytes(damaged)
        found.append(outcome(path))
    assert 20 < found.count("network") < FILES - 20
    assert len(set(found)) > 10


def test_other_files(tmp_path):
    path = tmp_path / "m.tflite"
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*m\.tflite: no such file\.$"):
        import_tflite(path)
    path.write_bytes(b"PK\x03\x04" + bytes(400))
    with pytest.raises(OneSpikeError, match=r"m\.tflite is not a TFLite file \(bytes 4 to 7 are not TFL3\); give what"):
        import_tflite(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": tensor((1, 2, 4, 4, 2))}, r"^The input 'x' has 5 axes; it must be \(batch, height, width, channels\),"),
        ({"x": tensor((1, 4, 4, 2), "i1")}, r"^The input 'x' holds int8 without a scale; convert the network with"),
        ({"w": constant(np.full((3, 3, 3, 2), np.nan))}, r"^The parameter 'w' holds NaN or infinite values; train the"),
        ({"x": tensor((1, 4, 4, 2), "i1", scale=-1.0, zero=0)}, r"^The scale of 'x' must be positive, with one zero"),
        ({"x": tensor((1, 5, 4, 2))}, r"^Node 'f' \(RESHAPE\): "),
        ({"w": constant(np.ones((3, 3, 3, 2, 1)))}, r"^Node 'a' \(CONV_2D\): its weights must have four axes, not 5"),
        ({"v": constant(np.ones((2, 47)))}, r"^Node 'y' \(FULLY_CONNECTED\): a linear layer of 47 features along one"),
    ],
)
def test_contradictions(change, sentence, tmp_path):
    tensors = {
        "x": tensor((1, 4, 4, 2)), "w": constant(np.ones((3, 3, 3, 2))), "b": constant(np.ones(3)),
        "a": tensor((1, 4, 4, 3)), "to": constant(np.array([1, 48]), "i4"), "f": tensor((1, 48)),
        "v": constant(np.ones((2, 48))), "y": tensor((1, 2)),
    }  # fmt: skip
    operators = [("CONV_2D", "x w b", "a", conv(fused=RELU)), ("RESHAPE", "a to", "f", {}),
                 ("FULLY_CONNECTED", "f v -", "y", {"FusedActivationFunction": NONE})]  # fmt: skip
    path = write(tmp_path / "m.tflite", tensors | change, operators)
    with pytest.raises(OneSpikeError, match=sentence):
        import_tflite(path)


def test_what_is_read(network):
    """Every number of the file, as it was written."""
    found = read(network)
    assert [op.kind for op in found.operators] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    weights = next(tensor for tensor in found.tensors if tensor.name == "w")
    assert weights.shape == (3, 3, 3, 2) and weights.dtype == np.int8 and weights.data.shape == weights.shape
    np.testing.assert_allclose(weights.scale, [0.01, 0.02, 0.03], rtol=1e-6)
    assert found.operators[0].options["StrideH"] == 1
