"""The objects that --json prints. The first six keys are promised; what is not promised follows."""

from __future__ import annotations

from ..errors import SaymonError, StartUncertainError

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping


def of_error(id: str | None, error: Exception, message: str) -> dict[str, object]:
    """Of an error, with the message in the words of the command line."""
    other: dict[str, object] = {"id": id, "finished": None, "error": type(error).__name__, "message": message}
    other |= {"status_code": None, "transient": False}
    told = error.to_dict() if isinstance(error, SaymonError) else other
    request_id = {"request_id": error.request_id} if isinstance(error, StartUncertainError) else {}
    return {**told, "id": id, "message": message, **request_id}


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
