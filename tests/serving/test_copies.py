"""Between the check and the load: bytes that change, and data that an ONNX file wants from elsewhere."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg_verifier.serving.copies import VerifiedCopy
from modelreg_verifier.serving.engine import Engine, Stop
from modelreg_verifier.serving.target import Target, parse_target
from tests.cli.command import flip
from tests.cli.hostile import forge
from tests.serving import graphs


def copied(root, files):
    """A verified copy of a release with these files."""
    manifest, _ = forge(sorted(files.items()))
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return VerifiedCopy(manifest, root, "fetch it again")


def outside(name, array, location, offset=0, length=None):
    """An initializer whose data lies in another file."""
    tensor = numpy_helper.from_array(array, name)
    size = len(tensor.raw_data) if length is None else length
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def multiplying(tensor):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = graphs.port("x", "FP32", ["n", 4]), graphs.port("y", "FP32", ["n", 3])
    return graphs.serialized([node], ports[:1], ports[1:], [tensor])


def branching(tensor):
    """The initializer stands inside a branch of an If."""
    y = graphs.port("y", "FP32", [4, 3])
    branches = [
        helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "b", [], [y], [tensor]) for _ in "ab"
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    return graphs.serialized([node], [graphs.port("c", "BOOL", [])], [y])


def test_file_changed_between_check_and_load(tmp_path):
    copy = copied(tmp_path, {"model.onnx": graphs.linear()})
    assert copy.read("model.onnx") == graphs.linear()
    flip(tmp_path / "model.onnx")
    with pytest.raises(VerificationError, match="was changed while it was read"):
        copy.model("model.onnx")


def test_file_exchanged_for_a_link_between_check_and_load(tmp_path):
    copy = copied(tmp_path / "copy", {"model.onnx": graphs.linear()})
    (tmp_path / "copy" / "model.onnx").rename(tmp_path / "other")
    (tmp_path / "copy" / "model.onnx").symlink_to(tmp_path / "other")
    with pytest.raises(VerificationError, match="was changed"):
        copy.model("model.onnx")


def test_external_data_is_read_from_the_release(tmp_path):
    raw = multiplying(outside("w", graphs.WEIGHTS, "data.bin", 4))
    files = {"sub/model.onnx": raw, "sub/data.bin": b"pad." + graphs.WEIGHTS.tobytes()}
    engine = Engine(*copied(tmp_path, files).model("sub/model.onnx"), threads=1)
    (tmp_path / "sub" / "data.bin").unlink()
    found = engine.run({"x": np.ones((1, 4), "f4")}, Stop())
    assert bytes(found.outputs["y"].data) == graphs.WEIGHTS.sum(0).tobytes()


def test_external_data_changed_between_check_and_load(tmp_path):
    raw = multiplying(outside("w", graphs.WEIGHTS, "data.bin"))
    copy = copied(tmp_path, {"model.onnx": raw, "data.bin": graphs.WEIGHTS.tobytes()})
    flip(tmp_path / "data.bin")
    with pytest.raises(VerificationError, match=r"data\.bin was changed"):
        copy.model("model.onnx")


@pytest.mark.parametrize(
    ("location", "offset", "length"),
    [
        ("../secret.bin", 0, None),
        ("/etc/passwd", 0, None),
        ("sub/../data.bin", 0, None),
        ("none.bin", 0, None),
        ("model.onnx", 0, None),
        ("data.bin", 8, None),
        ("data.bin", 0, 1 << 40),
        ("", 0, None),
    ],
)
def test_onnx_external_data_escape(tmp_path, location, offset, length):
    (tmp_path / "secret.bin").write_bytes(graphs.WEIGHTS.tobytes())
    raw = multiplying(outside("w", graphs.WEIGHTS, location, offset, length))
    copy = copied(tmp_path / "copy", {"model.onnx": raw, "data.bin": graphs.WEIGHTS.tobytes()})
    with pytest.raises(FormatError):
        copy.model("model.onnx")


def test_the_runtime_opens_no_file(tmp_path, monkeypatch):
    """External data that was not handed in is not looked for, in the current directory or elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.bin").write_bytes(graphs.WEIGHTS.tobytes())
    for build in (multiplying, branching):
        raw = build(outside("w", graphs.WEIGHTS, "data.bin"))
        with pytest.raises(InputError, match="cannot load the model: expected all external data"):
            Engine(raw, threads=1)


def test_external_data_of_a_type_that_the_runtime_lacks(tmp_path):
    unused = outside("w", np.ones((4, 3), "c8"), "data.bin")
    node = helper.make_node("Identity", ["x"], ["y"])
    raw = graphs.serialized(
        [node], [graphs.port("x", "FP32", [1])], [graphs.port("y", "FP32", [1])], [unused]
    )
    copy = copied(tmp_path, {"model.onnx": raw, "data.bin": bytes(96)})
    with pytest.raises(InputError, match="cannot load the model"):
        Engine(*copy.model("model.onnx"), threads=1)


def test_external_data_in_a_sub_graph_is_refused(tmp_path):
    raw = branching(outside("w", graphs.WEIGHTS, "data.bin"))
    copy = copied(tmp_path, {"model.onnx": raw, "data.bin": graphs.WEIGHTS.tobytes()})
    with pytest.raises(InputError, match="sub-graphs"):
        copy.model("model.onnx")


@pytest.mark.parametrize(
    ("text", "reference", "file", "selector"),
    [
        ("acme/m", "acme/m@branch:main", None, "branch:main"),
        ("acme/m/a.onnx", "acme/m@branch:main", "a.onnx", "branch:main"),
        ("acme/m@1.0.0+bf16", "acme/m@1.0.0+bf16", None, "1.0.0+bf16"),
        ("acme/m@stable/sub/a.onnx", "acme/m@stable", "sub/a.onnx", "stable"),
        ("acme/m@branch:dev/a@b.onnx", "acme/m@branch:dev", "a@b.onnx", "branch:dev"),
        ("0x" + "1" * 64, "0x" + "1" * 64, None, "0x" + "1" * 64),
        ("0x" + "1" * 64 + "/a.onnx", "0x" + "1" * 64, "a.onnx", "0x" + "1" * 64),
    ],
)
def test_targets(text, reference, file, selector):
    found = parse_target(text)
    assert (str(found.reference), found.file, found.selector) == (reference, file, selector)


@pytest.mark.parametrize("text", ["", "acme", "acme/", "acme/m/", "acme/m@", "acme/m@1.0.0/", "acme/m/../x"])
def test_what_is_no_target(text):
    with pytest.raises(InputError):
        parse_target(text)


def test_a_file_with_an_at_sign_and_no_selector_is_no_target():
    assert isinstance(parse_target("acme/m@branch:main/a@b.onnx"), Target)
    with pytest.raises(InputError):
        parse_target("acme/m/a@b.onnx")
