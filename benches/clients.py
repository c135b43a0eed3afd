"""Every contender's way to ask once: make(url, login, password, ca) gives a function from an id to the server's object.

Each is what its documentation shows for one client that is used again: credentials and trust given once, 30 seconds of
patience (ours always has them), anything but 200 an error, the body parsed. The imports are inside, for a process is
measured with the source of one of these alone.
"""


def saymon_bulk_client(url, login, password, ca):
    import saymon_bulk

    return saymon_bulk.Client(url, login, password, verify=ca).get_bulk_status


def saymon_bulk_function(url, login, password, ca):
    from saymon_bulk import get_bulk_status

    return lambda id: get_bulk_status(url, id, login, password)  # SSL_CERT_FILE names the certificates


def saymon_bulk_function_with_a_file(url, login, password, ca):
    from saymon_bulk import get_bulk_status

    return lambda id: get_bulk_status(url, id, login, password, verify=ca)


def requests_session(url, login, password, ca):
    import requests

    session = requests.Session()
    session.auth = (login, password)
    session.verify = ca
    session.mount(url, requests.adapters.HTTPAdapter(pool_maxsize=16))  # else 16 threads throw connections away

    def status(id):
        answer = session.get(f"{url}/node/api/bulk/{id}/status", timeout=30)
        answer.raise_for_status()
        return answer.json()

    return status


def niquests_session(url, login, password, ca):
    import niquests

    session = niquests.Session()
    session.auth = (login, password)
    session.verify = ca

    def status(id):
        answer = session.get(f"{url}/node/api/bulk/{id}/status", timeout=30)
        answer.raise_for_status()
        return answer.json()

    return status


def urllib3_pool(url, login, password, ca):
    import urllib3

    headers = urllib3.make_headers(basic_auth=f"{login}:{password}")
    pool = urllib3.PoolManager(headers=headers, ca_certs=ca, timeout=30)

    def status(id):
        answer = pool.request("GET", f"{url}/node/api/bulk/{id}/status")
        if answer.status != 200:
            raise OSError(answer.status)
        return answer.json()

    return status


def http_client(url, login, password, ca):
    import base64
    import http.client
    import json
    import ssl

    scheme, _, host = url.partition("://")
    if scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(host, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}

    def status(id):
        connection.request("GET", f"/node/api/bulk/{id}/status", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(answer.status)
        return json.loads(body)

    return status


def httpx_client(url, login, password, ca):
    import ssl

    import httpx

    client = httpx.Client(auth=(login, password), verify=ssl.create_default_context(cafile=ca), timeout=30)

    def status(id):
        return client.get(f"{url}/node/api/bulk/{id}/status").raise_for_status().json()

    return status


def pycurl_handle(url, login, password, ca):
    import json

    import pycurl

    handle = pycurl.Curl()
    handle.setopt(pycurl.USERPWD, f"{login}:{password}")
    handle.setopt(pycurl.CAINFO, ca)
    handle.setopt(pycurl.TIMEOUT, 30)
    handle.setopt(pycurl.FAILONERROR, True)
    handle.setopt(pycurl.NOSIGNAL, True)

    def status(id):
        handle.setopt(pycurl.URL, f"{url}/node/api/bulk/{id}/status")
        return json.loads(handle.perform_rb())

    return status


def curl_cffi_session(url, login, password, ca):
    from curl_cffi import requests

    session = requests.Session(auth=(login, password), verify=ca, timeout=30)

    def status(id):
        answer = session.get(f"{url}/node/api/bulk/{id}/status")
        answer.raise_for_status()
        return answer.json()

    return status


def primp_client(url, login, password, ca):
    import primp

    client = primp.Client(auth=(login, password), ca_cert_file=ca, timeout=30)

    def status(id):
        answer = client.get(f"{url}/node/api/bulk/{id}/status")
        answer.raise_for_status()
        return answer.json()

    return status


def pyreqwest_client(url, login, password, ca):
    import base64
    from datetime import timedelta

    from pyreqwest.client import SyncClientBuilder

    token = base64.b64encode(f"{login}:{password}".encode()).decode()
    builder = SyncClientBuilder().default_headers({"Authorization": f"Basic {token}"}).error_for_status()
    with open(ca, "rb") as file:
        builder = builder.add_root_certificate_pem(file.read())
    client = builder.timeout(timedelta(seconds=30)).build()

    def status(id):
        return client.get(f"{url}/node/api/bulk/{id}/status").build().send().json()

    return status


def pyqwest_client(url, login, password, ca):
    import base64

    import pyqwest

    headers = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    with open(ca, "rb") as file:
        transport = pyqwest.SyncHTTPTransport(tls_ca_cert=file.read(), timeout=30)
    client = pyqwest.SyncClient(transport)

    def status(id):
        answer = client.get(f"{url}/node/api/bulk/{id}/status", headers)
        if answer.status != 200:
            raise OSError(answer.status)
        return answer.json()

    return status


def wreq_client(url, login, password, ca):
    import base64
    from datetime import timedelta
    from pathlib import Path

    from wreq.blocking import Client

    headers = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    client = Client(headers=headers, tls_verify=Path(ca), timeout=timedelta(seconds=30))

    def status(id):
        answer = client.get(f"{url}/node/api/bulk/{id}/status")
        answer.raise_for_status()
        return answer.json()

    return status


def rnet_client(url, login, password, ca):
    from pathlib import Path

    from rnet import BlockingClient

    client = BlockingClient(verify=Path(ca), timeout=30)

    def status(id):
        answer = client.get(f"{url}/node/api/bulk/{id}/status", basic_auth=(login, password))
        if answer.status != 200:
            raise OSError(answer.status)
        return answer.json()

    return status


# The same on asyncio: an async function from an id to the server's object, made inside the loop.


def saymon_bulk_async(url, login, password, ca):
    import saymon_bulk

    return saymon_bulk.Client(url, login, password, verify=ca).get_bulk_status_async


def aiohttp_async(url, login, password, ca):
    import ssl

    import aiohttp

    # None but TLS asks for it: with an http:// address the context is not used.
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
    session = aiohttp.ClientSession(
        auth=aiohttp.BasicAuth(login, password), connector=connector, timeout=aiohttp.ClientTimeout(30)
    )

    async def status(id):
        async with session.get(f"{url}/node/api/bulk/{id}/status", raise_for_status=True) as answer:
            return await answer.json()

    status.close = session.close
    return status


def primp_async(url, login, password, ca):
    import primp

    client = primp.AsyncClient(auth=(login, password), ca_cert_file=ca, timeout=30)

    async def status(id):
        answer = await client.get(f"{url}/node/api/bulk/{id}/status")
        answer.raise_for_status()
        return answer.json()

    return status


def pyreqwest_async(url, login, password, ca):
    import base64
    from datetime import timedelta

    from pyreqwest.client import ClientBuilder

    token = base64.b64encode(f"{login}:{password}".encode()).decode()
    builder = ClientBuilder().default_headers({"Authorization": f"Basic {token}"}).error_for_status()
    with open(ca, "rb") as file:
        builder = builder.add_root_certificate_pem(file.read())
    client = builder.timeout(timedelta(seconds=30)).build()

    async def status(id):
        answer = await client.get(f"{url}/node/api/bulk/{id}/status").build().send()
        return await answer.json()

    status.close = client.close
    return status


def pyqwest_async(url, login, password, ca):
    import base64

    import pyqwest

    headers = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    with open(ca, "rb") as file:
        transport = pyqwest.HTTPTransport(tls_ca_cert=file.read(), timeout=30)
    client = pyqwest.Client(transport)

    async def status(id):
        answer = await client.get(f"{url}/node/api/bulk/{id}/status", headers)
        if answer.status != 200:
            raise OSError(answer.status)
        return answer.json()

    return status


def wreq_async(url, login, password, ca):
    import base64
    from datetime import timedelta
    from pathlib import Path

    from wreq import Client

    headers = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    client = Client(headers=headers, tls_verify=Path(ca), timeout=timedelta(seconds=30))

    async def status(id):
        answer = await client.get(f"{url}/node/api/bulk/{id}/status")
        answer.raise_for_status()
        return await answer.json()

    return status


def rnet_async(url, login, password, ca):
    from pathlib import Path

    from rnet import Client

    client = Client(verify=Path(ca), timeout=30)

    async def status(id):
        answer = await client.get(f"{url}/node/api/bulk/{id}/status", basic_auth=(login, password))
        if answer.status != 200:
            raise OSError(answer.status)
        return await answer.json()

    return status


# The function reads what decides about its connections at each call: the environment, and whether a file has changed.
FUNCTION, FUNCTION_WITH_A_FILE = "saymon_bulk function", "saymon_bulk function with a file"
FUNCTIONS = (FUNCTION, FUNCTION_WITH_A_FILE)
SYNC = {
    "saymon_bulk": saymon_bulk_client,
    FUNCTION: saymon_bulk_function,
    FUNCTION_WITH_A_FILE: saymon_bulk_function_with_a_file,
    "pycurl": pycurl_handle,
    "primp": primp_client,
    "pyreqwest": pyreqwest_client,
    "wreq": wreq_client,
    "rnet": rnet_client,
    "pyqwest": pyqwest_client,
    "curl_cffi": curl_cffi_session,
    "http.client": http_client,
    "urllib3": urllib3_pool,
    "niquests": niquests_session,
    "httpx": httpx_client,
    "requests": requests_session,
}
ASYNC = {
    "saymon_bulk": saymon_bulk_async,
    "wreq": wreq_async,
    "rnet": rnet_async,
    "pyreqwest": pyreqwest_async,
    "primp": primp_async,
    "pyqwest": pyqwest_async,
    "aiohttp": aiohttp_async,
}
# One client for 16 threads. A handle of curl belongs to one thread: pycurl gets one in each.
THREADS = ("saymon_bulk", "wreq", "rnet", "pyreqwest", "primp", "pycurl", "requests")
ONE_EACH = ("pycurl",)
# What a script imports; the rest import by their own name.
MODULES = {"pyreqwest": "pyreqwest.client", "wreq": "wreq.blocking"}
