"""The node's side of benchmarks.audit_grid: runs in any environment that has onnxruntime and numpy.

Reads a job from standard input: {"model": path, "settings": [[level, threads]], "inputs": [path], "out": .}
Writes OUT/SETTING-INPUT.npz with all outputs for each, and prints the runtime's version.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

LEVELS = {
    "disabled": "DISABLE_ALL",
    "basic": "ENABLE_BASIC",
    "extended": "ENABLE_EXTENDED",
    "all": "ENABLE_ALL",
}


def main() -> None:
    job = json.load(sys.stdin)
    for number, (level, threads) in enumerate(job["settings"]):
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, "ORT_" + LEVELS[level])
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        session = ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        for index, path in enumerate(job["inputs"]):
            with np.load(path) as inputs:
                made = session.run(names, dict(inputs))
            # Names can be anything; arrays in a file cannot.
            arrays = {str(place): array for place, array in enumerate(made)}
            np.savez(Path(job["out"]) / f"{number}-{index}.npz", names=np.array(names), **arrays)
    print(ort.__version__)


if __name__ == "__main__":
    main()
