"""Look up what is known against the pinned versions: python benchmarks/torture/audit.py.

Exit code 0: nothing unwaived, or the database cannot be reached, which is said aloud as NOT AUDITED
(CI without a network must not pass for an audit). 1: something is known. Waivers with their reason
are in WAIVED.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WAIVED: dict[str, str] = {
    "CVE-2026-69112": "accelerate's index traversal: textreg calls no accelerate loader, and "
    "base_screen.py refuses such indexes and pipes first; no fixed version",
}
_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def main() -> int:
    command = ["pip_audit", "--requirement", str(_CONSTRAINTS), "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"NOT AUDITED: the database of advisories gave no answer ({why[:200]})")
        return 0
    open_ones = 0
    for package in found:
        for known in package.get("vulns", []):
            names = {known["id"], *known.get("aliases", [])}
            waiver = next((WAIVED[name] for name in names if name in WAIVED), None)
            open_ones += waiver is None
            state = f"waived: {waiver}" if waiver else f"fixed in {known.get('fix_versions')}"
            print(f"{package['name']} {package.get('version')}: {known['id']}: {state}")
    skipped = [p["name"] for p in found if "skip_reason" in p]
    if skipped:
        print(f"NOT AUDITED: {', '.join(skipped)}")
    print(f"audited {len(found) - len(skipped)} packages: {open_ones} unwaived")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
