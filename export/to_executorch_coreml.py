"""A run becomes ExecuTorch programs for Apple's systems: `python export/to_executorch_coreml.py [--run RUN] …`.

The same files and methods as of `to_executorch.py`, lowered to the Core ML delegate. It runs in apps on Apple's systems
only, and the manifest says so; the proof is that of the Core ML programs inside the files, by the reference evaluator.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from export.common import Target
from export.mil import precision
from export.mil.delegate import NAME, DelegateEngine, core_ml
from export.mil.tools import coremltools
from export.pte import COREML, delegate_data
from export.to_coreml import BROKEN_PASSES
from export.to_executorch import convert

WHERE = "not run: the delegate runs in apps on Apple's systems only; parity is the reference evaluator's"


def coreml() -> Any:
    """What Core ML (iOS 16, macOS 13 and later) takes, in fp32."""
    ct = coremltools()
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.compiler.coreml_preprocess import MULTIMETHOD_WEIGHT_SHARING_STRATEGY
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    passes = ct.PassPipeline()
    passes.remove_passes(BROKEN_PASSES)
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        pass_names=passes.passes,
    )
    # A stage's graphs share no weights, and sharing would ask for as many pieces in each of them, and for iOS 18.
    apart = MULTIMETHOD_WEIGHT_SHARING_STRATEGY.DISABLED
    specs.append(CoreMLBackend.generate_multimethod_weight_sharing_strategy_compile_spec(apart))
    return CoreMLPartitioner(compile_specs=specs)


def found_precision(program: Any, method: str) -> str:
    """The precision of most multiply-accumulates in the Core ML programs inside a method; fp32 where they have none."""
    return precision.found_precision(*(core_ml(blob) for blob in delegate_data(program, method, COREML)))


TARGETS = {
    "fp32": Target(
        NAME,
        "fp32",
        partial(convert, partitioner=coreml, found=found_precision),
        ("executorch", "coremltools"),
        {"apple runtime": WHERE},
        partial(DelegateEngine, precision="fp32"),
    )
}

if __name__ == "__main__":
    from export.main import main

    main(NAME)
