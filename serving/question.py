"""What a request asks about its images, whoever answers.

question = Question(top_k=5, views="hflip", request_id="42")
check_question(question, version)             # RequestError 422
"""

from dataclasses import dataclass

from serving.problems import RequestError
from serving.version import Version


@dataclass(frozen=True)
class Question:
    """What a request asks about its images."""

    top_k: int | None = None
    views: str | None = None
    """Others than the model's own, among those that it allows."""
    explain: bool = False
    explain_class: str | None = None
    request_id: str = ""
    """Decides which version answers."""
    since: float | None = None
    """The `perf_counter` at which the request came in, for its total time."""


def check_question(question: Question, stable: Version) -> None:
    """Raise `RequestError` (422) for what the stable version of the endpoint does not have."""
    folder, top_k, views = stable.folder, question.top_k, question.views
    count = len(folder.classes)
    if top_k is not None and not 1 <= top_k <= count:
        raise RequestError(422, f"top_k={top_k} is out of range", f"this model has {count} classes")
    if not stable.allows(views):
        hint = f"this model has views={' or views='.join(folder.manifest.allowed_views)}"
        raise RequestError(422, f"views={views} is not among the views of this model", hint)
    if question.explain_class is not None and question.explain_class not in folder.classes:
        problem = f"there is no class {question.explain_class}"
        raise RequestError(422, problem, "GET /model lists the classes")
