"""Real images, made of the one that TRAINWRIGHT_TEST_BASE_IMAGE names."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import kfp
import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.isolation.container_engine import find_engine

BASE_VARIABLE = "TRAINWRIGHT_TEST_BASE_IMAGE"
OTHER_PYTHON = """
FROM {base}
RUN apt-get update -q && apt-get install -y -q --no-install-recommends pypy3 && rm -rf /var/lib/apt/lists/*
RUN ln -sf pypy3 /usr/bin/python3
COPY kfp /opt/kfp/kfp
ENV PYTHONPATH=/opt/kfp
VOLUME /of-the-image
"""


@pytest.fixture(scope="session")
def base_image() -> str:
    """Debian with Python and nothing else, on an engine that answers."""
    try:
        find_engine()
    except InvalidSetting as error:
        if os.environ.get("TRAINWRIGHT_TEST_DOCKER"):
            pytest.fail(f"TRAINWRIGHT_TEST_DOCKER says that a container engine should answer: {error}")
        pytest.skip(f"steps in containers are left out: {error}")
    image = os.environ.get(BASE_VARIABLE)
    if not image:
        pytest.skip(f"{BASE_VARIABLE} names no image with Python: steps in containers are left out")
    return image


@pytest.fixture(scope="session")
def other_image(base_image: str) -> Iterator[str]:
    """An image whose Python is another one than this, an older PyPy of Debian's, with kfp in it."""
    name = f"trainwright-test-steps:{os.getpid()}"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        content = OTHER_PYTHON.format(base=base_image).encode()
        file = tarfile.TarInfo("Dockerfile")
        file.size = len(content)
        archive.addfile(file, io.BytesIO(content))
        archive.add(Path(kfp.__file__).parent, "kfp")
    done = subprocess.run(["docker", "build", "--tag", name, "-"], input=context.getvalue(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    yield name
    subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=True)
