"""`studio doctor`: what is installed, missing or slow on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from studio.commands.output import Commands, show, verb

MARKS = {"ok": "ok", "slow": "SLOW", "missing": "MISSING"}


def add_parser(commands: Commands) -> None:
    verb(commands, "doctor", summary="check this machine: installed, missing, slow", example="studio doctor", run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from studio.core.paths import open_home
    from studio.services.health import examine

    findings = list(examine(open_home()))
    lines = [
        f"{MARKS[finding.level]:<8} {finding.name:<12} {finding.what}"
        + (f" ({finding.remedy})" if finding.remedy else "")
        for finding in findings
    ]
    show(arguments, [asdict(finding) for finding in findings], lines)
    return 1 if any(finding.level == "missing" for finding in findings) else 0
