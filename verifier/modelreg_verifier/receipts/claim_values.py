"""Computing a claim: the operators of a segment one by one. Follows docs/spec/dispute.md, section 1."""

from collections.abc import Mapping

import numpy as np

from modelreg.errors import FormatError
from modelreg.format.commitments import Tensor
from modelreg_verifier.referee.recompute import made_by
from modelreg_verifier.trace.datatypes import from_array, to_array
from modelreg_verifier.trace.elements import ONNX_TYPES
from modelreg_verifier.trace.program import Program
from modelreg_verifier.trace.runtime import Session, Settings, with_outputs
from modelreg_verifier.trace.segments import Segment, segment_model

__all__ = ["claim_values"]

_DATATYPES = {number: datatype for datatype, number in ONNX_TYPES.items()}
_PLAIN = Settings("disabled")
"""Without optimization the runtime fuses nothing: each tensor comes of its operator alone."""


def claim_values(
    program: Program, segment: Segment, start: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All that the nodes of a segment make, but constants.

    Args:
        program: of the plan.
        segment: of the plan's segments.
        start: tensors of the cut before it, among others.
        inputs: the graph's inputs.

    Raises:
        InputError: the runtime refuses the segment or the tensors.
        FormatError: a tensor of a type that the protocol lacks.
        KeyError: a tensor is missing.
    """
    read = {name: start[name] for name in segment.starts} | {name: inputs[name] for name in segment.inputs}
    types = {name: ONNX_TYPES[start[name].datatype] for name in segment.starts}
    names = made_by(program.model, segment.nodes)
    session = Session(with_outputs(segment_model(program, segment, types), names), _PLAIN)
    datatypes = {name: _DATATYPES.get(session.types[name], "") for name in names}
    odd = [name for name, datatype in datatypes.items() if datatype in ("", "BF16")]
    if odd:
        raise FormatError("tensors of a claim", expected="datatypes that numpy has", found=ascii(odd[:3]))
    made = session.run({name: to_array(tensor) for name, tensor in read.items()})
    return {name: from_array(datatypes[name], np.asarray(made[name])) for name in names}
