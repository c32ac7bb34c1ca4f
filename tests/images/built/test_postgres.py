import pytest

from tools.images import oci
from tools.images.build import Image, layers, local_name
from tools.images.content import open_image

pytestmark = pytest.mark.timeout(600)

ASK = """
export POSTGRES_PASSWORD_FILE=/tmp/password POSTGRES_DB=headrace PGDATA=/tmp/data/pgdata
mkdir -p /tmp/data && echo right > /tmp/password
start-postgres -p 54399 > /tmp/log 2>&1 & server=$!
until pg_isready -q -h 127.0.0.1 -p 54399; do kill -0 $server || { cat /tmp/log; exit 1; }; sleep 0.2; done
ask() { PGPASSWORD=$1 psql -h 127.0.0.1 -p 54399 -U postgres -d headrace -Atc "select 6 * 7, current_database()"; }
ask right
ask wrong 2>&1 | grep -o 'password authentication failed'
kill -INT $server && wait $server
"""


def test_postgres_accepts_the_password(postgres: Image) -> None:
    said = layers("postgres").run(local_name("postgres"), ["sh", "-euc", ASK])
    assert said.splitlines() == ["42|headrace", "password authentication failed"]


def test_the_image_is_small_and_has_no_compiler(postgres: Image) -> None:
    assert sum(layer["size"] for layer in oci.image_manifest(postgres.archive)["layers"]) < 300_000_000
    with open_image(postgres.archive) as content:
        assert not [path for path in content.files if "libLLVM" in path or path.endswith(("bin/gcc", "bin/cc"))]
        assert not [path for path, file in content.files.items() if file.info.isfile() and file.info.mode & 0o6000]
