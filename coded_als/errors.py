"""The errors that callers are meant to catch.

Every message states the rule, the value that broke it, and the remedy. The command line turns a
`UsageError` into exit code 2 and one line; anything else is exit code 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class CodedALSError(Exception):
    """Base of every error that this package raises on purpose.

    Examples
    --------
    >>> import coded_als
    >>> from coded_als.errors import CodedALSError
    >>> try:
    ...     coded_als.load_model("nothere.npz")
    ... except CodedALSError as error:
    ...     print(type(error).__name__)
    UsageError
    """


class UsageError(CodedALSError, ValueError):
    """A parameter or an input is wrong; nothing was started and nothing was written.

    Examples
    --------
    >>> from coded_als import CodedALS, UsageError
    >>> try:
    ...     CodedALS(rank=0).fit([[1.0]])
    ... except UsageError as error:
    ...     print(error)
    rank must be a whole number of at least 1; got 0.
    """


class NotEnoughWorkers(CodedALSError):
    """Fewer workers can respond than the stopping rule needs.

    Parameters
    ----------
    alive
        Workers that can still respond.
    needed
        Workers that the rule asks for.
    remedy
        Change that helps, a sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, InlineCluster, NotEnoughWorkers
    >>> try:
    ...     CodedALS(rank=2, code="systematic:p=4").fit(np.eye(8), InlineCluster(6, "dead:n=3"))
    ... except NotEnoughWorkers as error:
    ...     print(error.alive, error.needed)
    3 4
    """

    def __init__(
        self, alive: int, needed: int, remedy: str = "Add workers, or take a code with a lower threshold."
    ) -> None:
        self.alive, self.needed = alive, needed
        super().__init__(f"at least {needed} workers must be able to respond; {alive} are alive. {remedy}")


class DecodingError(CodedALSError):
    """The responses at hand decode worse than the tolerance asked for.

    Parameters
    ----------
    estimate
        Estimated relative error of the decoded product.
    tolerance
        Greatest accepted relative error.
    remedy
        Change that helps, a sentence.

    Examples
    --------
    >>> from coded_als import DecodingError
    >>> error = DecodingError(estimate=1e-3, tolerance=1e-10)
    >>> error.estimate > error.tolerance
    True
    """

    def __init__(
        self,
        estimate: float,
        tolerance: float,
        remedy: str = "Use a systematic code or points=circle, lower partitions, add workers, or raise decoding_tolerance.",
    ) -> None:
        self.estimate, self.tolerance = estimate, tolerance
        super().__init__(
            f"decoding must be accurate to {tolerance:.1e}; the estimated error is {estimate:.1e}. {remedy}"
        )


class WorkerFailed(CodedALSError):
    """A worker reported an exception of its own.

    Examples
    --------
    >>> from coded_als import CodedALS
    >>> from coded_als.errors import WorkerFailed
    >>> try:
    ...     model = CodedALS(rank=20).fit(ratings, cluster)  # doctest: +SKIP
    ... except WorkerFailed as error:
    ...     print(error)  # with the worker's own text
    """


class RoundTimeout(CodedALSError):
    """A round has taken longer than its limit.

    ``label``: name of the round, for people; ``timeout_s``: the limit; ``needed``: the fewest responses that could have
    ended it; ``responded``: workers with a response that has arrived; ``silent_s``: seconds since anything was heard of
    each other worker that is connected but gives no sign of life; ``at_work``: the workers that give one.

    Examples
    --------
    >>> from coded_als.errors import RoundTimeout
    >>> error = RoundTimeout("E = D B", 600.0, needed=4, responded=[0, 2], silent_s={1: 90.0, 3: 80.0})
    >>> error.responded, error.silent_s
    ((0, 2), {1: 90.0, 3: 80.0})
    """

    def __init__(
        self,
        label: str,
        timeout_s: float,
        needed: int,
        responded: Sequence[int],
        silent_s: Mapping[int, float],
        at_work: Sequence[int] = (),
    ) -> None:
        self.responded, self.silent_s, self.at_work = tuple(responded), dict(silent_s), tuple(at_work)
        heard = ", ".join(map(str, responded)) or "none"
        silent = ", ".join(f"{worker} (for {seconds:.0f} s)" for worker, seconds in sorted(silent_s.items()))
        super().__init__(
            f"a round must end within {timeout_s:g} s; {label or 'this one'} has {len(responded)} of at least {needed} "
            f"responses. Responded: {heard}. Silent: {silent or 'none'}. At work: {', '.join(map(str, at_work)) or 'none'}. "
            "Look after the silent workers or raise round_timeout_s."
        )


def readable(size_bytes: float) -> str:
    """Bytes for people."""
    unit, scale = ("GB", 1e9) if size_bytes >= 1e9 else ("MB", 1e6)
    return f"{size_bytes / scale:.3g} {unit}"


def reason_of(error: Exception) -> str:
    """The first line of an error of another library, without its full stop; the error's type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
