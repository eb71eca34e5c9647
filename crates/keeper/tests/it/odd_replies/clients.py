"""What curl and requests read of every reply of the corpus: curl's bytes go to Python's JSON reader, or are read as a form.

Arguments: the URL, how many replies there are, the access token, the refresh token. Prints one JSON object of lists of booleans.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import requests

url, count, access, refresh = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
SECONDS = 5


def gives_token(read):
    try:
        value = read()
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    return value.get("access_token") in (access, [access]) and value.get("refresh_token") in (refresh, [refresh])


def by_requests(index):
    session = requests.Session()
    session.trust_env = False
    try:
        reply = session.post(url, data={"refresh_token": f"case-{index}"}, timeout=SECONDS)
        reply.content
    except (requests.RequestException, ValueError):
        return False
    return gives_token(reply.json) or gives_token(lambda: parse_qs(reply.text.strip()))


def by_curl(index):
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(SECONDS), "--data", f"refresh_token=case-{index}", url]
    return any(curl_gives_token(command + more) for more in ([], ["--compressed"]))


def curl_gives_token(command):
    ended = subprocess.run(command, capture_output=True)
    body = ended.stdout
    text = body.decode("utf-8", "replace")
    readers = (lambda: json.loads(body), lambda: json.loads(text), lambda: parse_qs(text.strip()))
    return ended.returncode == 0 and any(gives_token(read) for read in readers)


with ThreadPoolExecutor(16) as pool:
    print(json.dumps({"requests": list(pool.map(by_requests, range(count))), "curl": list(pool.map(by_curl, range(count)))}))
