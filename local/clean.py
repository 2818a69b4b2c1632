"""Remove the data and logs of a stack: `make clean`, or `LOCAL_DIR=.stack2 make clean` for another than .stack."""

import os
import sys

from local.folder import remove
from local.settings import Settings, SettingsError


def main() -> None:
    """Remove the folder that LOCAL_DIR names; exit 1 when that is not possible, or would be wrong."""
    try:
        folder = Settings.from_environment({"LOCAL_DIR": os.environ.get("LOCAL_DIR", "")}).folder
        removed = remove(folder)
    except (SettingsError, OSError) as failure:
        sys.exit(f"{failure}")
    print(f"Removed {folder}" if removed else f"Nothing to remove: there is no {folder}, or it is empty")


if __name__ == "__main__":
    main()
