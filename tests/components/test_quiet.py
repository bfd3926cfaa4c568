"""What libraries say about themselves is kept back; what users print is not."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from trainwright_components.processes.quiet_devices import find_devices_quietly
find_devices_quietly()
import tensorflow as tf
print(tf.reduce_sum([1.0, 2.0]).numpy())
sys.stderr.write("said by the user\\n")
"""


def test_the_search_for_devices_says_nothing_and_hides_nothing_after_it() -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3.0\n"
    assert done.stderr == "said by the user\n"
