"""python -m data_prep COMMAND …; `python -m data_prep COMMAND --help` explains each."""

import sys
from functools import partial

from fashion_model.system import run_command

COMMANDS = {
    "catalogue": "data_prep.clean_data",
    "phone-photographs": "data_prep.phone_photographs",
    "street-photographs": "data_prep.street_photographs",
    "photographs": "data_prep.photographs",
    "class-distribution": "data_prep.clean_data:draw_class_distribution",
}
main = partial(run_command, "data_prep", COMMANDS)  # the modules of the first commands can also be run by themselves

if __name__ == "__main__":
    sys.exit(main())
