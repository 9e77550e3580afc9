"""What this app uses of gradio without gradio documenting it, as there is no documented way to the same.

`test_routes.py` and `test_api.py` in `tests/fashion_model/app/` show that each part works, also with the newest gradio.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import httpx
from gradio.processing_utils import async_ssrf_protected_download
from gradio.route_utils import get_root_url
from starlette.requests import Request

from fashion_model import __version__
from fashion_model.checkpoint import CheckpointError
from fashion_model.images import ImageError

NOT_UNDERSTOOD = "The request was not understood; /gradio_api/info lists the endpoints and what they take."
NOT_DOWNLOADED = "Nothing could be downloaded from this address."
PRIVATE_ADDRESS = "This address belongs to a private network, from which nothing is downloaded."
DOWNLOAD_SECONDS = 15
# In the ValueErrors that safehttpx raises for a host with a private address, and for one without any.
REFUSED_HOST, UNKNOWN_HOST = "failed validation", "Unable to resolve"
Function = TypeVar("Function")


class Page(gr.Blocks):
    """Blocks that answer whatever goes wrong in an event with a sentence, without a traceback.

    Gradio passes inputs to its components before an event's function, so the function cannot catch their errors.
    """

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*arguments, **options)
        except Exception as error:
            if isinstance(error, ImageError | gr.Error):
                sentence = error.message if isinstance(error, gr.Error) else str(error)
            elif isinstance(error, CheckpointError):
                sentence = f"{error}."
            elif REFUSED_HOST in str(error):
                sentence = PRIVATE_ADDRESS
            elif UNKNOWN_HOST in str(error) or isinstance(error, httpx.HTTPError):
                sentence = NOT_DOWNLOADED
            else:  # gradio's and pydantic's
                sentence = NOT_UNDERSTOOD
                print(f"app: {error!r}", file=sys.stderr, flush=True)
            raise gr.Error(sentence, print_exception=False) from error


def no_tool(function: Function) -> Function:
    """Leave `function` out of the MCP tools; gradio makes one of every public endpoint."""
    function._mcp_type = "none"  # type: ignore[attr-defined]
    return function


def set_up_mcp(page: gr.Blocks) -> None:
    """After the launch: announce this app's version, answer objects as JSON, and name no path on the server."""
    mcp: Any = page.mcp_server_obj
    mcp.mcp_server.version = __version__
    contents_of = mcp.postprocess_output_data

    def contents(outputs: list[Any], root: str) -> list[Any]:
        texts = [json.dumps(o, ensure_ascii=False) if isinstance(o, dict) and "path" not in o else o for o in outputs]
        return [c for c in contents_of(texts, root) if not getattr(c, "text", "").startswith("Image URL: ")]

    mcp.postprocess_output_data = contents


async def downloaded(address: str, folder: Path) -> Path:
    """Download a file from the web into `folder`, in DOWNLOAD_SECONDS at most.

    ImageError for private addresses, also after redirects, and for what fails.
    """
    if not address.startswith(("http://", "https://")):
        raise ImageError("The address has to begin with http:// or https://.")
    try:
        return Path(await asyncio.wait_for(async_ssrf_protected_download(address, str(folder)), DOWNLOAD_SECONDS))
    except Exception as error:  # bare Exceptions, and those of the HTTP client
        raise ImageError(PRIVATE_ADDRESS if REFUSED_HOST in str(error) else NOT_DOWNLOADED) from error


def root_of(request: Request) -> str:
    """The address of the app as the client sees it, behind a proxy and under a path too; without a slash at its end."""
    return get_root_url(request, request.url.path, request.app.root_path)  # type: ignore[arg-type]
