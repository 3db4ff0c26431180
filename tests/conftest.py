"""What several rooms' tests share: `import clips`, `import damage`, `import tiny` work from every test file."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE / "runtimes", HERE / "export"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
