"""What a gate says as JUnit XML, which pipelines show as a test result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from seepage.findings.gate import Judged

__all__ = ["junit"]

# What XML 1.0 has no form for, escaped or not.
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(path: str, judged: Sequence[Judged], no_verdict: str = "") -> str:
    """JUnit XML: one suite for the run or model at `path`, one test case for each limit.

    The text of a failure is the sentence that says why the limit does not hold; of a limit that
    holds the sentence is its output. no_verdict: why no figure says anything; every case fails then.
    Characters that XML cannot hold are written as Python escapes.

    >>> one = Judged("AUC", 0.6, False, "AUC may exceed the limit 0.6: it is <high>")
    >>> text = junit("runs/a", [one])
    >>> 'tests="1" failures="1"' in text, "it is &lt;high&gt;" in text
    (True, True)
    """
    failed = len(judged) if no_verdict else sum(not j.holds for j in judged)
    counts = {"tests": str(len(judged)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", {"name": "seepage check", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(path), **counts})
    for j in judged:
        names = {"classname": _text(path), "name": _text(j.title)}
        case = ElementTree.SubElement(suite, "testcase", names)
        said = _text(f"no verdict, so that no limit holds: {no_verdict}" if no_verdict else j.why)
        if j.holds and not no_verdict:
            ElementTree.SubElement(case, "system-out").text = said
            continue
        kind = "NoVerdict" if no_verdict else "LimitExceeded"
        ElementTree.SubElement(case, "failure", {"message": said, "type": kind}).text = said
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _text(text: str) -> str:
    """The text in one line without what XML cannot hold."""
    return _UNSPEAKABLE.sub(lambda m: ascii(m[0])[1:-1], " ".join(text.split()))
