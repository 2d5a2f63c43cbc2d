"""The answers of HAProxy itself: RFC 9457 problem+json, like the chatservers. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

RETRY_AFTER_SECONDS = 5
"""What clients wait at least after 429 and 503: two check intervals and a bit."""

RETRY_SPREAD_SECONDS = 5
"""What some of them wait beyond it: thousands that are refused at one moment do not return at one moment."""

RETRY_AFTER = f"%[rand({RETRY_SPREAD_SECONDS + 1}),add({RETRY_AFTER_SECONDS})]"
"""The header's value as HAProxy writes it: whole seconds, other ones in each answer."""


@dataclass(frozen=True)
class ErrorAnswer:
    """One of HAProxy's own answers, as RFC 9457 problem+json."""

    status: int
    code: str
    title: str
    detail: str
    retry: bool = False


PROBLEMS = (
    ErrorAnswer(400, "bad_request", "Bad Request", "The request could not be understood."),
    ErrorAnswer(408, "request_timeout", "Request Timeout", "The request took too long to arrive.", retry=True),
    ErrorAnswer(429, "rate_limited", "Too Many Requests", "Slow down.", retry=True),
    ErrorAnswer(500, "internal_error", "Internal Server Error", "The load balancer failed."),
    ErrorAnswer(502, "bad_gateway", "Bad Gateway", "A chat server answered nothing usable.", retry=True),
    ErrorAnswer(503, "unavailable", "Service Unavailable", "No chat server can answer at the moment.", retry=True),
    ErrorAnswer(504, "gateway_timeout", "Gateway Timeout", "A chat server took too long to answer.", retry=True),
)
"""Every status that HAProxy itself can answer here."""

NOT_FOUND = ErrorAnswer(404, "not_found", "Not Found", "There is nothing at this address.")


def problem_body(problem: ErrorAnswer) -> str:
    """The JSON of a problem, in one line without single quotes."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": problem.title,
            "status": problem.status,
            "code": problem.code,
            "detail": problem.detail,
        },
        separators=(",", ":"),
    )


def http_errors() -> str:
    """The directives that replace HAProxy's own error pages."""
    return "\n".join(_http_error(problem) for problem in PROBLEMS)


def _http_error(problem: ErrorAnswer) -> str:
    retry = f" hdr Retry-After {RETRY_AFTER}" if problem.retry else ""
    return (
        f"    http-error status {problem.status} content-type application/problem+json "
        f"string '{problem_body(problem)}' hdr Cache-Control no-store{retry}"
    )
