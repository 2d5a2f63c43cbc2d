"""The errors of the operator, and whether a retry can succeed."""


class OperatorError(Exception):
    """Base of the operator's own errors.

    Attributes:
        code: Stable word for conditions, Events and logs.
        retry: Whether the same reconcile may succeed later without anybody changing anything.
    """

    code = "OperatorError"
    retry = True


class SpecError(OperatorError):
    """A ChatCluster that the API server let in but that cannot work.

    Attributes:
        field: Path below `spec`, such as `database.parameters.port`; empty for the whole spec.
        remedy: What to do about it.
    """

    code = "InvalidSpec"
    retry = False

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"spec.{field}: {remedy}" if field else f"spec: {remedy}")
        self.field = field
        self.remedy = remedy


class UnreadableError(SpecError):
    """A ChatCluster, or an object of one, that is too large or too deep, or of another shape than its CRD says.

    Attributes:
        field: Empty; the message names the object.
        remedy: What to do about it.
    """

    code = "Unreadable"

    def __init__(self, found: str, remedy: str) -> None:
        Exception.__init__(self, f"{found}: {remedy}")
        self.field = ""
        self.remedy = remedy


class SettingsError(OperatorError):
    """The operator's own environment is wrong."""

    code = "InvalidSettings"
    retry = False


class TraceError(OperatorError):
    """A recording of connections cannot be read.

    Attributes:
        where: The line.
        remedy: What to do about it.
    """

    code = "InvalidTrace"
    retry = False

    def __init__(self, where: str, remedy: str) -> None:
        super().__init__(f"{where}: {remedy}")
        self.where = where
        self.remedy = remedy


class KubeError(OperatorError):
    """The API server refused a request or did not answer.

    Attributes:
        status: HTTP status, 0 where there was no answer.
        path: Of the request, which names the object; empty where it is unknown.
        reason: The error of the API server; the whole message where the two cannot be told apart.
    """

    code = "KubernetesError"

    def __init__(self, message: str, status: int = 0, *, path: str = "", reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.path = path
        self.reason = message if reason is None else reason


class OutdatedError(OperatorError):
    """What a reconcile began with is not so any more; the next one begins with what is."""

    code = "Outdated"

    def __init__(self, name: str) -> None:
        super().__init__(f"ChatCluster {name} changed during this reconcile; the next one uses its new state")
