"""What is deployed, as numbers: equal in all gateways, and others after a roll-out."""

import subprocess
import sys

from prometheus_client import REGISTRY

from serving.config import Assistant, Catalog, RemoteModel, SecretRef, ServingConfig, Store
from serving.telemetry.deployed import code_hash, note, number

CONFIG = ServingConfig(
    store=Store(database="sqlite:///h.db", data="/data"),
    key_secret=SecretRef(ref="file:/hash"),
    bootstrap_key=SecretRef(ref="file:/key"),
)
MODEL = RemoteModel(name="m", url="http://127.0.0.1:9/v1")
SCRIPT = "from tests.unit.telemetry.test_deployed import *; note(CONFIG, Catalog(models=(MODEL,))); print(noted())"


def noted():
    values = (REGISTRY.get_sample_value("headrace_deployed_hash", {"part": p}) for p in ("code", "configuration"))
    return tuple(map(int, values))


def test_a_change_of_the_configuration_is_one_of_its_hash_alone():
    note(CONFIG, Catalog(models=(MODEL,)))
    first = noted()
    note(CONFIG, Catalog(models=(MODEL,), assistants=(Assistant(name="a", model="m", prompt="Be brief."),)))
    second = noted()
    note(CONFIG.model_copy(update={"trusted_proxies": 3}), Catalog(models=(MODEL,)))
    third = noted()
    assert len({first[1], second[1], third[1]}) == 3
    assert {first[0], second[0], third[0]} == {code_hash()}
    note(CONFIG, Catalog(models=(MODEL,)))
    assert noted() == first


def test_another_gateway_has_the_same_numbers():
    note(CONFIG, Catalog(models=(MODEL,)))
    other = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert other.stdout.strip() == str(noted())


def test_code_is_what_the_modules_contain_and_where(tmp_path):
    def written(name, text):
        (tmp_path / name).write_text(text)
        code_hash.cache_clear()
        return code_hash(tmp_path)

    found = [written("a.py", "1"), written("a.py", "2"), written("b.py", ""), written("b.py", "x")]
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    code_hash.cache_clear()
    found.append(code_hash(tmp_path))
    assert len(set(found)) == len(found)
    assert written("c.txt", "no code") == found[-1]
    code_hash.cache_clear()


def test_a_sample_holds_the_hash_exactly():
    assert number([b"a", b"b"]) != number([b"ab"])
    for text in (b"", b"a", b"b"):
        assert int(float(number([text]))) == number([text]) < 2**48
