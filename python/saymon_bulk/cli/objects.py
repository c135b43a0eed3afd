"""The objects that --json prints. The first six keys are promised; what is not promised follows."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping


def of_error(id: str | None, error: Exception, message: str) -> dict[str, object]:
    request_id = getattr(error, "request_id", None)
    return {
        "id": id,
        "finished": None,
        "error": type(error).__name__,
        "message": message,
        "status_code": getattr(error, "status_code", None),
        "transient": getattr(error, "transient", False),
        **({} if request_id is None else {"request_id": request_id}),
    }


def of_status(id: str | None, status: Mapping[str, object]) -> dict[str, object]:
    """Of a status or a start. A field of the server's that has a promised name is left out."""
    promised = {
        "id": id,
        "finished": status["finished"],
        "error": None,
        "message": None,
        "status_code": None,
        "transient": False,
    }
    return {**promised, **{name: value for name, value in status.items() if name not in promised}}
