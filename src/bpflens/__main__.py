"""``python -m bpflens`` and the single-file bpflens.pyz are the ``bpflens`` command."""

from __future__ import annotations

import sys

from bpflens.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
