"""Errors: who failed, whether to try again, and the sentence that says what to do.

A `Problem` is what a client sees (RFC 9457). The exceptions are what the parts tell each other; each of them
is caught somewhere by name, and none reaches a person as a traceback.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PROBLEM_PREFIX: Final = "urn:gatepost:problem:"


class Problem(NamedTuple):
    """A refusal as RFC 9457 describes it: `slug` makes the stable `type`, `detail` says what to do."""

    status: int
    slug: str
    title: str
    detail: str = ""


INTERNAL: Final = Problem(500, "internal-error", "Something went wrong in the gateway", "its log says what")


class GatepostError(Exception):
    """Everything that Gatepost raises on purpose."""


class ConfigIssue(NamedTuple):
    """One fault of a configuration file. `line` counts from 1; 0 where no line can be named."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.reason}" if self.path else f"{where}{self.reason}"


class ConfigError(GatepostError):
    """A configuration that cannot be used: every fault at once, in the order of the file. `files` were read beside it:
    mending one of them may mend it."""

    def __init__(self, file: str, issues: list[ConfigIssue], files: tuple[str, ...] = ()) -> None:
        self.file = file
        self.issues = issues
        self.files = files
        super().__init__("\n".join(f"{file}: {issue}" for issue in issues))


class ProtocolError(GatepostError):
    """A peer broke HTTP/1.1 or one of our limits. `problem` is the answer it gets, if one can still be sent."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.status} {problem.slug}: {problem.detail or problem.title}")


class UpstreamError(GatepostError):
    """A target failed. `problem` names it; `sent` says whether a byte of the request may have reached it."""

    def __init__(self, problem: Problem, *, sent: bool) -> None:
        self.problem = problem
        self.sent = sent
        super().__init__(problem.detail or problem.title)


class AddressRefused(GatepostError):
    """The SSRF guard refused to connect: the name or address is in a network that the operator has not allowed."""


class StoreUnavailable(GatepostError):
    """The store cannot take writes now (disk full, read-only, closing). Nothing was written; try again later."""


class ExpressionError(GatepostError):
    """A CEL expression does not compile, or failed on this input."""


class SignatureError(GatepostError):
    """A signature is missing, malformed, too old or wrong. Verification fails closed."""
