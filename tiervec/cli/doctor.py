"""``tiervec doctor``: what TierVec can use on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import add_json

if TYPE_CHECKING:
    from tiervec.machine.doctor import Finding

__all__ = ["add_parser"]

_TITLES = {
    "machine": "Machine",
    "library": "Optional libraries",
    "package": "Python packages",
    "tier": "Tiers",
}


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="say what can be used on this machine, and why not",
        description="Looks at the machine, optional libraries and packages, and the tiers.",
        allow_abbrev=False,
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.cli.output import print_json
    from tiervec.machine.doctor import diagnose
    from tiervec.machine.environment import environment

    findings = diagnose()
    if arguments.json:
        print_json({"environment": environment(), "findings": [finding.as_dict() for finding in findings]})
    else:
        print(_text(environment(), findings))
    return 0


def _text(machine: dict[str, Any], findings: list[Finding]) -> str:
    from tiervec.arguments.sizes import format_size

    memory = "unknown memory" if machine["memory_bytes"] is None else format_size(machine["memory_bytes"])
    lines = [
        f"TierVec {machine['tiervec']}, Python {machine['python']}, {machine['os']}, Linux {machine['kernel']}",
        f"{machine['cpu']}, {machine['allowed_cpus']} of {machine['cores']} CPUs, {memory}",
    ]
    for topic, title in _TITLES.items():
        lines += ["", title]
        width = max((len(finding.name) for finding in findings if finding.topic == topic), default=0)
        for finding in findings:
            if finding.topic == topic:
                lines += _finding_lines(finding, width)
    return "\n".join(lines)


def _finding_lines(finding: Finding, width: int) -> list[str]:
    margin = " " * (2 + 6 + 2 + width + 2)
    lines = [f"  {finding.state:<6}  {finding.name:<{width}}  {finding.found}"]
    if finding.gives:
        lines.append(f"{margin}for {finding.gives}")
    if finding.advice:
        lines.append(f"{margin}to do: {finding.advice}")
    return lines
