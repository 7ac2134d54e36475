"""The error tree.

    TaskdError
    ├── StartError ─ ConfigError, AlreadyRunning, SocketUnusable
    │       ├── Unreachable ─ NoAnswer
    │       └── JournalError ─ JournalDamaged, JournalNewer
    └── RequestError ─ one class for each problem that a request can meet

Each class has a stable `code`; its docstring is its default message. A StartError carries the exit status that
`taskd` ends with, a RequestError the HTTP status that it is answered with. A task's failure is data (an Outcome),
never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar


class TaskdError(Exception):
    """Something went wrong in taskd."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or (type(self).__doc__ or "").partition("\n")[0]
        super().__init__(self.detail)


class StartError(TaskdError):
    """The daemon cannot start."""

    exit_status: ClassVar[int] = 1


class ConfigError(StartError):
    """The configuration has mistakes."""

    code = "bad_configuration"
    exit_status = 78  # EX_CONFIG: a restart will not help

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(mistakes))


class AlreadyRunning(StartError):
    """Another taskd is running."""

    code = "already_running"
    exit_status = 69  # EX_UNAVAILABLE


class SocketUnusable(StartError):
    """The socket cannot be made."""

    code = "socket_unusable"


class Unreachable(StartError):
    """No taskd answers."""

    code = "unreachable"
    exit_status = 69  # EX_UNAVAILABLE


class NoAnswer(Unreachable):
    """taskd did not answer in time."""

    code = "no_answer"


class JournalError(StartError):
    """The journal could not be read or written."""

    code = "journal"
    exit_status = 74  # EX_IOERR


class JournalDamaged(JournalError):
    """The journal is damaged."""

    code = "journal_damaged"
    exit_status = 65  # EX_DATAERR: a restart will not help


class JournalNewer(JournalError):
    """The journal was written by a newer taskd."""

    code = "journal_newer"
    exit_status = 65


class RequestError(TaskdError):
    """The request cannot be served."""

    code = "internal"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    #: Seconds for the Retry-After header; None leaves it out.
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str = "", **extra: Any) -> None:
        """`extra` is added to the problem document, as RFC 9457 allows."""
        super().__init__(detail)
        self.extra: Mapping[str, Any] = extra


class MalformedRequest(RequestError):
    """The request is not well-formed HTTP."""

    code = "malformed_request"
    status = HTTPStatus.BAD_REQUEST


class CodingNotImplemented(MalformedRequest):
    """The body's transfer coding is not supported; send Content-Length, or chunked."""

    status = HTTPStatus.NOT_IMPLEMENTED


class RequestTimeout(RequestError):
    """The request did not arrive in time; the connection is closed."""

    code = "request_timeout"
    status = HTTPStatus.REQUEST_TIMEOUT


class InvalidJSON(RequestError):
    """The body is not valid JSON."""

    code = "invalid_json"
    status = HTTPStatus.BAD_REQUEST


class Forbidden(RequestError):
    """You may not do this."""

    code = "forbidden"
    status = HTTPStatus.FORBIDDEN


class HandlerForbidden(Forbidden):
    """You may not run this handler; its `allow` names who may."""

    code = "handler_forbidden"


class CrossSite(RequestError):
    """Requests made by web pages are refused; programs leave out Origin and Sec-Fetch-Site."""

    code = "cross_site"
    status = HTTPStatus.FORBIDDEN


class UnknownHost(RequestError):
    """The request is for another host; ask http://localhost/…, or add the name to daemon.hosts."""

    code = "unknown_host"
    status = HTTPStatus.MISDIRECTED_REQUEST


class NotFound(RequestError):
    """There is nothing at this path; GET / lists what there is."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND


class TaskNotFound(NotFound):
    """There is no such task; finished tasks are forgotten after keep_finished."""

    code = "task_not_found"


class BatchNotFound(NotFound):
    """There is no such batch; finished batches are forgotten after keep_finished."""

    code = "batch_not_found"


class QueueNotFound(NotFound):
    """There is no such queue; GET /queues lists them."""

    code = "queue_not_found"


class ScheduleNotFound(NotFound):
    """There is no such schedule; GET /schedules lists them."""

    code = "schedule_not_found"


class EventsGone(RequestError):
    """What came next is no longer kept: limits.keep_events says how much is."""

    code = "events_gone"
    status = HTTPStatus.GONE


class UnknownHandler(NotFound):
    """There is no handler of that name; GET /handlers lists them."""

    code = "unknown_handler"


class MethodNotAllowed(RequestError):
    """This path does not take that method; GET / lists what it takes."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class BodyTooLarge(RequestError):
    """The body is larger than the limit."""

    code = "body_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooManyTasks(BodyTooLarge):
    """The request has more tasks than limits.batch allows; nothing was taken, send them in several."""

    code = "too_many_tasks"


class HeadersTooLarge(RequestError):
    """The request's headers are larger than the limit."""

    code = "headers_too_large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class UnsupportedMediaType(RequestError):
    """Send the body as Content-Type: application/json; with curl, use `curl --json`."""

    code = "unsupported_media_type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ValidationFailed(RequestError):
    """The request was understood but cannot be accepted; nothing was taken."""

    code = "validation_failed"
    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail, **extra)
        # A detail may quote what the client sent, a lone surrogate for one.
        self.extra = {"errors": [{"detail": self.detail.encode("utf-8", "replace").decode()}], **extra}


class QueueFull(RequestError):
    """As many tasks as limits.queued_tasks allows are waiting; nothing was taken, try again later."""

    code = "queue_full"
    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after = 5


class UserQueueFull(RequestError):
    """As many tasks of yours as the limits for one user allow are not finished; nothing was taken."""

    code = "user_queue_full"
    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after = 5


class UserBodiesFull(RequestError):
    """Requests of yours that are not served yet hold all the bytes that one user may have here; nothing was taken."""

    code = "user_bodies_full"
    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after = 1


class Conflict(RequestError):
    """The present state does not allow that."""

    code = "conflict"
    status = HTTPStatus.CONFLICT


class QueueDraining(Conflict):
    """The queue is draining and takes no more tasks; resume it, or use another one."""

    code = "queue_draining"


class NotUnique(Conflict):
    """A task like it is not finished yet; nothing was taken. Add join=1 to wait for that one instead."""

    code = "not_unique"


class Forgotten(RequestError):
    """What this key was accepted as has been forgotten since; nothing was taken."""

    code = "forgotten"
    status = HTTPStatus.GONE


class KeyReused(RequestError):
    """This idempotency key belongs to another request; nothing was taken. Use a new key for each request."""

    code = "key_reused"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyWaiters(RequestError):
    """As many requests as limits.waiters allows are waiting; ask without waiting, or try again later."""

    code = "too_many_waiters"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1


class TooManyConnections(RequestError):
    """As many connections of one user as limits.user_connections allows are open; close some, or try again later."""

    code = "too_many_connections"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1


class Exhausted(RequestError):
    """taskd has no descriptors or memory left; whether anything was taken is unknown, look before you repeat it."""

    code = "exhausted"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1


class Draining(RequestError):
    """The daemon is stopping and takes no more work; try again once it is back."""

    code = "draining"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 5


class NotReady(RequestError):
    """The scheduler does not answer in time."""

    code = "not_ready"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 1


class JournalFull(RequestError):
    """The disk that holds the journal is full; nothing was taken, free some space and try again."""

    code = "journal_full"
    status = HTTPStatus.INSUFFICIENT_STORAGE
    retry_after = 10


class DiskFull(JournalFull):
    """The disk that holds the journal is nearly full; nothing was taken, free some space and try again."""

    code = "disk_full"


class JournalUnavailable(RequestError):
    """The journal cannot be written; nothing was taken, try again later."""

    code = "journal_unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 5


class CommitUnknown(RequestError):
    """The journal could not be written; whether the request was taken is unknown, look for it before you repeat it."""

    # None of JournalUnavailable's kinds: who catches that one may send the same again.
    code = "commit_unknown"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after = 5
