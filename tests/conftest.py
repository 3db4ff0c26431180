"""What several rooms' tests share: `import clips`, `import damage`, `import tiny` work from every test file."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent
for folder in (HERE, HERE / "runtimes", HERE / "export"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

# a busy machine is no fault of the code's: pytest's own timeout stays
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
