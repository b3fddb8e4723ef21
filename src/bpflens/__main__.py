"""``python -m bpflens`` and the single-file bpflens.pyz are the ``bpflens`` command."""

from __future__ import annotations

from bpflens.cli.main import run

if __name__ == "__main__":
    run()
