"""One feature's record from Neuronpedia's API. Knows the address, and nothing of what a record holds."""

from contextlib import closing
from urllib.parse import quote

import httpx2

from eval.errors import ExamplesError
from eval.readers.json_stream import LONGEST_RECORD

BASE_URL = "https://neuronpedia.org"
BASE_URL_VARIABLE = "NEURONPEDIA_BASE_URL"
"""Names the address of Neuronpedia's API, where it is not the site's own."""
_TIMEOUT_S = 30.0
_REDIRECTS = 5


def fetch_record(model: str, source: str, index: int, base_url: str = BASE_URL) -> bytes:
    """The JSON that `GET /api/feature/{model}/{source}/{index}` answers, such as gemma-2b, 6-res-jb, 10.

    Raises ExamplesError where the server cannot be reached, has no such feature, or answers anything but a JSON object.
    """
    name = f"{model}/{source}/{index}"
    url = f"{base_url.rstrip('/')}/api/feature/{quote(model, safe='')}/{quote(source, safe='')}/{index}"
    try:
        with httpx2.Client(timeout=_TIMEOUT_S) as client:
            body = _fetched(client, client.build_request("GET", url), name)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ExamplesError(
            f"{name} cannot be fetched, no answer from {base_url} ({str(error) or type(error).__name__}); "
            "check the network, or name a file of Neuronpedia's export."
        ) from error
    if not body.lstrip().startswith(b"{"):
        raise ExamplesError(f"{base_url} has no record of {name}: check model, source and feature.")
    return body


def _fetched(client: httpx2.Client, request: httpx2.Request, name: str) -> bytes:
    """The body that a request ends with. Of what redirects nothing is read, which the client itself would do."""
    for _ in range(_REDIRECTS):
        response = client.send(request, stream=True)
        with closing(response):
            if response.is_success:
                return _bounded(response)
            if response.next_request is None:
                raise ExamplesError(_refused(name, response))
            request = response.next_request
    raise ExamplesError(f"{request.url.host} sends from one address to another without end for {name}.")


def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > LONGEST_RECORD:
            raise ExamplesError(f"The record at {response.url} is longer than {LONGEST_RECORD >> 20} MiB.")
    return bytes(body)


def _refused(name: str, response: httpx2.Response) -> str:
    match response.status_code:
        case 404:
            return f"Neuronpedia has no record of {name}: check model, source and feature."
        case 429:
            wait = response.headers.get("retry-after", "")
            return f"Neuronpedia asks for fewer requests ({name}); try again {f'in {wait} s' if wait else 'later'}."
        case status:
            return f"Neuronpedia answered {status} {response.reason_phrase} for {name}; try again later."
