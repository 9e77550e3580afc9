"""python -m fashion_model predict FILE_OR_FOLDER… labels photographs; `predict --help` explains its options."""

import sys
from functools import partial

from fashion_model.system import run_command

COMMANDS = {"predict": "fashion_model.batch"}
main = partial(run_command, "fashion_model", COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
