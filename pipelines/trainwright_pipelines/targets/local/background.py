"""Execute a recorded run without a terminal: `python -m trainwright_pipelines.targets.local.background RUN`."""

import sys

from trainwright_components.home import Home, find_home
from trainwright_pipelines.engine.runs import execute
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.service.pages.run_page import write_run_page


def execute_in_background(run_id: str, home: Home) -> None:
    """Execute the run and write its page; nothing happens to a run that was canceled before it began."""
    store = Store(home.root)
    try:
        if store.run(run_id).state.is_final:
            return
        try:
            execute(run_id, store=store)
        finally:
            write_run_page(store, run_id)
    finally:
        store.close()


if __name__ == "__main__":
    execute_in_background(sys.argv[1], find_home())
