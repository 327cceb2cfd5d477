"""Write down how long the notebooks took in the profile `standard`, for the line that each of them prints."""

import json
import math
from pathlib import Path

from current import notebooks_to_run, published
from fingerprint import source_notebooks

PLACE = Path("src/earlytime/minutes.json")


def main() -> None:
    """Whole minutes, rounded up; **raises** `SystemExit` where a notebook has not run with what is here."""
    if found := notebooks_to_run("standard"):
        raise SystemExit(f"{', '.join(found)}: not run with what is here now; first `make book`")
    runs = {name: json.loads(published(name, "standard").record.read_text()) for name in source_notebooks()}
    minutes = {name: math.ceil(run["seconds"] / 60) for name, run in runs.items()}
    PLACE.write_text(json.dumps(minutes, indent=1) + "\n")


if __name__ == "__main__":
    main()
