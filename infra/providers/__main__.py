"""The kinds of resources that this provider serves. The tokens are part of every stack's state: for ever."""

from infra.providers.knowledge import Knowledge
from infra.providers.process import Process
from infra.providers.ray_head import RayHead
from infra.providers.secret import Secret
from infra.providers.serve_application import ServeApplication
from infra.providers.server import main

KINDS = {
    "headrace:index:Secret": Secret(),
    "headrace:index:Process": Process(),
    "headrace:index:RayHead": RayHead(),
    "headrace:index:ServeApplication": ServeApplication(),
    "headrace:index:Knowledge": Knowledge(),
}

if __name__ == "__main__":
    main(KINDS)
