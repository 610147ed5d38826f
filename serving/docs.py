"""GET /docs: Swagger UI from this machine. FastAPI's own page would load it from elsewhere.

docs.add(app)
"""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, Response

_ASSETS = Path(str(files("fastapi_offline"))) / "static"
_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
_ONLY_HERE = (
    "default-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
_NO_ICON = "data:,"


def add(app: FastAPI) -> None:
    """Add the page and its two files to an application that was made with `docs_url=None`."""

    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        response = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/{_SCRIPT}",
            swagger_css_url=f"{root}/docs/{_STYLE}",
            swagger_favicon_url=_NO_ICON,
            # The badge would ask a validator on the internet.
            swagger_ui_parameters={"validatorUrl": None},
        )
        response.headers["Content-Security-Policy"] = _ONLY_HERE
        return response

    @app.get(f"/docs/{_SCRIPT}", include_in_schema=False)
    async def script() -> Response:
        return FileResponse(_ASSETS / _SCRIPT, headers={"Cache-Control": "max-age=86400"})

    @app.get(f"/docs/{_STYLE}", include_in_schema=False)
    async def style() -> Response:
        return FileResponse(_ASSETS / _STYLE, headers={"Cache-Control": "max-age=86400"})
