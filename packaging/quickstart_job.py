"""The quickstart's main job: `tasks FILE` writes the request, `table FILE` shows the answers and checks them."""

import hashlib
import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

MISSING = "/nonexistent/missing.py"
SKIPPED = {"__pycache__", "site-packages", "dist-packages"}


def tasks(file: Path) -> None:
    """Write one task for each file of the standard library, the missing one in the middle."""
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(str(path) for path in library.rglob("*") if path.is_file() and not SKIPPED & set(path.parts))[:9_999]
    paths.insert(len(paths) // 2, MISSING)
    file.write_text(json.dumps([{"handler": "sha256", "payload": {"path": path}} for path in paths]))
    print(f"{len(paths)} tasks written to {file}")


def table(file: Path) -> None:
    """Show the first and last rows and every failure; compare each hash with Python's own."""
    answers = json.loads(file.read_text())
    failed = [task for task in answers if task["state"] != "succeeded"]
    right = sum(
        task["output"]["stdout"].split()[0].lstrip("\\")
        == hashlib.sha256(Path(task["payload"]["path"]).read_bytes()).hexdigest()
        for task in answers
        if task["state"] == "succeeded"
    )
    print(f"{'ID':>6}  {'STATE':9}  {'EXIT':>4}  {'SHA-256':64}  FILE, or what went wrong")
    rows = [*answers[:3], None, *failed, None, *answers[-3:]]
    for task in rows:
        print("   ..." if task is None else row(task))
    print(f"{len(answers)} tasks: {len(answers) - len(failed)} succeeded, {len(failed)} failed")
    print(f"{right} of {len(answers) - len(failed)} hashes are what Python computes itself")
    if right != len(answers) - len(failed) or [task["payload"]["path"] for task in failed] != [MISSING]:
        sys.exit("that is not what was expected")


def row(task: dict[str, Any]) -> str:
    """One line of the table."""
    hashed = "" if task["error"] else task["output"]["stdout"].split()[0]
    said = task["error"]["message"] if task["error"] else task["payload"]["path"]
    return f"{task['id']:>6}  {task['state']:9}  {task['exit_status']!s:>4}  {hashed:64}  {said}"


if __name__ == "__main__":
    {"tasks": tasks, "table": table}[sys.argv[1]](Path(sys.argv[2]))
